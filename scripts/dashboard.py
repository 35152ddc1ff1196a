"""Build the dashboard of a study on W&B: `python scripts/dashboard.py --help`."""

import sys

from gatescope.commands.dashboard import main

if __name__ == "__main__":
    sys.exit(main())
