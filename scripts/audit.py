"""Check the pinned versions of constraints.txt for known vulnerabilities: python scripts/audit.py [FILE]

Asks the database of the Python Packaging Authority at OSV (https://osv.dev) for each version, in one request.
Only names and versions are sent. Exit code: 0 none known, 1 some are, 2 wrong arguments, 3 the database
cannot be reached.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
URL = "https://api.osv.dev/v1/querybatch"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;#\\]+)")
USAGE, OFFLINE = 2, 3


def pinned(path: Path) -> list[tuple[str, str]]:
    """Return the names and versions that a file of constraints pins, without local parts such as +cpu."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(found[1], found[2].partition("+")[0]) for line in lines if (found := PINNED.match(line.strip()))]


def known(packages: list[tuple[str, str]], url: str = URL) -> dict[tuple[str, str], list[str]]:
    """Return the ids of the vulnerabilities of each package that has any.

    Raises:
        OSError: The database cannot be reached.
        ValueError: Something else answered.
    """
    queries = [{"package": {"name": n, "ecosystem": "PyPI"}, "version": v} for n, v in packages]
    content = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        results = json.loads(answer.read())["results"]
    if len(results) != len(packages):
        raise ValueError(f"{len(results)} answers for {len(packages)} packages")
    found = (
        (package, [v["id"] for v in result.get("vulns", [])])
        for package, result in zip(packages, results, strict=True)
    )
    return {package: sorted(ids) for package, ids in found if ids}


def main(arguments: list[str], url: str = URL) -> int:
    """Print a line for each package with known vulnerabilities, and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    path = Path(arguments[0]) if arguments else ROOT / "constraints.txt"
    if len(arguments) > 1 or not path.is_file():
        print(f"audit: {path}: no such file" if len(arguments) < 2 else __doc__, file=sys.stderr)
        return USAGE
    packages = pinned(path)
    try:
        found = known(packages, url)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", error)
        print(
            f"audit: {url} cannot be used ({reason}): nothing was checked; try again online", file=sys.stderr
        )
        return OFFLINE
    for (name, version), ids in found.items():
        print(f"{name}=={version}: {', '.join(ids)}  https://osv.dev/vulnerability/{ids[0]}")
    print(f"{len(packages)} packages, {len(found)} with known vulnerabilities")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
