"""Sets two runs side by side: python scripts/compare.py gru-none-tweets-s0-1a2b3c4d runs/study/lstm-none-…

    RUN_A RUN_B      each by its id or by its directory
    root=PATH        where ids are looked for (default: the environment variable RUNS_DIR, else runs)
    curves=REGEX     metrics and scalar readings shown over training (default: validation/.*|train/loss)
    png=PATH         draws the curves there as well

Prints what differs in the configs, the results, and the curves. Exit code 0 when done, 1 when a run is
unknown, 2 for a wrong argument.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from gatescope.analysis.commands import UsageError, hint
from gatescope.analysis.record_files import find_run
from gatescope.analysis.run_diff import CURVES, RunDiff
from gatescope.analysis.runs import NoRuns

EXAMPLE = "python scripts/compare.py gru-none-tweets-s0-1a2b3c4d lstm-none-tweets-s0-5e6f7a8b"


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        names, given = parse(words)
        a, b = (find_run(given["root"], name) for name in names)
        diff = RunDiff(a, b, given["curves"])
        print(diff.text())
        if given["png"]:
            diff.draw().savefig(given["png"], dpi=200)
            print(f"\n{given['png']}")
    except (UsageError, NoRuns, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def parse(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """
    Raises:
        UsageError: not two runs, an unknown key, or curves that is no regular expression.
    """
    given = {"root": os.environ.get("RUNS_DIR", "runs"), "curves": CURVES, "png": ""}
    names = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            names.append(word)
        elif key in given and value:
            given[key] = value
        else:
            raise UsageError(f"{word!r}: keys are {', '.join(given)}{hint(key, list(given))}")
    if len(names) != 2:
        raise UsageError(f"two runs are compared, {len(names)} given; for example: {EXAMPLE}")
    try:
        re.compile(given["curves"])
    except re.error as error:
        raise UsageError(f"curves={given['curves']} is no regular expression: {error}") from error
    return names, given


if __name__ == "__main__":
    sys.exit(main())
