from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis.report import write_report
from gatescope.analysis.runs import NoRuns, RecordSource, Tables

from .conftest import write_lines, write_predictions, write_run


def tables(root: Path, study: str = "toy") -> Tables:
    return RecordSource(root, study).tables()


def test_every_run_and_value_is_read(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, accuracy=0.7)
    write_run(tmp_path, "gru-additive", 1, accuracy=0.8)
    read = tables(tmp_path)
    assert list(read.runs.variant) == ["gru-additive", "gru-none"]
    assert list(read.runs.parameters) == [123456, 123456]
    assert read.final("test/accuracy").set_index("variant").value.to_dict() == {
        "gru-none": 0.7,
        "gru-additive": 0.8,
    }
    losses = read.metric("train/loss")
    assert len(losses) == 2 * 5
    assert set(losses.variant) == {"gru-none", "gru-additive"}
    assert read.study["question"] == "Which of these is better?"
    assert read.task["metric"] == "accuracy"
    assert read.notes == ()


def test_damaged_lines_are_named_and_the_rest_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_run(tmp_path, "gru-none", 0)
    path = folder / "metrics.jsonl"
    whole = len(tables(tmp_path).metrics)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"step": 3, "train/lo', *lines[1:]]) + '\n{"step": 9')
    read = tables(tmp_path)
    assert len(read.metrics) == whole
    damaged = (2, len(lines) + 2)
    assert read.notes == tuple(f"{path} line {number} is damaged and was skipped" for number in damaged)
    assert f"{path} line 2 is damaged" in caplog.text


@settings(deadline=None, max_examples=20)
@given(cut=st.integers(0, 400))
def test_a_run_killed_at_any_byte_loses_at_most_its_last_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = write_run(tmp_path_factory.mktemp("runs"), "gru-none", 0)
    path = folder / "metrics.jsonl"
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    read = tables(folder.parent.parent)
    whole = content.decode().split("\n")
    complete = [json.loads(line) for line in whole[:-1]]
    with suppress(ValueError):
        complete += [json.loads(whole[-1])]
    assert len(read.metrics) == sum(len(row) - 3 for row in complete)


def test_repeated_steps_keep_the_last_value(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "gru-none", 0)
    rows = [{"step": 10, "epoch": 0, "time": t, "validation/loss": v} for t, v in ((1.0, 0.9), (7.0, 0.8))]
    write_lines(folder / "metrics.jsonl", rows)
    scalar = {"step": 10, "epoch": 0, "name": "gradient_norm/head", "kind": "scalar"}
    write_lines(folder / "readings.jsonl", [scalar | {"value": 1.0}, scalar | {"value": 2.0}])
    read = tables(tmp_path)
    assert list(read.metrics.value) == [0.8]
    assert list(read.measurement("gradient_norm/head").value) == [2.0]


def test_only_a_run_of_the_same_config_supersedes(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, accuracy=0.7, started="2026-01-01")
    write_run(tmp_path, "gru-none", 0, accuracy=0.8, started="2026-01-02", suffix="b")
    write_run(tmp_path, "gru-none", 0, status="failed", started="2026-01-03", suffix="c")
    read = tables(tmp_path)
    assert list(read.final("test/accuracy").value) == [0.8]
    assert sum("superseded by another run of the same config" in note for note in read.notes) == 2


def test_runs_with_any_difference_all_count(tmp_path: Path) -> None:
    rates = {0.1: 1, 0.001: 0}  # of different seeds: their mean would be of two things
    for rate, seed in rates.items():
        write_run(tmp_path, "gru-none", seed, config={"optimizer": {"lr": rate}}, suffix=f"-{rate}")
    write_run(
        tmp_path, "gru-none", 0, accuracy=0.1, started="2026-02-01", suffix="-trial",
        config={"optimizer": {"lr": 0.001}, "trainer": {"gradient_clip_val": 1.0, "fast_dev_run": True}},
    )  # fmt: skip
    read = tables(tmp_path)
    assert read.final("test/accuracy").set_index("condition").value.to_dict() == {
        "lr=0.001": 0.7,
        "lr=0.001, fast_dev_run=true": 0.1,
        "lr=0.1": 0.7,
    }
    (note,) = read.notes
    assert "was a trial (trainer.fast_dev_run=true): it has a condition of its own" in note


