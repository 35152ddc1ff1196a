"""Writes the report of a study from its records: python scripts/report.py study=first_light

    study=NAME       the study, a folder under root
    root=PATH        where the runs are (default: the environment variable RUNS_DIR, else runs)
    out=PATH         where reports go, in a folder named for the study (default: reports)
    source=wandb     the runs that W&B holds instead of those under root (default: records)
    project=NAME     the W&B project, or ENTITY/PROJECT (default: gatescope)

Exit code 0 when written, 1 when there is nothing to report, 2 for a wrong argument.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from gatescope.analysis.commands import UsageError, defaults, parse, source
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import NoRuns


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        given = parse(words, defaults(out="reports"), "python scripts/report.py study=first_light")
        readme = write_report(source(given), given["out"])
    except (UsageError, NoRuns) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
