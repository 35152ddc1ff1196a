"""Check the pinned versions of constraints.txt for known vulnerabilities: python scripts/audit.py [FILE]

Asks the database of the Python Packaging Authority at OSV (https://osv.dev) for each version, in one request.
Only names and versions are sent. Each package with known vulnerabilities is printed with their ids, and each
line that pins no version, of which nothing is known. Exit code: 0 none known, 1 some are, or a line pins no
version, 2 wrong arguments, 3 the database cannot be reached.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
URL = "https://api.osv.dev/v1/querybatch"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*===?\s*([^\s;#\\]+)")
OTHER = ("#", "-")
"""Starts of lines that name no package: comments and options of pip."""
USAGE, OFFLINE = 2, 3


def pinned(path: Path) -> list[tuple[str, str]]:
    """Return the names and versions that a file of constraints pins, without local parts such as +cpu."""
    return [(found[1], found[2].partition("+")[0]) for line in lines(path) if (found := PINNED.match(line))]


def loose(path: Path) -> list[str]:
    """Return the lines that name a package and pin no version: a range, an address, a wildcard."""
    return [line for line in lines(path) if not (found := PINNED.match(line)) or "*" in found[2]]


def lines(path: Path) -> list[str]:
    """Return the lines of a file that name a package."""
    stripped = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in stripped if line and not line.startswith(OTHER)]


def known(packages: list[tuple[str, str]], url: str = URL) -> dict[tuple[str, str], list[str]]:
    """Return the ids of the vulnerabilities of each package that has any.

    Raises:
        OSError: The database cannot be reached.
        ValueError: Something else answered.
    """
    found: dict[tuple[str, str], set[str]] = {}
    pending: list[tuple[tuple[str, str], dict[str, Any]]] = [
        ((n, v), {"package": {"name": n, "ecosystem": "PyPI"}, "version": v}) for n, v in packages
    ]
    while pending:
        results = _ask([query for _, query in pending], url)
        for (package, _), result in zip(pending, results, strict=True):
            found.setdefault(package, set()).update(one["id"] for one in result.get("vulns", []))
        # Of a package with many, OSV sends the rest when it is asked with the token of the next page.
        pending = [
            (package, query | {"page_token": result["next_page_token"]})
            for (package, query), result in zip(pending, results, strict=True)
            if result.get("next_page_token")
        ]
    return {package: sorted(ids) for package, ids in found.items() if ids}


def _ask(queries: list[dict[str, Any]], url: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        url, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        results: list[dict[str, Any]] = json.loads(answer.read())["results"]
    if len(results) != len(queries):
        raise ValueError(f"{len(results)} answers for {len(queries)} packages")
    return results


def main(arguments: list[str], url: str = URL) -> int:
    """Print a line for each package with known vulnerabilities, and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    path = Path(arguments[0]) if arguments else ROOT / "constraints.txt"
    if len(arguments) > 1 or not path.is_file():
        print(f"audit: {path}: no such file" if len(arguments) < 2 else __doc__, file=sys.stderr)
        return USAGE
    packages, unpinned = pinned(path), loose(path)
    for line in unpinned:
        print(f"{path.name}: {line!r} pins no version: not checked", file=sys.stderr)
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
    return int(bool(found or unpinned))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
