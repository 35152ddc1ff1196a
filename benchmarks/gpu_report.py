"""The section of reports/performance/ about a GPU, from benchmarks/results/gpu_<card>.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.gpu_adjoint import FORMS
from benchmarks.gpu_recurrence import PRECISIONS
from benchmarks.gpu_step import DEFAULT, OFF
from benchmarks.recurrence_speed import RECURRENT
from gatescope.analysis import style
from gatescope.analysis.figures import canvas, save
from gatescope.analysis.report.numbers import number
from gatescope.analysis.report.tables import markdown

TITLES = {
    "gpu_recurrence": "A training step of one layer",
    "gpu_step": "A training step of a model",
    "gpu_adjoint": "The exact adjoint",
    "gpu_shared": "Several runs on one card",
    "gpu_predict": "Prediction",
}
WAYS = {
    "nn": ("torch.nn", "#555555", "o"),
    "torch": ("kernel=torch", "#4fc7a6", "^"),
    "native": ("kernel=native", "#c94f0c", "s"),
}
"""Label, colour and marker."""


def sections(results: Path, folder: Path) -> list[str]:
    """Return the parts of the report about each card in `results`, and write their figures to `folder`.

    Without a file of a card there are none.
    """
    parts = []
    for path in sorted(results.glob("gpu_*.json")):
        content = json.loads(path.read_text())
        measured = {name: part for name in TITLES if (part := content["sections"].get(name))}
        parts.append(heading(content["card"], measured))
        for name, section in measured.items():
            parts.append(f"### {TITLES[name]}\n\n{about(section)}")
            if section["rows"]:
                parts.append(FORMS_OF_TABLES[name](section))
            else:
                parts.append("Not measured: the time ended before the first case.")
            if missing := {**section["failed"], **section["left_out"]}:
                parts.append(not_measured(missing))
            if name == "gpu_recurrence" and section["rows"]:
                save(draw(section), folder, path.stem, ("png", "svg"))
                caption = "Medians in float32 without TF32, on a logarithmic axis."
                parts.append(f"![{TITLES[name]}]({path.stem}.png)\n\n{caption} ([SVG]({path.stem}.svg))")
    return parts


def heading(card: dict[str, Any], measured: dict[str, Any]) -> str:
    """Return the title of a card, its software, and the targets that are not met."""
    software = [
        f"{name} {card[name]}" for name in ("driver", "torch", "cuda", "cudnn", "triton") if card.get(name)
    ]
    rows = [row for section in measured.values() for row in section["rows"] if "target" in row]
    text = f"## {card['name']}\n\n{', '.join(software)}. To measure it again, on a machine with a GPU:\n\n"
    text += f"```\npython -m benchmarks {' '.join(measured)}\npython -m benchmarks.report\n```"
    if not rows:
        return text
    missed = "".join(
        f"\n- {row['case']}: {row['measure']} {number(row['ratio'])}; target {row['target']}"
        for row in rows
        if not row["met"]
    )
    met = sum(row["met"] for row in rows)
    return f"{text}\n\n{met} of {len(rows)} targets are met." + (f" Not met:\n{missed}" if missed else "")


def about(section: dict[str, Any]) -> str:
    """Return what was measured, and when."""
    question = section["question"]
    if not question.startswith("study="):  # an override keeps its spelling
        question = question[0].upper() + question[1:]
    commit = (section["machine"]["git"] or {}).get("commit") or "no commit"
    return f"{question}. Measured {section['measured'][:10]}; commit `{commit}`."


def not_measured(missing: dict[str, str]) -> str:
    """Return the cases that were not measured, by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in missing.items():
        by_reason.setdefault(reason, []).append(name)
    return "Not measured:\n\n" + "\n".join(
        f"- {reason}: {'; '.join(names)}" for reason, names in by_reason.items()
    )


def in_markdown(lines: list[dict[str, Any]]) -> str:
    """Return rows as a table in Markdown, without empty columns."""
    table = pd.DataFrame(lines).dropna(axis=1, how="all")
    return markdown(table.columns, [[written(value) for value in row] for _, row in table.iterrows()])


