"""Dashboards as code: the spec against a golden file, and a round trip through the stand-in.

After a change that is meant, `PYTHONPATH=tests python tests/commands/test_dashboard.py` writes it anew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from analysis.conftest import flow_readings, sample_readings, write_run
from wandb_standin import StandIn, serving

from gatescope.analysis import dashboard
from gatescope.analysis.comparison import compare
from gatescope.analysis.dashboard.push import without_ids
from gatescope.analysis.dashboard.workspaces import wr
from gatescope.analysis.report.findings import LOOKUP as findings_modules
from gatescope.analysis.report.findings import write_findings
from gatescope.analysis.runs import RecordSource, Tables
from gatescope.commands.dashboard import main

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("dashboard_golden.json")


def a_study(root: Path, **study: Any) -> Tables:
    for cell in ("rnn", "gru"):
        for seed in (0, 1):
            attention = [
                {"step": 10, "epoch": 0, "name": "attention/entropy", "kind": "scalar", "value": 1.5},
                {
                    "step": 10,
                    "epoch": 0,
                    "name": "attention/reach",
                    "kind": "undefined",
                    "why": "no attention",
                },
            ]
            seen = [*sample_readings(cell, seed, units=3), *flow_readings((-0.3, -0.1), 20, seed), *attention]
            write_run(
                root, f"{cell}-additive", seed, measurements=seen, accuracy=0.7 + seed / 10, study=study
            )
    return RecordSource(root, "toy").tables()


def specs(tables: Tables) -> dict[str, Any]:
    built = dashboard.build(tables)
    return {"workspace": dashboard.spec(built.workspace), "report": dashboard.spec(built.report)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return a_study(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving() as standin:
        for name, value in (standin.environment | {"WANDB_SILENT": "true"}).items():
            monkeypatch.setenv(name, value)
        standin.projects.add("gatescope")
        wandb.teardown()
        yield standin
        wandb.teardown()


def test_the_spec_is_the_golden_one(tables: Tables) -> None:
    assert specs(tables) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_spec_does_not_depend_on_chance(tables: Tables) -> None:
    assert specs(tables) == specs(tables)


def test_sections_hold_what_was_logged(tables: Tables) -> None:
    built = dashboard.build(tables)
    assert list(built.panels) == ["Findings", "Internals"]
    findings, internals = (
        {name for panel in section.panels if isinstance(panel, wr.LinePlot) for name in panel.y}
        for section in built.workspace.sections
    )
    assert {"validation/accuracy", "gradient_norm/before_clip", "attention/entropy"} <= findings
    assert {"attention/distance", "gradient_norm/clipped_share"} <= internals
    assert not findings & internals
    assert "attention/reach" not in findings | internals
    assert len(built.workspace.sections[0].panels) <= 14
    assert not built.workspace.sections[1].is_open
    assert [key.name for key in built.workspace.runset_settings.groupby] == ["record.tags.variant"]


def test_without_readings_their_sections_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, measurements=[])
    assert main(["study=toy", f"root={tmp_path}", f"out={tmp_path / 'o'}"]) == 0
    text = (tmp_path / "o" / "summary.md").read_text(encoding="utf-8")
    assert "- Swept keys: nothing logged, left out" in text
    assert "| gru-none |  | 1 | 0.7 | one run |" in text


def test_specs_figures_and_summary_are_written_beside_the_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = specs(a_study(tmp_path, figures=["metric_by_variant", "calibration"]))
    assert main(["study=toy", f"root={tmp_path}"]) == 0
    folder = tmp_path / "toy" / "dashboard"
    assert capsys.readouterr().out.strip() == str(folder / "summary.md")
    written = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in expected}
    assert written["workspace"] == expected["workspace"]
    assert [path.name for path in folder.glob("*.png")] == ["metric_by_variant.png"], "the other has no data"
    assert '"mediaKeys": ["metric_by_variant"]' in json.dumps(written["report"])


def test_swept_keys_have_coordinates_and_importance(tmp_path: Path) -> None:
    for rate in (0.1, 0.01):
        write_run(
            tmp_path, "gru-none", 0, measurements=[], config={"optimizer": {"lr": rate}}, suffix=f"{rate}"
        )
    built = dashboard.build(RecordSource(tmp_path, "toy").tables())
    (swept,) = [one for one in built.workspace.sections if one.name == "Swept keys"]
    coordinates, importance = swept.panels
    assert isinstance(coordinates, wr.ParallelCoordinatesPlot)
    shown = [getattr(column.metric, "name", column.metric) for column in coordinates.columns]
    assert shown == ["record.tags.variant", "optimizer.lr", "test/accuracy"]
    assert importance.with_respect_to == "test/accuracy"


def test_the_report_has_the_sentences_of_the_findings(tables: Tables) -> None:
    report = dashboard.build(tables).report
    texts = [block.text for block in report.blocks if isinstance(block, wr.MarkdownBlock)]
    findings = write_findings(compare(tables), findings_modules.find("comparison"))
    assert texts[: len(findings.paragraphs)] == list(findings.paragraphs)
    assert report.blocks[0].text == findings.headline


def test_a_push_arrives_and_the_next_one_updates_it(
    tmp_path: Path, server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = a_study(tmp_path, figures=["metric_by_variant"])
    command = ["study=toy", f"root={tmp_path}", "--push"]
    assert main(command) == 0
    urls = capsys.readouterr().out.split()
    kept = json.loads((tmp_path / "toy" / "dashboard.json").read_text())
    assert [kept["workspace"], kept["report"]] == urls
    assert {view["type"] for view in server.views.values()} == {"project-view", "runs"}
    figures = server.runs["figures-toy"]
    assert (figures.group, figures.job_type) == (None, "report")
    assert any("metric_by_variant" in row for row in figures.history)
    sent = {view["type"]: without_ids(json.loads(view["spec"])) for view in server.views.values()}
    assert sent["project-view"] == specs(tables)["workspace"]

    write_run(tmp_path, "lstm-none", 0, measurements=[], study={"figures": ["metric_by_variant"]})
    assert main(command) == 0
    assert capsys.readouterr().out.split() == urls
    assert len(server.views) == 2
    report = next(view for view in server.views.values() if view["type"] == "runs")
    assert "lstm-none" in report["spec"]
    read = wr.Report.from_url(kept["report"])
    assert without_ids(json.loads(report["spec"]))["blocks"] == dashboard.spec(read)["blocks"]


@pytest.mark.slow
def test_a_deleted_dashboard_is_made_anew(tmp_path: Path, server: StandIn) -> None:
    write_run(tmp_path, "gru-none", 0, study={"figures": ["metric_by_variant"]})
    assert main(["study=toy", f"root={tmp_path}", "--push"]) == 0
    server.views.clear()
    assert main(["study=toy", f"root={tmp_path}", "--push"]) == 0
    assert len(server.views) == 2


@pytest.mark.slow
def test_another_project_gets_its_own(tmp_path: Path, server: StandIn) -> None:
    server.projects.add("second")
    write_run(tmp_path, "gru-none", 0, study={"figures": ["metric_by_variant"]})
    assert main(["study=toy", f"root={tmp_path}", "--push"]) == 0
    assert main(["study=toy", f"root={tmp_path}", "project=tester/second", "--push"]) == 0
    assert len(server.views) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["study=none"], 1, "no runs in"),
        (["stdy=toy"], 2, "did you mean study?"),
        (["push"], 2, "'push' is not of the form key=value"),
        ([], 2, "study: missing, dashboard needs it: give study=…"),
    ],
)
def test_wrong_arguments_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_the_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, "gru-none", 0, study={"figures": ["metric_by_variant"]})
    for name in [name for name in sys.modules if name.startswith("gatescope.analysis.dashboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("gatescope.analysis.dashboard")
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    assert main(["study=toy", f"root={tmp_path}"]) == 1
    assert "gatescope[dashboard]" in capsys.readouterr().err


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(specs(a_study(Path(folder))), indent=1)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
