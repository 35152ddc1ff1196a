from __future__ import annotations

import math
from pathlib import Path

import pytest
from analysis.conftest import write_lines, write_run

from gatescope.analysis.record_files import find_run
from gatescope.analysis.run_diff import RunDiff
from gatescope.analysis.runs import NoRuns
from gatescope.commands.compare import main


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    lstm = {"batch_size": 32, "_target_": "gatescope.data.copy.Copy"}
    a = write_run(tmp_path, "gru-none", 0, accuracy=0.7)
    return a, write_run(tmp_path, "lstm-none", 1, accuracy=0.75, data=lstm, epochs=2, measurements=[])


def test_only_what_differs_in_the_configs_is_listed(two: tuple[Path, Path]) -> None:
    config = RunDiff(*two).config()
    assert config.loc["data.batch_size"].tolist() == ["(absent)", 32]
    assert set(config.index) == {"data.batch_size", "data._target_"}


def test_metrics_are_subtracted(two: tuple[Path, Path]) -> None:
    metrics = RunDiff(*two).metrics()
    assert metrics.loc["test/accuracy"].tolist() == pytest.approx([0.7, 0.75, 0.05])


def test_curves_are_those_that_were_logged(two: tuple[Path, Path]) -> None:
    curves = RunDiff(*two).over_training()
    assert set(curves) == {"train/loss", "validation/accuracy", "validation/loss"}
    accuracy = curves["validation/accuracy"]
    assert accuracy.index.tolist() == [10, 20, 30, 40]
    assert accuracy.A.tolist() == pytest.approx([0.4 + 0.3 * (1 - math.exp(-e)) for e in (1, 2, 3, 4)])
    assert accuracy.B.isna().tolist() == [False, False, True, True]


def test_readings_can_be_curves_too(two: tuple[Path, Path]) -> None:
    curves = RunDiff(*two, curves="gradient_norm/before_clip").over_training()
    assert len(curves["gradient_norm/before_clip"].A.dropna()) == 40
    assert curves["gradient_norm/before_clip"].B.isna().all()


def test_it_is_printed_and_drawn(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "curves.png"
    a, b = two
    assert main([a.name, str(b), f"root={tmp_path}", f"png={picture}"]) == 0
    text = capsys.readouterr().out
    assert a.name in text
    assert "test/accuracy" in text
    assert "validation/accuracy by step" in text
    assert "0.7 " in text
    assert "0.05" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_equal_runs_have_no_differences(two: tuple[Path, Path]) -> None:
    text = RunDiff(two[0], two[0]).text()
    assert "config: no differences" in text


def test_a_run_without_anything_logged_is_compared_all_the_same(tmp_path: Path) -> None:
    whole = write_run(tmp_path, "gru-none", 0)
    bare = write_run(
        tmp_path, "gru-none", 1, status="failed", measurements=[], reason="NonFiniteLoss: at step 3"
    )
    write_lines(bare / "metrics.jsonl", [])
    text = RunDiff(whole, bare).text()
    assert "NonFiniteLoss" in text
    with pytest.raises(NoRuns, match="neither run"):
        RunDiff(bare, bare).draw()


@pytest.mark.parametrize("name", ["naïve run [1]", "a b"])
def test_odd_names_are_found(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path, "gru-none", 0)
    renamed = folder.rename(folder.parent / name)
    assert find_run(tmp_path, name) == renamed
    assert RunDiff(renamed, renamed).facts().A["status"] == "finished"


def test_no_similar_id_is_not_an_empty_folder(two: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(NoRuns, match="none of the 2 runs there has a similar id"):
        find_run(tmp_path, "xyz")


def test_an_unknown_run_names_the_nearest(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = two
    assert main([a.name[:-1], b.name, f"root={tmp_path}"]) == 1
    assert f"nearest: {a.name}" in capsys.readouterr().err
    assert main([a.name, b.name, f"root={tmp_path / 'none'}"]) == 1
    assert "there are no runs" in capsys.readouterr().err


def test_a_run_of_two_studies_needs_a_path(two: tuple[Path, Path], tmp_path: Path) -> None:
    write_run(tmp_path, "gru-none", 0, study={"name": "other"})
    with pytest.raises(NoRuns, match="several studies"):
        find_run(tmp_path, two[0].name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "two runs are compared, 1 given"),
        (["a", "b", "pgn=x"], "did you mean png?"),
        (["a", "b", "curves=("], "no regular expression"),
    ],
)
def test_wrong_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
