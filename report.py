"""`python report.py FOLDER [FOLDER...]`: turn runs into tables, statistics and one HTML page."""

import sys

from peftlab.report.command import main

if __name__ == "__main__":
    sys.exit(main())
