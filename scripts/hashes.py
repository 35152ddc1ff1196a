"""Write the pinned versions with their hashes: python scripts/hashes.py [FILE [OUT]] [PIP OPTION …]

Asks pip which files it would install for the versions of FILE (default: constraints.txt), on this machine and
this Python, and writes them with their SHA-256 to OUT (default: constraints-hashes.txt). It installs none.
The first word that starts with - and all after it go to pip, such as --index-url URL. With these files only:

    pip install --require-hashes --no-deps -r constraints-hashes.txt && pip install --no-deps -e .

pip refuses a file with another hash, and any package without one. As constraints (-c) the file would demand a
hash of this checkout too, which has none. Exit code: 0 written, 1 pip failed, 2 wrong arguments.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HEAD = "# The files that scripts/hashes.py found for the versions of {name}, on Python {version}.\n"
FAILED, USAGE = 1, 2
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
DRY = ("--dry-run", "--ignore-installed", "--no-deps")


def found(path: Path, options: list[str]) -> list[dict[str, Any]]:
    """Return what pip would install for the lines of a file.

    Raises:
        subprocess.CalledProcessError: pip failed, and has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        subprocess.run([*PIP, *DRY, "--report", str(report), "-r", str(path), *options], check=True)
        installs: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
        return installs


def line(install: dict[str, Any]) -> str:
    """Return the requirement of a file: its name, version and hash."""
    about, digest = install["metadata"], install["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{about['name']}=={about['version']} \\\n    --hash=sha256:{digest}\n"


def main(arguments: list[str]) -> int:
    """Write the file and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    first = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    given, options = arguments[:first], arguments[first:]
    path = Path(given[0]) if given else ROOT / "constraints.txt"
    out = Path(given[1]) if len(given) > 1 else ROOT / "constraints-hashes.txt"
    if len(given) > 2 or not path.is_file():
        print(f"hashes: {path}: no such file" if len(given) < 3 else __doc__, file=sys.stderr)
        return USAGE
    try:
        installs = found(path, options)
    except subprocess.CalledProcessError:
        print(f"hashes: pip failed, and {out} was not changed", file=sys.stderr)
        return FAILED
    version = ".".join(map(str, sys.version_info[:2]))
    lines = sorted(map(line, installs), key=str.lower)
    out.write_text(HEAD.format(name=path.name, version=version) + "".join(lines), encoding="utf-8")
    print(f"{out}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
