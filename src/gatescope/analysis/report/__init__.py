"""The report of a study: `reports/<study>/README.md`, `runs.csv` and figures, from records only.

To add prose about one study's question, write `report/x.py` with

    TITLE = "What the heading says"
    def paragraphs(tables: Tables) -> list[str]: ...     # Markdown, generated from the numbers

and name it in the study's file: `study.findings: x`. Without it `comparison` is used.
"""

from gatescope.analysis.report.build import write_report

__all__ = ["write_report"]
