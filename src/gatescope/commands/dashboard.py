"""Build the dashboard of a study on W&B, a workspace and a report: gatescope dashboard study=first_light

    study=NAME       the study
    root=PATH        where the runs are (default: the environment variable RUNS_DIR, else runs)
    source=wandb     read the runs from W&B instead of from root (default: records)
    project=NAME     the W&B project, or ENTITY/PROJECT (default: gatescope)
    out=PATH         where the specifications are written (default: <root>/<study>/dashboard)
    --push           save it on W&B, which needs an account; the same dashboard is updated the next time

Without --push nothing is sent: workspace.json, report.json, summary.md and the figures are written. Exit
code: 0 done, 1 there is nothing to show or W&B refuses, 2 wrong arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

from gatescope.analysis.commands import CommandFailed
from gatescope.analysis.commands import source as source_of
from gatescope.analysis.tables import Tables
from gatescope.commands.arguments import Text, execute, runs_dir

MISSING = "needs wandb-workspaces: pip install -c constraints.txt 'gatescope[dashboard]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope dashboard` and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return execute(dashboard, __doc__, ["push=true" if word == "--push" else word for word in words])


def dashboard(
    *,
    study: Text,
    root: Text | None = None,
    source: Literal["records", "wandb"] = "records",
    project: Text = "gatescope",
    out: Text | None = None,
    push: bool = False,
) -> str:
    """Write the specifications, or save the dashboard on W&B; return the paths or addresses, one a line."""
    root = root or runs_dir()
    tables = source_of({"source": source, "root": root, "study": study, "project": project}).tables()
    folder = Path(root) / study
    if push:
        return "\n".join(save_on_wandb(tables, project, folder))
    return str(write(tables, Path(out) if out else folder / "dashboard"))


def write(tables: Tables, out: Path) -> Path:
    """Write the specifications and a summary, and return the path of the summary."""
    module = _module()
    built = module.build(tables, figures=module.draw_figures(tables, out))
    out.mkdir(parents=True, exist_ok=True)
    for name in ("workspace", "report"):
        text = json.dumps(module.spec(getattr(built, name)), indent=1, ensure_ascii=False)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    counts = [f"- {title}: {count} panels" for title, count in built.panels.items()]
    missing = [
        f"- {title}: nothing logged, left out" for title in module.SECTIONS if title not in built.panels
    ]
    summary = [f"# {tables.study['name']}", "", *counts, *missing, "", built.numbers]
    (out / "summary.md").write_text("\n".join(summary) + "\n", encoding="utf-8")
    return out / "summary.md"


def save_on_wandb(tables: Tables, project: str, folder: Path) -> list[str]:
    """Save the dashboard on W&B, and return the addresses of the workspace and of the report.

    Raises:
        CommandFailed: W&B refuses it.
    """
    module = _module()
    import wandb

    try:
        urls = module.push(tables, project, folder / module.ADDRESS_FILE)
    except (wandb.Error, ValueError) as error:
        raise CommandFailed(
            f"W&B does not take the dashboard in {project}: {str(error).splitlines()[0]}; "
            "check project=ENTITY/PROJECT, and `wandb login` or WANDB_API_KEY"
        ) from error
    return [urls["workspace"], urls["report"]]


def _module() -> ModuleType:
    try:
        from gatescope.analysis import dashboard as module
    except ModuleNotFoundError as error:
        raise CommandFailed(MISSING) from error
    return module
