"""`report.html`: the report as one self-contained page, without network or server."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from gatescope.analysis import style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report import interactive, numbers
from gatescope.analysis.report.links import web_address

MAX_ROWS = 120
"""Rows of the numbers under a figure; the CSV has all of them."""
MAX_SVG = 60_000
"""Bytes of an embedded SVG; a larger figure is embedded as PNG if that is smaller, to keep the page small."""
LONG_CELL = re.compile(r"<td>(?=[^<]{25,}</td>)")
"""A cell of several words, which gets some width on a narrow screen."""
TOGETHER = {
    re.compile(r"\[([^][<>\s]+), ([^][<>\s]+)\]"): "[\\1,\u00a0\\2]",
    re.compile(r"\b(\d+) of (\d+)\b"): "\\1\u00a0of\u00a0\\2",
    re.compile(r"(<|&lt;) (?=\d)"): "\\1\u00a0",
}
"""What stays on one line of a cell, such as "[0.740, 0.751]", "3 of 5" and "< 0.001"."""
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


NAMES: dict[str, Callable[[Any], str]] = {
    "variant": words.variant,
    "minus": words.variant,
    "condition": words.condition,
    "quantity": words.metric,
    "gate": words.gate,
}
"""How the values of a column of numbers are written; other columns as numbers."""


@dataclass(frozen=True)
class ThinnedTable:
    """The numbers under a figure.

    Attributes:
        columns: headings.
        rows: the rows that are shown, as text.
        total: number of all rows.
    """

    columns: list[str]
    rows: list[list[str]]
    total: int


def markdown(text: str) -> Markup:
    """Render Markdown as HTML; HTML within it is escaped."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    html = LONG_CELL.sub('<td class="words">', unbroken(parser.render(text)))
    scroll = '<div class="scroll" role="group" tabindex="0" aria-label="Table of findings"><table>'
    return Markup(html.replace("<table>", scroll).replace("</table>", "</table></div>"))


def unbroken(text: str) -> str:
    """Put spaces that do not break into what `TOGETHER` lists."""
    for pattern, replacement in TOGETHER.items():
        text = pattern.sub(replacement, text)
    return text


def inline(text: str) -> Markup:
    """Render one line of Markdown as HTML."""
    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(text))


def image(stem: Path) -> str:
    """Return a figure's file as a data URL: SVG, or PNG where the SVG is large.

    Args:
        stem: path of the files without their suffix.
    """
    sizes = {path.suffix: path.stat().st_size for path in (stem.with_name(f"{stem.name}{k}") for k in KINDS)}
    kind = ".png" if sizes[".svg"] > max(MAX_SVG, sizes[".png"]) else ".svg"
    content = stem.with_name(f"{stem.name}{kind}").read_bytes()
    return f"data:{KINDS[kind]};base64,{base64.b64encode(content).decode()}"


def thinned(table: pd.DataFrame) -> ThinnedTable:
    """Return at most `MAX_ROWS` rows, evenly spaced within each variant, its first and last included."""
    total = len(table)
    if total > MAX_ROWS:
        by = [c for c in table if table[c].dtype.kind not in "iufb"]
        groups = [part for _, part in table.groupby(by, sort=False)]
        most = max(2, MAX_ROWS // len(groups))
        table = pd.concat([part.iloc[_evenly(len(part), most)] for part in groups])
    write = [NAMES.get(str(column), _text) for column in table.columns]
    rows = [
        [name(value) for name, value in zip(write, row, strict=True)] for row in table.itertuples(index=False)
    ]
    return ThinnedTable([words.column(str(c)) for c in table.columns], rows, total)


def _evenly(count: int, most: int) -> np.ndarray:
    """Return at most `most` indices of `count` items, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer()):
        return f"{value:,.0f}".replace("-", "−")
    return numbers.number(float(value)) if isinstance(value, float) else str(value)


def settings(configs: Mapping[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (key, value) of the runs' configs; where runs differ, the different values."""
    values_of: dict[str, list[str]] = {}
    for config in configs.values():
        for key, value in leaves(config):
            values_of.setdefault(key, []).append(value)
    rows = []
    for key, values in sorted(values_of.items()):
        different = sorted(set(values))
        everywhere = len(values) == len(configs)
        text = different[0] if len(different) == 1 and everywhere else f"varies: {', '.join(different[:8])}"
        rows.append((key, text + (", …" if len(different) > 8 else "")))
    return rows


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the JSON of every value of a config, without its node `study`."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            if (prefix, key) != ("", "study"):
                yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(node, ensure_ascii=False)


def runs(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row per recorded run, with a link to its page on W&B."""
    tables = comparison.recorded
    values = tables.final(comparison.primary).set_index("run_id").value
    return [
        {
            "run_id": run["run_id"],
            "variant": run["variant"],
            "condition": run["condition"],
            "seed": run["seed"],
            "fold": run["fold"],
            "status": run["status"],
            "value": float(values[run["run_id"]]),
            "page": web_address(tables.pages.get(run["run_id"])),
            "commit": run["commit"] if isinstance(run["commit"], str) else None,
        }
        for run in tables.runs.to_dict("records")
    ]


def variants(names: Iterable[str]) -> list[dict[str, str]]:
    """Return name, label, colour and dashes of each variant, for the page's switches."""
    return [
        {
            "name": name,
            "label": own.label.replace(r"\$", "$"),
            "color": own.color,
            "dashes": " ".join(f"{length:g}" for length in interactive.dashes(own)),
        }
        for name, own in style.styles_of(names).items()
    ]


def script_json(value: object) -> Markup:
    """Format JSON that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def environment_of(package: str) -> Environment:
    """Return the environment of the HTML templates of a package.

    Args:
        package: Name of the package, whose folder `templates` has them.
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """Return the text of a file of `templates/`."""
    return Markup((files("gatescope.analysis.report") / "templates" / name).read_text(encoding="utf-8"))


def library() -> Markup:
    """Return the JavaScript of Vega, safe inside a script element."""
    return Markup(interactive.library().replace("</script", "<\\/script"))
