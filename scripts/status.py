"""List how far the runs of a study are: `python scripts/status.py --help`."""

import sys

from gatescope.commands.status import main

if __name__ == "__main__":
    sys.exit(main())
