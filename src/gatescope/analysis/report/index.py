"""`reports/README.md`: what each committed report found, in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gatescope.analysis.report.numbers import NOTHING
from gatescope.analysis.report.tables import markdown

SUMMARY = "summary.json"
"""In a report's folder: name, question, finding (one line); of a study, finished and runs (counts); of a
report that is no longer true in some way, notice (one line)."""


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    (folder / SUMMARY).write_text(text, encoding="utf-8")


def write_index(out: str | Path) -> Path:
    """Writes `<out>/README.md` from the summaries of the reports in `out`, in order of name. One without
    `finished` and `runs` is not made of runs."""
    root = Path(out)
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for path in sorted(root.glob(f"*/{SUMMARY}")):
        found = json.loads(path.read_text(encoding="utf-8"))
        link = f"[{found['name']}]({quote(path.parent.name)}/README.md)"
        asked = f"*{found['question']}* " if found["question"] else ""
        asked = f"**{found['notice']}** {asked}" if "notice" in found else asked
        runs = f"{found['finished']} of {found['runs']}" if "runs" in found else NOTHING
        lines.append([link, f"{asked}{found['finding']}", runs])
    body = "There is none yet: `python scripts/report.py study=first_light` writes one."
    if lines:
        body = markdown(["study", "finding", "runs"], lines)
    about = "Generated from the records of their runs, as this list is, by `scripts/report.py`."
    readme = root / "README.md"
    readme.write_text(f"# Reports\n\n{about}\n\n{body}\n", encoding="utf-8")
    return readme
