"""List what a run predicts wrongly: `python scripts/errors.py --help`."""

import sys

from gatescope.commands.errors import main

if __name__ == "__main__":
    sys.exit(main())