def test_the_recorded_identity_takes_precedence_over_the_config(tmp_path: Path) -> None:
    """What stands for the content of a file is in the record, and not in the config."""
    for seed, content in ((0, f"sha256:{'a' * 16}.csv"), (1, f"sha256:{'b' * 16}.csv")):
        folder = write_run(tmp_path, "gru-none", seed)
        run = json.loads((folder / "run.json").read_text())
        result = {"seed": seed, "data": {"_target_": "x.TextFile", "content": content}}
        run["result_config"] = json.dumps(result)
        (folder / "run.json").write_text(json.dumps(run))
    assert list(tables(tmp_path).runs.condition) == ["content=aaaaaaaa", "content=bbbbbbbb"]


def test_keys_of_the_data_that_vary_are_the_condition(tmp_path: Path) -> None:
    for lag in (20, 100):
        data = {"_target_": "gatescope.data.copy.Copy", "lag": lag, "batch_size": 64}
        write_run(tmp_path, "gru-none", 0, data=data)
    read = tables(tmp_path)
    assert sorted(read.runs.condition) == ["lag=100", "lag=20"]
    assert sorted(read.runs.lag) == [20, 100]


def test_conditions_of_several_datasets_name_the_dataset(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, data={"_target_": "gatescope.data.copy.Copy", "lag": 10})
    write_run(tmp_path, "gru-none", 0, data={"_target_": "gatescope.data.copy.Copy", "lag": 20})
    write_run(tmp_path, "gru-none", 0, data={"_target_": "gatescope.data.tweets.Tweets", "classes": 3})
    named = list(tables(tmp_path).runs.condition)
    assert named == ["data=copy, lag=10", "data=copy, lag=20", "data=tweets"]


def test_a_null_metric_is_nan(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, accuracy=None)
    assert math.isnan(tables(tmp_path).final("test/accuracy").value.iloc[0])


def test_unreadable_records_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0)
    bad = write_run(tmp_path, "gru-none", 1)
    (bad / "run.json").write_text("{")
    (write_run(tmp_path, "gru-none", 2) / "config.yaml").unlink()
    read = tables(tmp_path)
    assert sorted(read.runs.status) == ["finished", "finished", "running"], "not one is left out"
    assert any(f"{bad}/run.json is damaged: the run is shown from the rest" in note for note in read.notes)
    assert any("config.yaml is missing" in note for note in read.notes)


def test_a_report_reads_each_file_of_a_record_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        write_predictions(write_run(tmp_path / "runs", "gru-none", seed), seed)
    opened: Counter[Path] = Counter()
    open_file = Path.open

    def count(path: Path, *arguments: Any, **options: Any) -> Any:
        opened[path] += path.is_relative_to(tmp_path / "runs")
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", count)
    figures = ["metric_by_variant", "calibration", "confusion_matrix", "learning_curves"]
    write_report(RecordSource(tmp_path / "runs", "toy"), tmp_path / "out", paper=False, figures=figures)
    reads = Counter(path.name for path in opened.elements())
    assert reads == dict.fromkeys(("run.json", "config.yaml", "metrics.jsonl", "readings.jsonl"), 4) | {
        path.name: 4 for path in opened if path.name.startswith("predictions")
    }
    assert max(opened.values()) == 1


def test_the_error_without_runs_names_the_folder_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NoRuns, match=r"no runs in .*toy, and no other .*: `python train.py study=…` starts"):
        tables(tmp_path)


def test_only_finished_runs_are_compared(tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0)
    write_run(tmp_path, "gru-none", 1, status="failed")
    finished = tables(tmp_path).finished()
    assert list(finished.runs.seed) == [0]
    assert set(finished.metrics.run_id) == set(finished.runs.run_id) == set(finished.measurements.run_id)


@pytest.mark.slow
def test_analysis_imports_no_torch() -> None:
    code = (
        "import sys, pkgutil, importlib, gatescope.analysis as a\n"
        "for m in pkgutil.walk_packages(a.__path__, 'gatescope.analysis.'): importlib.import_module(m.name)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
