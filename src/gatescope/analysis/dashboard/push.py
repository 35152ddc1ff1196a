"""Saving of a dashboard on W&B."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import wandb

from gatescope.analysis.dashboard.build import build
from gatescope.analysis.dashboard.figures import draw_figures, upload_figures
from gatescope.analysis.dashboard.workspaces import wr, ws
from gatescope.analysis.tables import Tables

ADDRESS_FILE = "dashboard.json"
"""File beside the records of a study with the addresses of its dashboard, which the next push updates."""


def push(tables: Tables, project: str, path: Path) -> dict[str, str]:
    """Save the dashboard on W&B; a dashboard that was saved in the same project before is updated.

    Args:
        tables: The runs of the study.
        project: "project", in the default entity of the account, or "entity/project".
        path: JSON file with the addresses of the dashboard; read and written.

    Returns:
        The addresses of "project", "workspace" and "report".
    """
    entity, _, name = project.rpartition("/")
    entity = entity or str(wandb.Api().default_entity)
    full_name = f"{entity}/{name}"
    earlier = _read_addresses(path)
    if earlier.get("project") != full_name:
        earlier = {}
    folder = path.parent / "dashboard"
    figures = draw_figures(tables, folder)
    new = build(tables, entity, name, figures)
    workspace = _load(ws.Workspace, earlier.get("workspace"))
    if workspace is None:
        workspace = new.workspace
    else:
        for part in ("name", "sections", "settings", "runset_settings"):
            setattr(workspace, part, getattr(new.workspace, part))
    report = _load(wr.Report, earlier.get("report"))
    if report is None:
        report = new.report
    else:
        for part in ("title", "description", "blocks", "width"):
            setattr(report, part, getattr(new.report, part))
    upload_figures(figures, str(tables.study["name"]), entity, name, folder)
    workspace.save()
    report.save()
    addresses = {"project": full_name, "workspace": workspace.url, "report": report.url}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(addresses, indent=2) + "\n", encoding="utf-8")
    return addresses


def spec(view: ws.Workspace | wr.Report) -> dict[str, Any]:
    """Return the specification that would be sent, without random ids.

    This is the only function that uses a private interface of wandb-workspaces.
    """
    text = view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    plain: dict[str, Any] = without_ids(json.loads(text))
    return plain


def without_ids(node: Any) -> Any:
    """Return a copy of a specification without its random ids."""
    if isinstance(node, dict):
        return {k: without_ids(v) for k, v in node.items() if k not in ("id", "__id__", "ref")}
    return [without_ids(item) for item in node] if isinstance(node, list) else node


def _load(view: Any, url: str | None) -> Any:
    """Return a view as W&B holds it; None where there was none or it has been deleted."""
    try:
        return None if url is None else view.from_url(url)
    except (ValueError, TypeError, wandb.Error):
        return None


def _read_addresses(path: Path) -> dict[str, str]:
    try:
        addresses: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return addresses
