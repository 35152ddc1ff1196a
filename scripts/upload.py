"""Send a trained model to W&B as an artifact: `python scripts/upload.py --help`."""

import sys

from gatescope.commands.upload import main

if __name__ == "__main__":
    sys.exit(main())
