"""`python -m gatescope` is the console command `gatescope`."""

from gatescope.commands import main

if __name__ == "__main__":
    main()
