"""A report that is drawn again from its frozen tables, when the records are gone."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from gatescope.analysis import freezing, frozen
from gatescope.analysis.frozen import FrozenSource
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import NoRuns, RecordSource
from gatescope.commands.report import main

from .conftest import write_predictions, write_run, write_vanishing

FIGURES = ["learning_curves", "calibration", "attention"]
COMMITTED = sorted(path.parent for path in (ROOT / "reports").glob(f"*/{frozen.FILE}"))


def content(folder: Path) -> dict[str, bytes]:
    """The files of a report, without its frozen tables."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != frozen.FILE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("records")
    for variant, accuracy in (("gru-none", 0.74), ("lstm-additive", 0.72)):
        for seed in range(3):
            folder = write_run(root, variant, seed, accuracy=accuracy + 0.01 * seed)
            write_predictions(folder, seed)
    write_run(root, "gru-none", 9, status="failed", reason="killed", commit=None)
    with (root / "toy" / folder.name / "metrics.jsonl").open("a") as file:
        file.write("{damaged\n")
    return root


def test_the_report_needs_no_records(records: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(records, root)

    read: list[int] = []

    def texts(config: object, predictions: pd.DataFrame) -> object:
        read.append(len(predictions))
        return lambda ids: [f"text {i}" for i in ids]

    def write(freeze: bool) -> dict[str, bytes]:
        source = RecordSource(root, "toy")
        folder = write_report(source, tmp_path / "o", False, FIGURES, texts, {}, freeze=freeze).parent  # type: ignore[arg-type]
        return content(folder)

    drawn, of_frozen = write(False), write(True)
    assert len(read) == 2 + 2, "once a variant in each report, although a frozen one is drawn twice"
    shutil.rmtree(root)
    for name in ("README.md", "report.html"):  # they say that the tables are frozen
        assert len(of_frozen[name]) > len(drawn[name])
    names = drawn.keys() - {"README.md", "report.html"}
    assert {name: of_frozen[name] for name in names} == {name: drawn[name] for name in names}
    path = tmp_path / "o" / "toy" / frozen.FILE
    assert b"text 1" in of_frozen["README.md"]
    again = tmp_path / "again" / "toy" / frozen.FILE
    again.parent.mkdir(parents=True)
    shutil.copy(path, again)
    assert main(["study=toy", "source=frozen", f"out={tmp_path / 'again'}"]) == 0
    assert content(again.parent) == of_frozen
    archive = zipfile.ZipFile(path)
    assert set(pd.read_csv(archive.open("metrics.csv")).name) >= {"validation/accuracy", "test/accuracy"}
    assert len(pd.read_json(archive.open("runs.jsonl"), lines=True)) == 7


def test_lags_of_curves_keep_all_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_vanishing(tmp_path, seeds=2, lags=(120,))
    monkeypatch.setattr(freezing, "DIGITS", (2,))
    source = RecordSource(tmp_path, "vanishing")
    text = write_report(source, tmp_path / "out", False, ["vanishing_curves"], freeze=True).read_text()
    assert "ValueError" not in text
    path = tmp_path / "out" / "vanishing" / frozen.FILE
    kept = FrozenSource(path).tables().measurements
    before = source.tables().measurements

    def lags(table: pd.DataFrame) -> set[tuple[float, ...]]:
        return {tuple(row["x"]) for row in table.payload if row["kind"] == "curve"}

    assert lags(kept) <= lags(before)
    assert max(map(max, lags(kept))) > 100


@pytest.mark.slow
def test_digits_are_given_up_for_size(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(out: Path) -> tuple[int, int | None]:
        write_report(
            RecordSource(records, "toy"), out, False, ["learning_curves", "calibration"], freeze=True
        )
        path = out / "toy" / frozen.FILE
        return path.stat().st_size, json.loads(zipfile.ZipFile(path).read("study.json"))["digits"]

    size, digits = write(tmp_path / "exact")
    assert digits is None
    monkeypatch.setattr(freezing, "MAX_BYTES", size - 1)
    smaller, digits = write(tmp_path / "rounded")
    assert smaller < size
    assert digits == 6
    values = [
        FrozenSource(tmp_path / name / "toy" / frozen.FILE).tables().metrics.value
        for name in ("exact", "rounded")
    ]
    pd.testing.assert_series_equal(*values, rtol=1e-5)
    assert not values[0].equals(values[1])


def test_rounded_losses_have_the_texts_of_their_own_worst_errors(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def texts(config: object, predictions: pd.DataFrame) -> object:
        return lambda ids: [f"the text {i}" for i in ids]

    monkeypatch.setattr(freezing, "MAX_BYTES", 1)
    monkeypatch.setattr(freezing, "DIGITS", (1,))
    source = RecordSource(records, "toy")
    kept = write_report(source, tmp_path / "a", False, ["pareto"], texts, freeze=True)  # type: ignore[arg-type]
    again = write_report(FrozenSource(kept.parent / frozen.FILE), tmp_path / "b")
    assert again.read_bytes() == kept.read_bytes()
    assert "the text" in kept.read_text(encoding="utf-8")


def test_tables_that_are_missing_or_damaged_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study=toy", "source=frozen", f"out={tmp_path}"]
    assert main(words) == 1
    assert "tables.zip does not exist: `python scripts/report.py study=toy freeze=true` writes it" in (
        capsys.readouterr().err
    )
    path = tmp_path / "toy" / frozen.FILE
    path.parent.mkdir()
    path.write_bytes(b"no archive")
    with pytest.raises(NoRuns, match="cannot be read"):
        FrozenSource(path).tables()
    assert main([*words, "freeze=true"]) == 2
    assert "leave it out with source=frozen" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_report_follows_from_its_tables(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    copy = tmp_path / folder.name / frozen.FILE
    copy.parent.mkdir()
    shutil.copy(folder / frozen.FILE, copy)
    assert main([f"study={folder.name}", "source=frozen", f"out={tmp_path}"]) == 0
    own, committed = content(copy.parent), content(folder)
    assert own.keys() == committed.keys()
    drawn_with = FrozenSource(copy).drawn_with()
    if any(version(name) != drawn_with[name] for name in freezing.DRAWS):
        images = re.compile(rb"data:image/[^\"]*|<script>.*?</script>|id=\"charts\">.*?</script>", re.DOTALL)
        own, committed = (
            {
                name: images.sub(b"", text)
                for name, text in files.items()
                if not name.endswith((".png", ".svg", ".pdf"))
            }
            for files in (own, committed)
        )
    assert [name for name in own if own[name] != committed[name]] == []
