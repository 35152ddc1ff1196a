"""Write the report of a study: `python scripts/report.py --help`."""

import sys

from gatescope.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
