"""`python predict.py RUN FILE --out predictions.csv`: what a finished run says of the examples of a file."""

import sys

from peftlab.prediction.command import main

if __name__ == "__main__":
    sys.exit(main())
