"""The report of a study: `reports/<study>/report.html`, README, tables and figures, from records only.

A study's findings are sentences generated from its numbers. To write those of a study of your own, add a
function to any module that can be imported,

    from gatescope.analysis.report import Comparison, Findings

    def findings(comparison: Comparison) -> Findings:
        best = comparison.leaders[""].variant
        return Findings(title="Which cell is best?", headline=f"{best} is.", paragraphs=[f"**{best}** is."])

and name the module by its dotted path: `study.findings: my_package.my_findings` in the study's file, or
`gatescope report study=my_study findings=my_package.my_findings`. A name without a dot is a module of
`analysis/report/findings/`; the default is `comparison`.
"""

from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.report.build import write_report
from gatescope.analysis.report.drawings import FIGURES
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.index import write_index

__all__ = ["FIGURES", "Comparison", "Findings", "compare", "write_index", "write_report"]
