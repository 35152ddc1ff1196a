"""Writes the report of a study from its records: python scripts/report.py study=first_light
`python scripts/report.py index` only writes the list of reports, out/README.md, anew.

    study=NAME       the study, a folder under root
    root=PATH        where the runs are (default: the environment variable RUNS_DIR, else runs)
    out=PATH         where reports go, in a folder named for the study (default: reports)
    source=wandb     the runs that W&B holds instead of those under root (default: records)
    figures=A,B      which figures, in order, or all (default: what the study's file lists)
    paper=no         without the figures' one- and two-column forms (default: yes)
    select=KEY,KEY   keys of which each variant gets the value that is best on validation (optimizer.lr)
    by=METRIC        what that is judged by, such as validation/accuracy (default of both: study.select)
    project=NAME     the W&B project, or ENTITY/PROJECT (default: gatescope)

Exit code 0 when written, 1 when there is nothing to report, 2 for a wrong argument.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from gatescope.analysis.commands import UsageError, defaults, parse, source
from gatescope.analysis.report import FIGURES, write_index, write_report
from gatescope.analysis.runs import NoRuns
from gatescope.texts import texts_of

EXAMPLE = "python scripts/report.py study=first_light"


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        if words[:1] == ["index"]:
            out = parse([*words[1:], "study=every"], defaults(out="reports"), EXAMPLE)["out"]
            print(write_index(out))
            return 0
        given = parse(words, defaults(out="reports", figures="", paper="yes", select="", by=""), EXAMPLE)
        if given["paper"] not in ("yes", "no"):
            raise UsageError(f"paper={given['paper']}: one of yes, no")
        if bool(given["select"]) != bool(given["by"]):
            raise UsageError("select=KEY and by=METRIC go together")
        selecting = {"over": given["select"].split(","), "by": given["by"]} if given["by"] else None
        figures = (
            FIGURES if given["figures"] == "all" else [name for name in given["figures"].split(",") if name]
        )
        paper = given["paper"] == "yes"
        readme = write_report(source(given), given["out"], paper, figures, texts_of, selecting)
        write_index(given["out"])
    except (UsageError, NoRuns) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
