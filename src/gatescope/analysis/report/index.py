"""`reports/README.md`: the list of reports, with the finding of each in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

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
    lines = []
    for path in sorted(root.glob(f"*/{SUMMARY}")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        link = f"[{summary['name']}]({quote(path.parent.name)}/README.md)"
        question = f"*{summary['question']}* " if summary["question"] else ""
        question = f"**{summary['notice']}** {question}" if "notice" in summary else question
        runs = f"{summary['finished']} of {summary['runs']}" if "runs" in summary else NOTHING
        title = f"**{summary['title']}.** " if "title" in summary else ""
        bars = [summary.get(name, NOTHING) for name in ("best", "baseline", "published")]
        lines.append([link, f"{title}{question}{summary['finding']}", *bars, runs])
    body = f"No report yet: `{command('report')} study=first_light` writes one."
    if lines:
        body = markdown(["study", "finding", "best network", "baseline", "published", "runs"], lines)
    about = "`gatescope report` generates the reports and this list from the records of runs."
    readme = root / "README.md"
    readme.write_text(f"# Reports\n\n{about}\n\n{body}\n", encoding="utf-8")
    return readme
