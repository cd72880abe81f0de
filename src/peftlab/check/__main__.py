"""``python -m peftlab.check``."""

import sys

from peftlab.check.command import main

if __name__ == "__main__":
    sys.exit(main())
