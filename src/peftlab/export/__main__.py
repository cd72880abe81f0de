"""`python -m peftlab.export RUN_FOLDER TARGET_FOLDER`."""

import sys

from peftlab.export.command import main

if __name__ == "__main__":
    sys.exit(main())
