"""`reports/README.md`: the list of reports, with the finding of each in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gatescope.analysis.frozen import FILE
from gatescope.analysis.report.numbers import NOTHING
from gatescope.analysis.report.tables import markdown
from gatescope.invocation import command

SUMMARY = "summary.json"
"""A file in the folder of a report. Keys: name, question, finding (one line); for a report that is made of
runs, title (the finding in a sentence), finished and runs (counts), and with one condition the metric and its
values: best, baseline, published; for a report that is outdated, notice (one line)."""


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write the entry of a report in the list of reports."""
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    (folder / SUMMARY).write_text(text, encoding="utf-8")


def write_index(out: str | Path) -> Path:
    """Write `<out>/README.md` from the summaries of the reports in `out`, sorted by name."""
    root = Path(out)
    root.mkdir(parents=True, exist_ok=True)
    paths = sorted(root.glob(f"*/{SUMMARY}"))
    rows = [_row(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    body = f"No report yet: `{command('report')} study=first_light` writes one."
    if rows:
        empty = [name for name in rows[0] if all(row[name] == NOTHING for row in rows)]
        columns = [name for name in rows[0] if name not in empty]
        body = markdown(columns, [[row[name] for name in columns] for row in rows])
    about = "`gatescope report` writes the reports and this list."
    if any(row["tables"] != NOTHING for row in rows):
        about += (
            " A report with frozen tables holds all numbers that it needs: `gatescope report study=NAME "
            "source=frozen` draws it again, without the records of its runs."
        )
    readme = root / "README.md"
    readme.write_text(f"# Reports\n\n{about}\n\n{body}\n", encoding="utf-8")
    return readme


def _row(folder: Path, summary: dict[str, Any]) -> dict[str, str]:
    """Return the row of a report by column; the report itself has the numbers behind a title."""
    question = f"*{summary['question']}* " if summary["question"] else ""
    notice = f"**{summary['notice']}** " if "notice" in summary else ""
    found = f"**{summary['title']}.** {question}" if "title" in summary else f"{question}{summary['finding']}"
    bars = {name: summary.get(name, NOTHING) for name in ("best", "baseline", "published")}
    is_frozen = (folder / FILE).is_file()
    return {
        "study": f"[{summary['name']}]({quote(folder.name)}/README.md)",
        "finding": f"{notice}{found}".strip(),
        "best network": bars["best"],
        "baseline": bars["baseline"],
        "published": bars["published"],
        "runs": f"{summary['finished']} of {summary['runs']}" if "runs" in summary else NOTHING,
        "tables": f"[frozen]({quote(folder.name)}/{FILE})" if is_frozen else NOTHING,
    }
