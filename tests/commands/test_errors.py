from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from trained_runs import SERIES, TEXTS, trained_run

from gatescope.commands.errors import main
from gatescope.tracking.directory import run_lock


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("runs"), *TEXTS, "trainer.max_epochs=1")


def test_what_a_run_gets_wrong(directory: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "errors.csv"
    assert main([f"run={directory.name}", f"root={directory.parents[1]}", "n=7", f"out={out}"]) == 0
    said = capsys.readouterr().out
    kept = pd.read_csv(directory / "predictions.csv")
    wrong = kept[kept.target != kept.prediction].sort_values("loss", ascending=False, kind="stable").head(7)
    table = pd.read_csv(out)
    assert table.loss.tolist() == wrong.loss.tolist()
    assert table.id.tolist() == wrong.id.tolist()
    import gatescope

    data = gatescope.load(directory).data
    for row in table.itertuples():
        (tokens,) = data.tokens(data.batch("test", [row.id]))
        assert str(row.text).removeprefix("'") == " ".join(tokens)
        assert f"  {row.id} " in said
    accuracy = (kept.target == kept.prediction).mean()
    numbers = re.search(r"examples +loss +accuracy.*\n +(\S+) +(\S+) +(\S+)", said)
    assert numbers is not None
    assert float(numbers[1]) == len(kept)
    assert float(numbers[3]) == pytest.approx(accuracy, abs=6e-4)
    row = re.search(r"^  negative +(\d+) +(\d+) +(\d+)$", said, re.MULTILINE)
    assert row is not None
    assert sum(map(int, row.groups())) == (kept.target == "negative").sum()
    assert said.rstrip().endswith(str(out))


def test_as_markdown_and_without_texts(directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "errors.md"
    assert main([f"run={directory}", "n=3", "texts=no", f"out={out}"]) == 0
    text = out.read_text(encoding="utf-8")
    assert "## Confusion matrix" in text
    assert "| id | loss | target | prediction |\n| --- | --- | --- | --- |\n" in text
    assert text.rstrip().count("\n| ") > 10


def test_a_regression_has_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained_run(tmp_path, *SERIES)
    assert main([f"run={run}", "n=2"]) == 0
    said = capsys.readouterr().out
    assert "Confusion" not in said
    assert "8 steps of 2 features" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["n=-1"], 2, "n: given -1, allowed: "),
        (["texts=perhaps"], 2, "allowed: true or false"),
        (["out=errors.xlsx"], 2, "out=errors.xlsx: give a path that ends in .md"),
        (["txts=no"], 2, "did you mean texts?"),
    ],
)
def test_bad_input_is_one_line(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    assert main([f"run={directory}", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_no_run_and_a_run_without_predictions(
    directory: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([]) == 2
    assert "run: missing, errors needs it: give run=…" in capsys.readouterr().err
    assert main(["run=none", f"root={tmp_path}"]) == 1
    bare = tmp_path / directory.name
    bare.mkdir()
    for name in ("run.json", "config.yaml"):
        (bare / name).write_bytes((directory / name).read_bytes())
    capsys.readouterr()
    assert main([f"run={bare}"]) == 1
    assert "holds no predictions.csv that can be read" in capsys.readouterr().err
    with run_lock(bare):
        assert main([f"run={bare}"]) == 1
    assert f"{bare.name} is still running: its predictions are written after" in capsys.readouterr().err
