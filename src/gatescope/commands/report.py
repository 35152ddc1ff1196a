"""Write the report of a study from its records: gatescope report study=first_light

`gatescope report index` only writes the list of reports, <out>/README.md.

    study=NAME       the study, a folder under root; runs without study.name are in study=default
    root=PATH        where the runs are (default: the environment variable RUNS_DIR, else runs)
    out=PATH         where reports are written, in a folder named after the study (default: reports)
    source=wandb     read the runs from W&B instead of from root (default: records)
    source=frozen    draw the report again from <out>/<study>/tables.zip; no records are needed
    project=NAME     the W&B project, or ENTITY/PROJECT (default: gatescope)
    figures=A,B      which figures, in order, or all (default: study.figures)
    findings=MODULE  the module that writes the findings, by its dotted path (default: study.findings)
    paper=false      do not write the figures in one and two columns (default: true)
    select=KEY,KEY   keys of which each variant gets the value that is best on validation (optimizer.lr)
    by=METRIC        the metric of this selection, such as validation/accuracy (default of both: study.select)
    study.KEY=VALUE  a key of the study in place of that of the runs: study.primary=validation/loss,
                     study.reference=gru-none, study.margin=0.01, study.contrasts=[[gru-none,lstm-none]]
    freeze=true      also write <out>/<study>/tables.zip, all that the report needs of the records
    trust=true       let the records name figures, findings and datasets outside this package, which runs them

Exit code: 0 written, 1 nothing to report, 2 wrong arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gatescope.analysis import frozen
from gatescope.analysis.commands import UsageError
from gatescope.analysis.commands import source as source_of
from gatescope.analysis.declaring import declared
from gatescope.analysis.lookup import UnknownName
from gatescope.analysis.report import FIGURES, write_index, write_report
from gatescope.analysis.runs import Source
from gatescope.analysis.selection import SelectionError
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.texts import texts_of

DEFAULTS = {"out": "reports", "source": "records", "project": "gatescope"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope report` and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["index"]:
        return execute(index, __doc__, words[1:])
    return execute(report, __doc__, words, groups={"study.": "study_keys"})


def index(*, out: Text = "reports") -> Path:
    """Write the list of reports, and return its path."""
    return write_index(out)


def report(
    *,
    study: Text,
    root: Text | None = None,
    out: Text = DEFAULTS["out"],
    source: Literal["records", "wandb", "frozen"] = "records",
    project: Text = DEFAULTS["project"],
    figures: list[str] | None = None,
    findings: Text | None = None,
    paper: bool | None = None,
    select: list[str] | None = None,
    by: Text | None = None,
    study_keys: list[str] | None = None,
    freeze: bool = False,
    trust: bool = False,
) -> Path:
    """Write the report of a study and the list of reports, and return the path of its README."""
    if bool(select) != bool(by):
        raise UsageError("select=KEY and by=METRIC are given together")
    if freeze and source == "frozen":
        raise UsageError("freeze=true writes the tables from records: leave it out with source=frozen")
    keys = declared(study_keys or []) | ({"select": {"over": select, "by": by}} if by else {})
    given = {
        "root": root,
        "out": out,
        "source": source,
        "project": project,
        "figures": figures and ",".join(figures),
        "findings": findings,
        "paper": None if paper in (None, True) else "false",
        "select": select and ",".join(select),
        "by": by,
        "freeze": "true" if freeze else None,
        "trust": "true" if trust else None,
    }
    words = [f"{key}={value}" for key, value in given.items() if value not in (None, DEFAULTS.get(key))]
    words += study_keys or []
    names = FIGURES if figures == ["all"] else figures or []
    runs, find_texts = _source(given | {"study": study}), partial(texts_of, trust=trust)
    try:
        readme = write_report(
            runs, out, paper, names, find_texts, keys, findings, words, freeze=freeze, trust=trust
        )
    except UnknownName as error:
        raise UsageError(str(error)) from error
    except SelectionError as error:
        if not by:
            raise
        message = str(error).replace("study.select.over", "select").replace("study.select.by", "by")
        raise UsageError(message) from error
    write_index(out)
    return readme


def _source(given: Mapping[str, Any]) -> Source:
    if given["source"] == "frozen":
        return frozen.FrozenSource(Path(given["out"]) / given["study"] / frozen.FILE)
    return source_of({**given, "root": given["root"] or runs_dir()})
