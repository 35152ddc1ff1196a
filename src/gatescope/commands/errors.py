"""List what a run predicts wrongly on its test split: gatescope errors run=gru-additive-tweets-s0-1a2b3c4d

    run=RUN          the run, by its id or by its directory
    n=20             how many of the worst errors
    texts=false      without the texts of the errors, which are read from the data (default: true)
    root=PATH        where ids are searched (default: the environment variable RUNS_DIR, else runs)
    trust=true       let the record run code outside this package; only for records that you know
    out=PATH         also write to this file: everything as Markdown (.md), or the errors as a table (.csv)

Prints scores, confusion matrix, precision, recall and F1 of each class, calibration, and the worst errors.
Exit code: 0 done, 1 the run cannot be used, 2 wrong arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gatescope.analysis import error_tables
from gatescope.analysis.commands import UsageError
from gatescope.analysis.record_files import find_run
from gatescope.analysis.report.tables import csv
from gatescope.analysis.runs import NoRuns, RunSource
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.tracking.directory import is_locked

Natural = Annotated[int, Field(ge=0)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope errors` and return its exit code."""
    return execute(errors, __doc__, arguments)


def errors(
    *,
    run: Text,
    n: Natural = 20,
    texts: bool = True,
    root: Text | None = None,
    out: Text | None = None,
    trust: bool = False,
) -> str:
    """Return the errors of a run as text, and write them if `out` is given.

    Raises:
        NoRuns: There is no such run, or it has no predictions.
        UsageError: `out` has another suffix than .md or .csv.
    """
    if out is not None and not out.endswith((".md", ".csv")):
        raise UsageError(f"out={out}: give a path that ends in .md (all tables) or .csv (the worst errors)")
    directory = find_run(root or runs_dir(), run)
    tables = RunSource(directory).tables()
    run_id = str(tables.runs.run_id.iloc[0])
    predictions = tables.predictions(run_id)
    if predictions is None and is_locked(directory):
        raise NoRuns(f"{run_id} is still running: its predictions are written after its test")
    if predictions is None:
        raise NoRuns(
            f"{directory} holds no predictions.csv that can be read: a run writes it after its test; "
            "a run of an older version has none until it is run again with force=true"
        )
    inputs = None
    if texts:
        from gatescope.texts import texts_of  # loads the data, and torch

        inputs = texts_of(tables.configs[run_id], predictions, trust)
    parts = error_tables.error_tables(predictions, n, inputs)
    text = f"{run_id}\n\n{error_tables.terminal(parts)}"
    if out is None:
        return text
    content = csv(parts[-1].table, "%.6g") if out.endswith(".csv") else error_tables.markdown(run_id, parts)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(content, encoding="utf-8")
    return f"{text}\n\n{out}"
