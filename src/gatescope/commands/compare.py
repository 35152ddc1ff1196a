"""Compare two runs: gatescope compare gru-none-tweets-s0-1a2b3c4d runs/study/lstm-none-…

    RUN_A RUN_B      each by its id or by its directory
    root=PATH        where ids are searched (default: the environment variable RUNS_DIR, else runs)
    curves=REGEX     metrics and scalar measurements shown over training (default: validation/.*|train/loss)
    png=PATH         also draw the curves in this file

Prints the differences of the configs, the results, and the curves. Exit code: 0 done, 1 a run is unknown, 2
wrong arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gatescope.analysis.commands import UsageError
from gatescope.analysis.record_files import find_run
from gatescope.analysis.run_diff import CURVES, RunDiff
from gatescope.commands.arguments import Text, execute, runs_dir


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope compare` and return its exit code."""
    return execute(compare, __doc__, arguments, positional=2)


def compare(*runs: str, root: Text | None = None, curves: Text = CURVES, png: Text | None = None) -> str:
    """Return the comparison of two runs as text, and draw it if `png` is given."""
    if len(runs) != 2:
        example = "gatescope compare gru-none-tweets-s0-1a2b3c4d lstm-none-tweets-s0-5e6f7a8b"
        raise UsageError(f"two runs are compared, {len(runs)} given; for example: {example}")
    try:
        re.compile(curves)
    except re.error as error:
        raise UsageError(f"curves={curves} is no regular expression: {error}") from error
    first, second = (find_run(root or runs_dir(), run) for run in runs)
    diff = RunDiff(first, second, curves)
    text = diff.text()
    if png:
        diff.draw().savefig(png, dpi=200)
        text += f"\n\n{png}"
    return text
