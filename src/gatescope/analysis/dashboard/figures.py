"""The sentences and figures of a study's report, for its report on W&B.

W&B's reports show images only from an address or from a run. The figures are therefore logged by a run of
their own, which is in no group, so that no panel of the study counts it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

from gatescope.analysis.comparison import compare
from gatescope.analysis.dashboard.workspaces import And, wr, ws
from gatescope.analysis.figures import LOOKUP as figure_modules
from gatescope.analysis.figures import save, title
from gatescope.analysis.lookup import UnknownName
from gatescope.analysis.report.drawings import FIGURES
from gatescope.analysis.report.findings import DEFAULT, write_findings
from gatescope.analysis.report.findings import LOOKUP as findings_modules
from gatescope.analysis.runs import NoRuns, Tables
from gatescope.analysis.tables import NoData

log = logging.getLogger(__name__)

JOB_TYPE = "report"


@dataclass(frozen=True)
class Figure:
    """A figure that was drawn.

    Attributes:
        name: Stem of its file.
        title: Its heading.
        caption: What is drawn, in Markdown.
    """

    name: str
    title: str
    caption: str


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        headline: One sentence.
        paragraphs: All sentences, in Markdown.
    """

    headline: str = ""
    paragraphs: Sequence[str] = ()


def findings_of(tables: Tables) -> Findings:
    """Return the sentences of the study's report; none where no run has finished."""
    try:
        comparison = compare(tables)
    except NoRuns:
        return Findings()
    module = findings_modules.find(str(comparison.study.get("findings") or DEFAULT))
    written = write_findings(comparison, module)
    return Findings(written.headline, tuple(written.paragraphs))


def draw_figures(tables: Tables, folder: Path) -> list[Figure]:
    """Draw the figures of the study's report as PNG; those without data are left out.

    Args:
        tables: The runs.
        folder: The folder for the files.
    """
    try:
        comparison = compare(tables)
    except NoRuns:
        return []
    drawn = []
    for found in map(figure_modules.find, comparison.study.get("figures") or FIGURES):
        try:
            if found.error is not None:
                raise found.error
            save(found.module.draw(comparison), folder, found.name, ("png",))
            drawn.append(Figure(found.name, title(found), found.module.caption(comparison)))
        except (NoData, UnknownName):
            continue
        except Exception as error:  # a figure of one's own may raise anything
            log.warning("figure %s: %s: %s", found.name, type(error).__name__, error)
    return drawn


def figures_run(study: str) -> str:
    """Return the id of the W&B run with the figures of a study."""
    return f"figures-{study}"


def figure_blocks(figures: Sequence[Figure], study: str, entity: str, project: str) -> list[Any]:
    """Return the blocks of a report that show figures: title, image and caption of each."""
    if not figures:
        return []
    runs = wr.Runset(
        entity=entity, project=project, name="Figures", filters=And(ws.Metric("ID") == figures_run(study))
    )
    blocks: list[Any] = [wr.H2("Figures")]
    for one in figures:
        panel = wr.MediaBrowser(title=one.title, media_keys=[one.name], num_columns=1)
        blocks += [wr.MarkdownBlock(f"**{one.title}.** {one.caption}"), wr.PanelGrid([runs], panels=[panel])]
    return blocks


def upload_figures(figures: Sequence[Figure], study: str, entity: str, project: str, folder: Path) -> None:
    """Log the figures in their run, which each push continues.

    Args:
        figures: What `draw_figures` returned.
        study: Name of the study.
        entity: W&B account.
        project: W&B project.
        folder: Folder with the files of the figures.
    """
    if not figures:
        return
    with wandb.init(
        entity=entity,
        project=project,
        id=figures_run(study),
        name=f"figures of {study}",
        job_type=JOB_TYPE,
        resume="allow",
        dir=folder,
        settings=wandb.Settings(silent=True, console="off"),
    ) as run:
        run.log(
            {one.name: wandb.Image(str(folder / f"{one.name}.png"), caption=one.caption) for one in figures}
        )
