"""python -m benchmarks.report [RESULTS [OUT]]: report the results of the native kernel in tables and figures.

It reads benchmarks/results/ and writes reports/performance/, for those of the four benchmarks that have been
run, and for each GPU that has been measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmarks import gpu_report
from benchmarks.one_core import ROOT
from benchmarks.recurrence_speed import MINIMAL, RECURRENT, case_of
from benchmarks.setting import Size
from gatescope.analysis import style
from gatescope.analysis.figures import canvas, save
from gatescope.analysis.report.index import write_index, write_summary
from gatescope.analysis.report.numbers import number
from gatescope.analysis.report.tables import markdown

NAMES = ("recurrence_speed", "recurrence_scaling", "recurrence_memory", "article_example")
WAYS = {
    "native": ("native kernel", None, "s"),
    "nn": ("torch.nn", "#555555", "o"),
    "JAX scan": ("jitted JAX scan", "#4fc7a6", "^"),
    "Keras + JAX": ("Keras + JAX", "#4a2f8f", "D"),
}
"""Label, colour and marker; the native kernel has the colour of its cell."""
TITLES = {
    "recurrence_speed": "A training step of one layer",
    "recurrence_scaling": "Scaling",
    "recurrence_memory": "Peak memory",
    "article_example": "The example of the article",
}
HEADINGS = {
    "of_product": "share of the product rate",
    "gflops": "GFLOP/s",
    "nn_ms": "ms, nn",
    "per_second": "sequences/s",
    "seconds_over": "seconds",
    "seconds_under": "seconds, denominator",
    "megabytes_native": "MB, native",
    "megabytes_nn": "MB, nn",
}
LOWER_BOUND = "lower bound over nn"
ABOUT_LOWER_BOUND = (
    f"*{LOWER_BOUND}*: the share of its time that torch.nn would need for its matrix products alone, at the "
    "rate of a product of two matrices that fit into the cache. A kernel that computes the same products can "
    "hardly take a smaller share. For an LSTM, which torch computes with oneDNN, little can be gained."
)
QUESTION = "How fast is the native recurrence on one core, compared with its alternatives?"


class NoResults(Exception):
    """None of the benchmarks has been run; the message says how to run them."""


def write(results: Path, out: Path) -> Path:
    """Write <out>/performance/README.md, its figures and its line in the list of reports.

    Raises:
        NoResults: `results` has no result of any of `NAMES`, and none of a GPU.
    """
    found = {name: json.loads(p.read_text()) for name in NAMES if (p := results / f"{name}.json").exists()}
    folder = out / "performance"
    on_gpu = gpu_report.sections(results, folder)
    if not found and not on_gpu:
        raise NoResults(f"{results} has no result: python -m benchmarks {' '.join(NAMES)}")
    parts = [heading(found)]
    for name, result in found.items():
        parts.append(f"## {TITLES[name]}\n\n{sentence(result)}\n\n{FORMS.get(name, plain)(result)}")
        if name in FIGURES:
            save(FIGURES[name](result), folder, name, ("png", "svg"))
            parts.append(f"![{TITLES[name]}]({name}.png)\n\n{CAPTIONS[name]} ([SVG]({name}.svg))")
    parts += on_gpu
    folder.mkdir(parents=True, exist_ok=True)
    readme = folder / "README.md"
    readme.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_summary(folder, {"name": "performance", "question": QUESTION, "finding": finding(found)})
    write_index(out)
    return readme


def heading(found: dict[str, Any]) -> str:
    """Return the beginning of the report: question, commands, and the targets that are not met."""
    title = f"# performance\n\n{QUESTION}\n\n"
    if not found:
        return f"{title}It has not been measured. What follows was measured on a GPU."
    commands = f"python -m benchmarks {' '.join(found)}\npython -m benchmarks.report"
    missed = "".join(
        f"\n- {row['case']}: {row['measure']} {number(row['ratio'])}; target {row['target']}"
        for row in with_target(found)
        if not row["met"]
    )
    return (
        f"{title}This report is generated from the JSON files of the "
        f"benchmarks. To compute it again:\n\n```\n{commands}\n```\n\n{finding(found)}"
        + (f" Not met:\n{missed}" if missed else "")
    )


def with_target(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that have a target."""
    return [row for result in found.values() for row in result["rows"] if "target" in row]


def finding(found: dict[str, Any]) -> str:
    """Return how many targets are met."""
    rows = with_target(found)
    return f"{sum(row['met'] for row in rows)} of {len(rows)} targets are met."