def written(value: Any) -> str:
    """Return a value as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(None) if pd.isna(value) else number(value) if isinstance(value, float) else str(value)


def groups(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each case, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["case"], []).append(row)
    return found


def shape(row: dict[str, Any]) -> str:
    """Return T, B, D and H as text."""
    return f"{row['steps']}, {row['batch']}, {row['inputs']}, {row['hidden']}"


def label(row: dict[str, Any]) -> dict[str, str]:
    """Return the first columns of a table."""
    return {"cell": style.style_of(row["cell"]).label, "T, B, D, H": shape(row)}


def recurrence_table(section: dict[str, Any]) -> str:
    """Return the times of the layers, one row for each cell, size and precision."""
    lines = []
    for rows in groups(section["rows"]).values():
        by_way = {row["way"]: row for row in rows}
        line: dict[str, Any] = label(rows[0]) | {"precision": rows[0]["precision"]}
        line |= {f"{way}, ms": by_way[way]["ms"] if way in by_way else None for way in WAYS}
        over = {row["measure"]: row["ratio"] for row in rows if " over " in row["measure"]}
        line |= {name: over.get(name) for name in ("torch over nn", "native over torch")}
        if "native over torch" in over:
            line["faster"] = "native" if over["native over torch"] < 1 else "torch"
        lines.append(line)
    return "\n\n".join(
        in_markdown(part)
        for precision in PRECISIONS
        if (part := [line for line in lines if line["precision"] == precision])
    )


def step_table(section: dict[str, Any]) -> str:
    """Return the times of the training steps, one row for each cell, size and kernel."""
    lines = []
    for rows in groups(section["rows"]).values():
        by_measure = {row["measure"]: row for row in rows}
        off, default = by_measure.get(OFF, {}), by_measure.get(DEFAULT, {})
        line: dict[str, Any] = label(rows[0]) | {"kernel": rows[0]["kernel"]}
        line |= {"bare, ms": off.get("bare_ms"), "off, ms": off.get("ms"), "default, ms": default.get("ms")}
        for name, row in ((OFF, off), (DEFAULT, default)):
            line[name] = row.get("ratio")
            line[f"{name}, target"] = f"{row['target']} {'met' if row['met'] else 'NOT met'}" if row else None
        lines.append(line)
    return in_markdown(lines)


def adjoint_table(section: dict[str, Any]) -> str:
    """Return the times of the forms of the adjoint, one row for each cell and size."""
    lines = []
    for rows in groups(section["rows"]).values():
        by_form = {row["measure"]: row for row in rows}
        line: dict[str, Any] = label(rows[0]) | {"renormalised": rows[0]["renormalised"]}
        line |= {f"{form}, ms": by_form[form]["ms"] if form in by_form else None for form in FORMS}
        line["capture, s"] = by_form.get("graph", {}).get("capture_s")
        line["training step, ms"] = rows[0]["training_step_ms"]
        line["fastest"] = min(rows, key=lambda row: row["ms"])["measure"]
        line["worst error"] = f"{max(row['worst_error'] for row in rows):.1e}"
        lines.append(line)
    return in_markdown(lines)


def plain(section: dict[str, Any]) -> str:
    """Return all rows."""
    return in_markdown(section["rows"])


FORMS_OF_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "gpu_recurrence": recurrence_table,
    "gpu_step": step_table,
    "gpu_adjoint": adjoint_table,
    "gpu_shared": plain,
    "gpu_predict": plain,
}


def draw(section: dict[str, Any]) -> Figure:
    """Draw milliseconds of each way by size, one panel per cell of cuDNN."""
    rows = [row for row in section["rows"] if row["precision"] == "float32"]
    cells = [cell for cell in RECURRENT if any(row["cell"] == cell for row in rows)]
    sizes = list(dict.fromkeys(shape(row) for row in rows if row["cell"] in RECURRENT))
    with canvas(style.TWO_COLUMNS, 2.9) as figure:
        panels = figure.subplots(1, max(1, len(cells)), sharey=True, squeeze=False)[0]
        for axes, cell in zip(panels, cells, strict=False):
            for way, (name, color, marker) in WAYS.items():
                own = [row for row in rows if (row["cell"], row["way"]) == (cell, way)]
                if own:
                    axes.plot(
                        [sizes.index(shape(row)) for row in own],
                        [row["ms"] for row in own],
                        label=name,
                        color=color,
                        marker=marker,
                        linestyle="none",
                    )
            names = [size.replace(", ", "·") for size in sizes]
            axes.set_xticks(range(len(sizes)), names, rotation=40, ha="right")
            axes.set(title=style.style_of(cell).label, xlabel="T·B·D·H", yscale="log")
        panels[0].set_ylabel("milliseconds of a training step")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))
    return figure
