"""`report.html`: the report as one page that needs nothing beside it, no network and no server."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from gatescope.analysis import study, style
from gatescope.analysis.report import interactive, numbers
from gatescope.analysis.runs import Tables

MOST_ROWS = 120
"""Of the numbers under a figure; the CSV beside the page has them all."""
MOST_SVG = 60_000
"""Bytes; a larger figure is embedded as PNG if that is smaller, so that the page stays below 5 MB."""
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Numbers:
    """The rows under a figure, as text, and how many there are in all."""

    columns: list[str]
    rows: list[list[str]]
    total: int


def markdown(text: str) -> Markup:
    """Markdown of findings as HTML; HTML within it stays text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    html = parser.render(text)
    scroll = '<div class="scroll" role="group" tabindex="0" aria-label="Table of findings"><table>'
    return Markup(html.replace("<table>", scroll).replace("</table>", "</table></div>"))


def inline(text: str) -> Markup:
    """A line of Markdown as HTML."""
    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(text))


def image(stem: Path) -> str:
    """A figure's file as a data address: SVG, or PNG where that is much smaller."""
    sizes = {path.suffix: path.stat().st_size for path in (stem.with_name(f"{stem.name}{k}") for k in KINDS)}
    kind = ".png" if sizes[".svg"] > max(MOST_SVG, sizes[".png"]) else ".svg"
    content = stem.with_name(f"{stem.name}{kind}").read_bytes()
    return f"data:{KINDS[kind]};base64,{base64.b64encode(content).decode()}"


def shown(table: pd.DataFrame) -> Numbers:
    """At most `MOST_ROWS` rows, evenly chosen within each variant, first and last among them."""
    total = len(table)
    if total > MOST_ROWS:
        by = [c for c in table if table[c].dtype.kind not in "iufb"]
        groups = [part for _, part in table.groupby(by, sort=False)]
        most = max(2, MOST_ROWS // len(groups))
        table = pd.concat([part.iloc[_evenly(len(part), most)] for part in groups])
    rows = [[_text(value) for value in row] for row in table.itertuples(index=False)]
    return Numbers([str(c).replace("_", " ") for c in table.columns], rows, total)


def _evenly(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer()):
        return f"{value:,.0f}".replace("-", "−")
    return numbers.number(float(value)) if isinstance(value, float) else str(value)


def settings(configs: Mapping[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """What the runs were configured with: (key, value), and what varies between them."""
    found: dict[str, list[str]] = {}
    for config in configs.values():
        for key, value in leaves(config):
            found.setdefault(key, []).append(value)
    rows = []
    for key, values in sorted(found.items()):
        different = sorted(set(values))
        everywhere = len(values) == len(configs)
        text = different[0] if len(different) == 1 and everywhere else f"varies: {', '.join(different[:8])}"
        rows.append((key, text + (", …" if len(different) > 8 else "")))
    return rows


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            if (prefix, key) != ("", "study"):
                yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(node, ensure_ascii=False)


def runs(tables: Tables, folder: Path) -> list[dict[str, Any]]:
    """A row a run with the way to its record and its page on W&B."""
    values = tables.final(study.primary(tables)).set_index("run_id").value
    return [
        {
            "run_id": run["run_id"],
            "variant": run["variant"],
            "condition": run["condition"],
            "seed": run["seed"],
            "status": run["status"],
            "value": float(values[run["run_id"]]),
            "record": quote(Path(os.path.relpath(run["directory"], folder)).as_posix()),
            "page": tables.pages.get(run["run_id"]),
            "commit": run["commit"] if isinstance(run["commit"], str) else None,
        }
        for run in tables.runs.to_dict("records")
    ]


def variants(tables: Tables) -> list[dict[str, str]]:
    """What the switches need: name, label, colour, dashes."""
    return [
        {
            "name": name,
            "label": look.label.replace(r"\$", "$"),
            "color": look.color,
            "dashes": " ".join(f"{length:g}" for length in interactive.dashes(look)),
        }
        for name, look in style.styles_of(tables.runs.variant).items()
    ]


def script_json(value: object) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def asset(name: str) -> Markup:
    """A file of `templates/` as it stands."""
    return Markup((files("gatescope.analysis.report") / "templates" / name).read_text(encoding="utf-8"))


def library() -> Markup:
    return Markup(interactive.library().replace("</script", "<\\/script"))
