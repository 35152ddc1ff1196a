"""Builds a study's dashboard on W&B, a workspace and a report: python scripts/dashboard.py study=first_light

    study=NAME       the study
    root=PATH        where the runs are (default: the environment variable RUNS_DIR, else runs)
    source=wandb     the runs that W&B holds instead of those under root (default: records)
    project=NAME     the W&B project, or ENTITY/PROJECT (default: gatescope)
    out=PATH         where the specs go (default: <root>/<study>/dashboard)
    --push           saves it on W&B, needs an account; the same dashboard is updated the next time

Without --push nothing is sent: workspace.json, report.json and summary.md are written.
Exit code 0 when done, 1 when there is nothing to show or W&B refuses, 2 for a wrong argument.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from gatescope.analysis.commands import CommandFailed, UsageError, defaults, parse, source
from gatescope.analysis.runs import NoRuns, Tables

MISSING = "needs wandb-workspaces: pip install -c constraints.txt 'gatescope[dashboard]'"


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    pushes, words = "--push" in words, [word for word in words if word != "--push"]
    try:
        given = parse(words, defaults(out=""), "python scripts/dashboard.py study=first_light")
        tables = source(given).tables()
        folder = Path(given["root"]) / given["study"]
        if pushes:
            lines = push(tables, given["project"], folder)
        else:
            lines = write(tables, Path(given["out"] or folder / "dashboard"))
    except (UsageError, NoRuns, CommandFailed) as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print("\n".join(lines))
    return 0


def write(tables: Tables, out: Path) -> list[str]:
    """Writes what would be sent; returns where it is."""
    dashboard = _module()
    built = dashboard.build(tables)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("workspace", "report"):
        text = json.dumps(dashboard.spec(getattr(built, name)), indent=1, ensure_ascii=False)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    counts = [f"- {title}: {count} panels" for title, count in built.panels.items()]
    missing = [
        f"- {title}: nothing logged, left out" for title in dashboard.SECTIONS if title not in built.panels
    ]
    summary = [f"# {tables.study['name']}", "", *counts, *missing, "", built.report.blocks[0].text]
    (out / "summary.md").write_text("\n".join(summary) + "\n", encoding="utf-8")
    return [str(out / "summary.md")]


def push(tables: Tables, project: str, folder: Path) -> list[str]:
    """Saves on W&B; returns the addresses.

    Raises:
        CommandFailed: W&B does not take it.
    """
    dashboard = _module()
    import wandb

    try:
        urls = dashboard.push(tables, project, folder / dashboard.ADDRESS_FILE)
    except (wandb.Error, ValueError) as error:
        raise CommandFailed(
            f"W&B does not take the dashboard in {project}: {str(error).splitlines()[0]}; "
            "check project=ENTITY/PROJECT, and `wandb login` or WANDB_API_KEY"
        ) from error
    return [urls["workspace"], urls["report"]]


def _module():  # type: ignore[no-untyped-def]
    try:
        from gatescope.analysis import dashboard
    except ModuleNotFoundError as error:
        raise CommandFailed(MISSING) from error
    return dashboard


if __name__ == "__main__":
    sys.exit(main())
