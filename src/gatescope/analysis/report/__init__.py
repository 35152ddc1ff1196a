"""The report of a study: `reports/<study>/report.html`, README, tables and figures, from records only.

To add prose about one study's question, write `report/x.py` with

    TITLE = "What the heading says"
    def paragraphs(tables: Tables) -> list[str]: ...     # Markdown, generated from the numbers
    def headline(tables: Tables) -> str: ...             # a line for the list of reports

and name it in the study's file: `study.findings: x`. Without it `comparison` is used.
"""

from gatescope.analysis.report.build import FIGURES, write_report
from gatescope.analysis.report.index import write_index

__all__ = ["FIGURES", "write_index", "write_report"]
