"""Write the report of a study from its records: gatescope report study=first_light

`gatescope report index` only writes the list of reports, <out>/README.md.

    study=NAME       the study, a folder under root
    root=PATH        where the runs are (default: the environment variable RUNS_DIR, else runs)
    out=PATH         where reports are written, in a folder named after the study (default: reports)
    source=wandb     read the runs from W&B instead of from root (default: records)
    project=NAME     the W&B project, or ENTITY/PROJECT (default: gatescope)
    figures=A,B      which figures, in order, or all (default: study.figures)
    findings=MODULE  the module that writes the findings, by its dotted path (default: study.findings)
    paper=false      do not write the figures in one and two columns (default: true)
    select=KEY,KEY   keys of which each variant gets the value that is best on validation (optimizer.lr)
    by=METRIC        the metric of this selection, such as validation/accuracy (default of both: study.select)
    trust=true       let the records name figures, findings and datasets outside this package, which runs them

Exit code: 0 written, 1 nothing to report, 2 wrong arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from gatescope.analysis.commands import UsageError
from gatescope.analysis.commands import source as source_of
from gatescope.analysis.lookup import UnknownName
from gatescope.analysis.report import FIGURES, write_index, write_report
from gatescope.analysis.selection import SelectionError
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.texts import texts_of

DEFAULTS = {"out": "reports", "source": "records", "project": "gatescope"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope report` and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["index"]:
        return execute(index, __doc__, words[1:])
    return execute(report, __doc__, words)


def index(*, out: Text = "reports") -> Path:
    """Write the list of reports, and return its path."""
    return write_index(out)


def report(
    *,
    study: Text,
    root: Text | None = None,
    out: Text = DEFAULTS["out"],
    source: Literal["records", "wandb"] = "records",
    project: Text = DEFAULTS["project"],
    figures: list[str] | None = None,
    findings: Text | None = None,
    paper: bool = True,
    select: list[str] | None = None,
    by: Text | None = None,
    trust: bool = False,
) -> Path:
    """Write the report of a study and the list of reports, and return the path of its README."""
    if bool(select) != bool(by):
        raise UsageError("select=KEY and by=METRIC are given together")
    runs = source_of({"source": source, "root": root or runs_dir(), "study": study, "project": project})
    selection = {"over": select, "by": by} if by else None
    names = FIGURES if figures == ["all"] else figures or []
    given = {
        "root": root,
        "out": out,
        "source": source,
        "project": project,
        "figures": figures and ",".join(figures),
        "findings": findings,
        "paper": None if paper else "false",
        "trust": "true" if trust else None,
    }
    options = [f"{key}={value}" for key, value in given.items() if value not in (None, DEFAULTS.get(key))]
    find_texts = partial(texts_of, trust=trust)
    try:
        readme = write_report(runs, out, paper, names, find_texts, selection, findings, options, trust)
    except UnknownName as error:
        raise UsageError(str(error)) from error
    except SelectionError as error:
        if not by:
            raise
        message = str(error).replace("study.select.over", "select").replace("study.select.by", "by")
        raise UsageError(message) from error
    write_index(out)
    return readme
