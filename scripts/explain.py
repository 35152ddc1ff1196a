"""Explain one prediction of a run: `python scripts/explain.py --help`."""

import sys

from gatescope.commands.explain import main

if __name__ == "__main__":
    sys.exit(main())
