"""What a run gets wrong on its test split: python scripts/errors.py run=gru-additive-tweets-s0-1a2b3c4d

    run=RUN          the run, by its id or by its directory
    n=20             how many of the worst errors
    texts=no         without the texts of the errors, which are looked up in the data (default: yes)
    root=PATH        where ids are looked for (default: the environment variable RUNS_DIR, else runs)
    out=PATH         writes them there as well: all of it as Markdown (.md), or the errors as a table (.csv)

Prints scores, confusion matrix, precision, recall and F1 of each class, calibration, and the worst errors.
Exit code 0 when done, 1 when the run cannot be used, 2 for a wrong argument.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gatescope.analysis import error_tables
from gatescope.analysis.commands import UsageError, parse_for_run
from gatescope.analysis.record_files import find_run
from gatescope.analysis.runs import NoRuns, RunSource

EXAMPLE = "python scripts/errors.py run=gru-additive-tweets-s0-1a2b3c4d"
KEYS = ("run", "n", "texts", "root", "out")


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        print(shown(parse(words)))
    except (UsageError, NoRuns, OSError) as error:
        print(f"errors: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def shown(given: dict[str, str]) -> str:
    """What is printed; writes the file that is asked for.

    Raises:
        NoRuns: there is no such run, or it has kept no predictions.
    """
    directory = find_run(given["root"], given["run"])
    tables = RunSource(directory).tables()
    run_id = str(tables.runs.run_id.iloc[0])
    predictions = tables.predictions(run_id)
    if predictions is None:
        raise NoRuns(
            f"{directory} holds no predictions.csv that can be read: a run writes it after its test; "
            "one of an older version has none until it is run again with force=true"
        )
    texts = None
    if given["texts"] == "yes":
        from gatescope.texts import texts_of  # loads the data, and torch

        texts = texts_of(tables.configs[run_id], predictions)
    found = error_tables.error_tables(predictions, int(given["n"]), texts)
    text = f"{run_id}\n\n{error_tables.terminal(found)}"
    if not given["out"]:
        return text
    out = Path(given["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    csv = out.suffix == ".csv"
    out.write_text(
        error_tables.csv(found[-1].table) if csv else error_tables.markdown(run_id, found), encoding="utf-8"
    )
    return f"{text}\n\n{out}"


def parse(words: Sequence[str]) -> dict[str, str]:
    """
    Raises:
        UsageError: a key is unknown, run is missing, or a value is not one that the key takes.
    """
    defaults = {"root": os.environ.get("RUNS_DIR", "runs"), "n": "20", "texts": "yes", "out": ""}
    given = parse_for_run(words, KEYS, defaults, EXAMPLE)
    if not given["n"].isdecimal():
        raise UsageError(f"n={given['n']} is not a number from 0 on")
    if given["texts"] not in ("yes", "no"):
        raise UsageError(f"texts={given['texts']}: one of yes, no")
    if given["out"] and Path(given["out"]).suffix not in (".md", ".csv"):
        raise UsageError(f"out={given['out']}: a file that ends in .md or .csv")
    return given


if __name__ == "__main__":
    sys.exit(main())
