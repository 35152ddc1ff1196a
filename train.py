"""Train one model, or sweep over many: `python train.py --help`."""

from gatescope.cli import main

if __name__ == "__main__":
    main()
