"""The tables of a report in LaTeX, compiled where pdflatex is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from gatescope.analysis.comparison import compare
from gatescope.analysis.report import tables
from gatescope.analysis.runs import RecordSource

from .conftest import write_run


def test_tables_compile_and_name_things_in_words(tmp_path: Path) -> None:
    study = {"question": "Is 5 % & more of λ_0 enough?", "name": "a study_1", "reference": "my_cell&co-none"}
    for seed in range(5):
        for variant, accuracy in (("gru-additive", 0.9 + 0.01 * seed), ("my_cell&co-none", 0.5)):
            write_run(tmp_path, variant, seed, study=study, accuracy=accuracy)
    comparison = compare(RecordSource(tmp_path, "a study_1").tables())
    tables.write(comparison, tmp_path / "tables")
    texts = [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "tables").glob("*.tex"))]
    assert len(texts) == 2
    for text in texts:
        assert re.search(r"\\caption\{Is 5 \\% \\& more", text)
        assert re.search(r"\\label\{tab:a-study_1-(variants|differences)\}", text)
        assert r"\toprule" in text
        assert "GRU, additive attention" in text
        assert r"my\_cell\&co" in text
    assert "test accuracy" in texts[1]
    assert texts[0].count(r"\textbf") == 1, "the verdict holds"
    if shutil.which("pdflatex"):
        body = "\n".join(texts)
        head = (
            r"\documentclass{article}\IfFileExists{booktabs.sty}{\usepackage{booktabs}}"
            r"{\let\toprule\hline\let\midrule\hline\let\bottomrule\hline}\begin{document}"
        )  # Debian's texlive-latex-base lacks booktabs
        document = f"{head}{body}\\end{{document}}"
        (tmp_path / "all.tex").write_text(document, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
