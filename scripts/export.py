"""Export a trained run: `python scripts/export.py --help`."""

import sys

from gatescope.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