def sentence(result: dict[str, Any]) -> str:
    """Return what was measured, when and on which machine."""
    machine = result["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.2f} before"
    commit = (machine["git"] or {}).get("commit") or "no commit"
    question = result["question"][0].upper() + result["question"][1:]
    return f"{question}. Measured {result['measured'][:10]} on {where}; commit `{commit}`."


def plain(result: dict[str, Any]) -> str:
    """Return all rows as a Markdown table."""
    table = pd.DataFrame(result["rows"]).rename(columns=HEADINGS)
    if "rounds" in table:
        table["rounds"] = table["rounds"].astype("Int64")
    return in_markdown(table)


def speed_table(result: dict[str, Any]) -> str:
    """Return a table with one row per cell and size: the time of each implementation, and the targets."""
    lines = []
    for cell, size, rows in measured(result):
        line: dict[str, Any] = {"cell": style.style_of(cell).label, "T, B, D, H": shape(size)}
        line |= {f"{way}, ms": row["ms"] for way, row in rows.items() if "ms" in row}
        line |= {HEADINGS[column]: rows["native"][column] for column in ("gflops", "of_product")}
        for measure, row in rows.items():
            if " over " in measure:
                name = measure.split(",")[0]
                line |= {name: row["ratio"], f"{name}, quartiles": f"{row['low']:.2f} to {row['high']:.2f}"}
                line |= {"targets": verdict(line.get("targets"), row)}
        if "nn" in rows:
            line |= {LOWER_BOUND: rows["nn"]["of_product"]}
        lines.append(line | {"gates and adjoint over native": rows["gates and adjoint"]["ratio"]})
    table = pd.DataFrame(lines)
    own = table["cell"].isin([style.style_of(cell).label for cell in MINIMAL])
    parts = [table[~own], table[own]]
    tables = [in_markdown(part.dropna(axis=1, how="all")) for part in parts if len(part)]
    return "\n\n".join([*tables, ABOUT_LOWER_BOUND])


def verdict(before: Any, row: dict[str, Any]) -> str | None:
    """Append to a text whether the row meets its target."""
    if "target" not in row:
        return before
    own = f"{row['target']} {'met' if row['met'] else 'NOT met'}"
    return f"{before}; {own}" if before else own


def measured(result: dict[str, Any]) -> list[tuple[str, Size, dict[str, dict[str, Any]]]]:
    """Return each cell and size with its rows by measure."""
    found = []
    for cell in (*RECURRENT, *MINIMAL):
        for size in (Size(**given) for given in result["settings"]["sizes"]):
            rows = {row["measure"]: row for row in result["rows"] if row["case"] == case_of(cell, size)}
            if rows:
                found.append((cell, size, rows))
    return found


def shape(size: Size) -> str:
    """Return T, B, D and H as text."""
    return f"{size.steps}, {size.batch}, {size.inputs}, {size.hidden}"


def in_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown, with numbers in the format of the other reports."""
    return markdown(table.columns, [[written(value) for value in row] for _, row in table.iterrows()])


def written(value: Any) -> str:
    """Return a value as text."""
    if pd.isna(value):
        return number(None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def draw_speed(result: dict[str, Any]) -> Any:
    """Draw GFLOP/s of each implementation by size, one panel per cell."""
    found = measured(result)
    cells = [cell for cell in RECURRENT if any(cell == other for other, _, _ in found)]
    with canvas(style.TWO_COLUMNS, 2.9) as figure:
        panels = figure.subplots(1, max(1, len(cells)), sharey=True, squeeze=False)[0]
        for axes, cell in zip(panels, cells, strict=False):
            own = [(size, rows) for other, size, rows in found if other == cell]
            draw_cell(axes, cell, [rows for _, rows in own])
            names = [shape(size).replace(", ", "·") for size, _ in own]
            axes.set_xticks(range(len(own)), names, rotation=40, ha="right")
            axes.set(title=style.style_of(cell).label, xlabel="T·B·D·H")
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel("GFLOP/s of a training step")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))
    return figure


def draw_cell(axes: Axes, cell: str, sizes: list[dict[str, dict[str, Any]]]) -> None:
    """Draw the panel of a cell."""
    for way, (label, color, marker) in WAYS.items():
        points = [(x, rows[way]["gflops"]) for x, rows in enumerate(sizes) if way in rows]
        if points:
            marks = {"color": color or style.style_of(cell).color, "marker": marker, "linestyle": "none"}
            axes.plot(*zip(*points, strict=True), label=label, zorder=3 if way == "native" else 2, **marks)
    rate = [rows["native"]["gflops"] / rows["native"]["of_product"] for rows in sizes]
    line = {"color": "#888888", "linestyle": "none", "marker": "_", "markersize": 14}
    axes.plot(range(len(sizes)), rate, label="a matrix product", **line)


def draw_scaling(result: dict[str, Any]) -> Any:
    """Draw milliseconds of both kernels against T, B and H, on logarithmic axes."""
    with canvas(style.TWO_COLUMNS, 2.4) as figure:
        panels = figure.subplots(1, 3, sharey=True)
        for axes, letter in zip(panels, "TBH", strict=True):
            rows = [row for row in result["rows"] if row["measure"] == letter]
            for cell in style.order(row["case"].split(",")[0] for row in rows):
                own = [row for row in rows if row["case"].startswith(f"{cell},")]
                x = [int(row["case"].split("=")[1]) for row in own]
                cell_style = style.style_of(cell)
                axes.plot(
                    x,
                    [row["ms"] for row in own],
                    **(cell_style.points | cell_style.line),
                    label=f"{cell_style.label}, native",
                )
                dashed = {"color": "#555555", "linestyle": "--", "marker": "o"}
                axes.plot(x, [row["nn_ms"] for row in own], **dashed, label=f"{cell_style.label}, torch.nn")
            axes.set(xscale="log", yscale="log", xlabel=letter)
            ticks = sorted({int(row["case"].split("=")[1]) for row in rows})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
        panels[0].set_ylabel("milliseconds of a training step")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))
    return figure


FORMS = {"recurrence_speed": speed_table}
FIGURES = {"recurrence_speed": draw_speed, "recurrence_scaling": draw_scaling}
CAPTIONS = {
    "recurrence_speed": (
        "Operations of the matrix products of a training step over its median time, on one core; dashes: "
        "rate of a product of two matrices that fit into the cache, timed in between. The native kernel has "
        "the colour of its cell."
    ),
    "recurrence_scaling": (
        "Medians; T, B or H is varied, and the other two are fixed. Both axes are logarithmic."
    ),
}


def main() -> int:
    """Write the report, and return an exit code."""
    given = [Path(word) for word in sys.argv[1:]]
    defaults = [ROOT / "benchmarks" / "results", ROOT / "reports"]
    try:
        print(write(*given, *defaults[len(given) :]))
    except NoResults as error:
        print(f"benchmarks.report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
