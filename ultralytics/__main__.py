"""`python -m ultralytics MODE key=value …`."""

import sys

from ultralytics.cli import main

if __name__ == "__main__":
    sys.exit(main())
