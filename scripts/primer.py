"""Write the primer: `python scripts/primer.py --help`."""

import sys

from gatescope.commands.primer import main

if __name__ == "__main__":
    sys.exit(main())
