"""``python -m peftlab.landscape``."""

import sys

from peftlab.landscape.command import main

if __name__ == "__main__":
    sys.exit(main())
