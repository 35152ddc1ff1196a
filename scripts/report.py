"""Writes the report of a study from its records: python scripts/report.py study=first_light

    study=NAME       the study, a folder under root
    root=PATH        where the runs are (default: the environment variable RUNS_DIR, else runs)
    out=PATH         where reports go, in a folder named for the study (default: reports)
    source=wandb     the runs that W&B holds instead of those under root (default: records)
    project=NAME     the W&B project, or ENTITY/PROJECT (default: gatescope)

Exit code 0 when written, 1 when there is nothing to report, 2 for a wrong argument.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Sequence

from gatescope.analysis.report import write_report
from gatescope.analysis.runs import NoRuns, RecordSource, Source

KEYS = ("study", "root", "out", "source", "project")
SOURCES = ("records", "wandb")


class UsageError(Exception):
    """A wrong argument; the message names it, what is allowed, and the nearest valid name."""


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        given = parse(words)
        readme = write_report(source(given), given["out"])
    except (UsageError, NoRuns) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(readme)
    return 0


def parse(words: Sequence[str]) -> dict[str, str]:
    """
    Raises:
        UsageError: an argument is not key=value, the key is unknown, or study is missing.
    """
    given = {"root": os.environ.get("RUNS_DIR", "runs"), "out": "reports"}
    given |= {"source": SOURCES[0], "project": "gatescope"}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise UsageError(f"{word!r} is not of the form key=value; keys: {', '.join(KEYS)}")
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"unknown key {key!r} in {word!r}; keys: {', '.join(KEYS)}{hint}")
        given[key] = value
    if "study" not in given:
        raise UsageError("which study? for example: python scripts/report.py study=first_light")
    if given["source"] not in SOURCES:
        raise UsageError(f"source={given['source']}: one of {', '.join(SOURCES)}")
    return given


def source(given: dict[str, str]) -> Source:
    if given["source"] == "records":
        return RecordSource(given["root"], given["study"])
    from gatescope.analysis.wandb_source import WandbSource  # takes a second to import

    return WandbSource(given["project"], given["study"])


if __name__ == "__main__":
    sys.exit(main())
