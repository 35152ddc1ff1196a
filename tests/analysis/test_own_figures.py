"""Figures outside of the package, and figures that raise, on the pages of the real command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Compose

from gatescope.analysis.figures import load
from gatescope.analysis.lookup import UnknownName
from gatescope.config import ConfigError, check

from .conftest import write_run

FIGURE = '''
"""Losses of all runs: a figure in a file of its own."""

from gatescope.analysis import style
from gatescope.analysis.figures import Curves, canvas
from gatescope.analysis.figures.summaries import means

TITLE = "Training losses"
CURVES = Curves("step", "step", "loss")


def caption(comparison):
    return "The training loss, its mean over seeds."


def numbers(comparison):
    return means(comparison.tables.metric("train/loss"), [], "step")


def draw(comparison, width=None):
    with canvas(width or style.COLUMN) as figure:
        axes = figure.subplots()
        for variant, part in numbers(comparison).groupby("variant"):
            axes.plot(part["step"], part["mean"], **style.style_of(variant).line)
    return figure
'''
SEVERAL = '''
"""Figures that are objects of one module."""

from dataclasses import dataclass

import my_losses


@dataclass
class Losses:
    TITLE: str
    fails: str = ""

    def caption(self, comparison):
        return self.result("caption", "Losses again.")

    def numbers(self, comparison):
        return self.result("numbers", my_losses.numbers(comparison))

    def draw(self, comparison, width=None):
        return self.result("draw" if width is None else "draw at a width", my_losses.draw(comparison, width))

    def result(self, method, value):
        if method == self.fails:
            raise ZeroDivisionError(f"division by zero in {method}")
        return value


good = Losses("An object as a figure")
not_drawn, without_numbers, without_caption, narrow = (
    Losses(f"Fails: {method}", method) for method in ("draw", "numbers", "caption", "draw at a width")
)
not_a_figure = 3
'''


IMPORT = """
with open("imported.txt", "a") as file:
    print("once", file=file)
import no_such_package
"""
FAILING = [
    *(
        "my_figures.not_drawn",
        "my_figures.without_numbers",
        "my_figures.without_caption",
        "my_figures.narrow",
    ),
    *("my_figures.not_a_figure", "my_figures.absent", "my_syntax_error", "my_import", "pie_chart"),
    "my_figures.good",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of figures, and runs of a study that names one of them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "my_losses.py").write_text(FIGURE)
    (folder / "my_figures.py").write_text(SEVERAL)
    (folder / "my_syntax_error.py").write_text("TITLE = \n")
    (folder / "my_import.py").write_text(IMPORT)
    studies = {"toy": ["metric_by_variant", "my_losses"], "failing": FAILING}
    for seed in range(3):
        for name, figures in studies.items():
            write_run(folder / "runs", "gru-none", seed, study={"name": name, "figures": figures})
    return folder


def run_report(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), *arguments]
    environment = os.environ | {"RUNS_DIR": "runs"}
    return subprocess.run(command, capture_output=True, text=True, cwd=project, env=environment)


def report(project: Path, study: str, *arguments: str) -> tuple[str, str]:
    """Run the command in the project; return its page and what it prints on stderr."""
    done = run_report(project, f"study={study}", "trust=true", *arguments)
    assert done.returncode == 0, done.stderr
    page = (project / "reports" / study / "report.html").read_text(encoding="utf-8")
    return re.sub(r"(?s)<script.*?</script>", "", page), done.stderr


def test_a_study_names_a_figure_in_a_file_of_its_own(project: Path) -> None:
    page, _ = report(project, "toy")
    assert page.index("Metric by variant") < page.index("Training losses")
    assert "The training loss, its mean over seeds." in page
    assert page.count('class="chart"') == 1, "curves without panels are one chart"
    assert "Left out" not in page
    folder = project / "reports" / "toy"
    for name in ("my_losses.png", "numbers/my_losses.csv", "paper/my_losses_one_column.pdf"):
        assert (folder / name).exists()


@pytest.mark.slow
def test_a_figure_that_raises_is_reported_in_its_place(project: Path) -> None:
    page, log = report(project, "failing")
    assert "An object as a figure" in page
    found = re.findall(r"<b>([^<]*)</b> \(([^<]*)", page)
    reasons = dict(found)
    assert list(reasons) == [
        "Fails: draw", "Fails: numbers", "Fails: caption", "Fails: draw at a width", "Not a figure", "Absent",
        "My syntax error", "My import", "Pie chart",
    ]  # fmt: skip
    line = SEVERAL[: SEVERAL.index("raise Zero")].count("\n") + 1
    for name, method in zip(FAILING, ("draw", "numbers", "caption", "draw at a width"), strict=False):
        reason = reasons[f"Fails: {method}"]
        assert f"ZeroDivisionError: division by zero in {method} (my_figures.py, line {line})" in reason
        assert f"correct the figure {name}, or leave it out of `study.figures`" in reason
    assert "my_figures.not_a_figure is not a figure, it lacks TITLE" in reasons["Not a figure"]
    assert reasons["Absent"].startswith("there is no figure &#39;my_figures.absent&#39;. Allowed: acc")
    assert reasons["My syntax error"].startswith("SyntaxError: ")
    assert "No module named" in reasons["My import"]
    assert reasons["Pie chart"].startswith("there is no figure &#39;pie_chart&#39;. Allowed: acc")
    assert "Traceback" in log
    assert (project / "imported.txt").read_text() == "once\n", "an import that fails is not repeated"
    folder = project / "reports" / "failing"
    assert (folder / "my_figures.good.png").exists()
    assert not list(folder.rglob("my_figures.narrow*")), "no files of a figure that failed at its last step"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "(ZeroDivisionError: division by zero in draw" in readme


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (
            "figures=timescale",
            "figures: there is no figure 'timescale', did you mean timescales? Allowed: acc",
        ),
        pytest.param(
            "figures=[pareto,my_figures.absent]",
            "figures: there is no figure 'my_figures.absent'. Allowed: acc",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "figures=my_figures.not_a_figure",
            "figures: my_figures.not_a_figure is not a figure, it lacks TITLE",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "findings=comparisn",
            "findings: there is no findings module 'comparisn', did you mean comparison?",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "findings=my_losses",
            "findings: my_losses is not a findings module, it lacks findings",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_wrong_name_on_the_command_line_is_an_error(project: Path, argument: str, said: str) -> None:
    done = run_report(project, "study=toy", "out=elsewhere", argument)
    assert done.returncode == 2
    assert done.stderr.startswith(f"report: {said}")
    assert len(done.stderr.splitlines()) == 1
    assert not (project / "elsewhere").exists(), "nothing is written"


def test_the_config_of_a_study_accepts_a_dotted_path_and_nothing_else(config: Compose) -> None:
    check(config("study.figures=[pareto,my_losses,my_package.my_module.my_figure]"))
    with pytest.raises(ConfigError, match=r"study\.figures"):
        check(config("study.figures=['../other/figure']"))


@pytest.mark.parametrize(
    "name", ["pie_chart", "no_such_package.figure", "gatescope.no_such", "../pareto", ""]
)
def test_an_unknown_figure_is_named(name: str) -> None:
    with pytest.raises(UnknownName, match=re.escape(f"there is no figure {name!r}")):
        load(name)


def test_a_figure_of_the_package_has_a_short_and_a_full_name() -> None:
    assert load("pareto") is load("gatescope.analysis.figures.pareto")
    with pytest.raises(UnknownName, match=r"did you mean timescales\?"):
        load("timescale")
    with pytest.raises(UnknownName, match="base is not a figure, it lacks TITLE, caption, numbers, draw"):
        load("base")
