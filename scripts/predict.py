"""Predict with a trained run: `python scripts/predict.py --help`."""

import sys

from gatescope.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
