"""Evaluate a trained run on another file: `python scripts/evaluate.py --help`."""

import sys

from gatescope.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
