"""Describe a dataset: `python scripts/describe_data.py --help`."""

import sys

from gatescope.commands.data import main

if __name__ == "__main__":
    sys.exit(main())
