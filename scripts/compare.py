"""Compare two runs: `python scripts/compare.py --help`."""

import sys

from gatescope.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
