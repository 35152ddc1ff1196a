"""`python -m gatescope` is the console command `gatescope`."""

import sys

from gatescope.commands import main

if __name__ == "__main__":
    sys.argv[0] = "gatescope"  # Python gives the path of this file; messages and records name the command
    main()
