"""Series of the user's files: .npz and .ts, and one message for each kind of invalid file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sktime
import torch
from sktime.datasets import load_from_tsfile

from gatescope.data.errors import DataError, Problems
from gatescope.data.files import npz
from gatescope.data.files.series_file import SeriesFile
from gatescope.data.files.ts_format import read_ts
from gatescope.data.ragged import Ragged

ARCHIVE = Path(sktime.__file__).parent / "datasets" / "data"
RNG = np.random.default_rng(0)


def save(path: Path, count: int = 40, **arrays: Any) -> Path:
    """Series of two features, the first of which is the label; `arrays` replace or add (None: take away)."""
    y = np.arange(count) % 2
    x = RNG.normal(size=(count, 6, 2))
    x[..., 0] = y[:, None]
    held = {"x": x, "y": y, "lengths": RNG.integers(1, 7, count)} | arrays
    np.savez(path, **{name: array for name, array in held.items() if array is not None})
    return path


def load(path: Path, **options: Any) -> SeriesFile:
    data = SeriesFile(str(path), **options)
    data.setup()
    return data


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my.npz"


def test_steps_after_a_length_are_ignored(path: Path) -> None:
    x = RNG.normal(size=(40, 6, 2))
    lengths = RNG.integers(1, 7, 40)
    x[np.arange(6) >= lengths[:, None]] = np.nan
    save(path, x=x, lengths=lengths, y=np.arange(40) % 4)
    data = load(path, standardise=False)
    splits = (data.splits.train, data.splits.validation, data.splits.test)
    assert [len(s) for s in splits] == [32, 4, 4]
    found = sorted(row.flatten().tolist() for s in splits for row in s.inputs)
    assert found == sorted(x[i, :n].astype(np.float32).flatten().tolist() for i, n in enumerate(lengths))
    assert data.task.labels == ("0", "1", "2", "3")


def test_labels_match_the_series(path: Path) -> None:
    data = load(save(path, y=np.where(np.arange(40) % 2, "yes", "no")), standardise=False)
    assert data.task.labels == ("no", "yes")
    for split in (data.splits.train, data.splits.validation, data.splits.test):
        assert [x[0, 0].item() for x in split.inputs] == split.targets.tolist()


def test_features_are_standardised_by_train_alone(path: Path) -> None:
    save(path, x=np.concatenate([RNG.normal(5, 3, (40, 6, 2)), np.full((40, 6, 1), 7.0)], axis=2))
    data = load(path)
    seen = data.splits.train.inputs.flat
    torch.testing.assert_close(seen.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.tensor([1.0, 1, 0]), atol=1e-5, rtol=0)


def test_integers_one_feature_and_test_arrays_of_the_same_file(path: Path) -> None:
    images, labels = RNG.integers(0, 256, (40, 9), dtype=np.uint8), np.arange(40) % 2
    save(
        path,
        x=None,
        y=None,
        lengths=None,
        X_train=images,
        y_train=labels,
        X_test=images[:8],
        y_test=labels[:8],
    )
    names = {"x": "X_train", "y": "y_train", "x_test": "X_test", "y_test": "y_test"}
    data = load(path, standardise=False, **names)
    assert (len(data.splits.test), data.task.input_size) == (8, 1)
    assert data.splits.test.inputs[3][:, 0].tolist() == images[3].tolist()


def test_regression(path: Path) -> None:
    data = load(save(path, y=RNG.normal(size=40)), kind="regression")
    assert (data.task.kind, data.task.metric, data.task.output_size) == ("regression", "mse", 1)
    assert data.splits.train.targets.dtype == torch.float32


@pytest.mark.parametrize("name", ["JapaneseVowels", "BasicMotions", "GunPoint"])
def test_ts_files_are_read_as_sktime_reads_them(name: str) -> None:
    path = ARCHIVE / name / f"{name}_TEST.ts"
    problems = Problems(path)
    ours = list(read_ts(path, problems))
    problems.check()
    table, labels = load_from_tsfile(str(path))
    assert [example.label.lower() for example in ours] == labels.tolist()  # sktime has no capitals
    for example, (_, row) in zip(ours, table.iterrows(), strict=True):
        np.testing.assert_allclose(example.values, np.stack([np.asarray(c) for c in row], axis=1), rtol=1e-5)


def test_ts_files_of_train_and_test() -> None:
    folder = ARCHIVE / "JapaneseVowels"
    test = str(folder / "JapaneseVowels_TEST.ts")
    data = load(folder / "JapaneseVowels_TRAIN.ts", test_path=test, validation=0.2)
    assert [len(s) for s in (data.splits.train, data.splits.validation, data.splits.test)] == [216, 54, 370]
    assert (data.task.input_size, data.task.output_size) == (12, 9)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": None}, "no array 'x'; it has y, lengths: set data.x"),
        ({"y": None}, "no array 'y'; it has x, lengths: set data.y"),
        ({"y": np.zeros(39)}, "y is (39,), expected (40,) as in x"),
        ({"y": np.zeros(40, dtype=int)}, "column y: all 40 rows have the label '0'"),
        ({"lengths": np.full(40, 7)}, "40 problems, the first 5:\n  lengths[0]: a length outside 1 to 6"),
        ({"lengths": np.full(40, 2.0)}, "lengths is float64, expected integers"),
        (
            {"x": np.zeros((40, 6, 2, 2))},
            "x is float64 (40, 6, 2, 2), expected numbers (N, T, F) or (N, T)",
        ),
        ({"x": np.full((40, 6), "a")}, "x is <U1 (40, 6), expected numbers"),
        (
            {"x": np.array([np.zeros(2), np.zeros(3)], dtype=object)},
            "an array of Python objects: store series of different",
        ),
        ({"y": np.array([0.5, np.nan] * 20)}, "y[1], column y: NaN or infinity"),
    ],
)
def test_invalid_arrays(path: Path, arrays: dict[str, Any], message: str) -> None:
    found = refused(save(path, **arrays))
    assert found.startswith(str(path))
    assert message in found


def test_nan_is_named_by_series_step_and_feature(path: Path) -> None:
    x = np.zeros((40, 6, 2))
    x[3, 2, 1], x[7, 0, 0] = np.nan, np.inf
    x[8, 5, 0] = np.nan
    lengths = np.full(40, 6)
    lengths[8] = 5
    message = refused(save(path, x=x, lengths=lengths))
    assert "2 problems:\n  x[3], step 2, feature 1: NaN or infinity\n  x[7], step 0, feature 0:" in message


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_many_blocks_is_the_same_array(
    path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(npz, "BLOCK_BYTES", 3 * 6 * 2 * 8)  # three series
    x, lengths = RNG.normal(4, 2, size=(40, 6, 2)), RNG.integers(1, 7, 40)
    x[..., 0] = np.arange(40)[:, None]
    save(path, x=np.asarray(x, order=order), lengths=lengths, y=np.arange(40))
    data = load(path, kind="regression")
    splits = (data.splits.train, data.splits.validation, data.splits.test)
    numbers = [split.targets.int().numpy() for split in splits]
    assert sorted(np.concatenate(numbers)) == list(range(40))
    steps = np.concatenate([x[i, : lengths[i]] for i in numbers[0]]).astype(np.float32).astype(float)
    np.testing.assert_allclose(data.task.input_scale, [steps.mean(0), steps.std(0)], rtol=1e-12)
    for split, rows in zip(splits, numbers, strict=True):
        for values, i in zip(split.inputs, rows, strict=True):
            expected = (x[i, : lengths[i]] - steps.mean(0)) / steps.std(0)
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    x[17, 0, 1] = np.nan
    save(path, x=np.asarray(x, order=order), lengths=lengths)
    assert "x[17], step 0, feature 1: NaN or infinity" in refused(path)


def test_a_file_that_ends_within_an_array(path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros((40, 6)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content.getvalue()[:-9])
        content = io.BytesIO()
        np.save(content, np.arange(40) % 2)
        archive.writestr("y.npy", content.getvalue())
    assert "array 'x' is cut off" in refused(path)


def test_inconsistent_files(path: Path) -> None:
    other = save(path.with_name("test.npz"), x=np.zeros((40, 6, 3)))
    save(path)
    assert "3 features, and my.npz has 2" in refused(path, test_path=str(other))
    save(other, y=np.array([0, 1, 2, 5] * 10))
    assert "label '2' is not in my.npz (10 rows)" in refused(path, test_path=str(other))
    assert "data.x_test needs data.y_test" in refused(path, x_test="x")


def test_invalid_files(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.npz")
    assert "must end in .npz or .ts" in refused(tmp_path / "my.mat")
    torn = save(tmp_path / "torn.npz")
    torn.write_bytes(torn.read_bytes()[:400])
    assert "torn.npz: cannot be decompressed" in refused(torn)
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "one array without a name" in refused(tmp_path / "one.npz")
    (tmp_path / "empty.npz").touch()
    assert "empty.npz: cannot be decompressed" in refused(tmp_path / "empty.npz")


HEADER = "# a comment\n@problemName Mine\n@timestamps false\n@classLabel true a b\n@data\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,2:3,4:a\n1,2:b\n", "row 2 (line 7): expected 2 dimensions, found 1"),
        (HEADER + "1,2:3,4:a\n1,2:3:b\n", "row 2 (line 7): its dimensions differ in length: 2, 1"),
        (HEADER + "1,x,2:3,4,5:a\n", "row 1 (line 6), dimension 1, step 2: 'x' is not a finite number"),
        (HEADER + "1,2:3,?:a\n", "row 1 (line 6), dimension 2, step 2: '?' is missing"),
        (HEADER + "1,2:NaN,inf:a\n", "step 1: 'NaN' is not a finite number (and 1 more in this dimension)"),
        (HEADER + "1,2:3,4:\n", "row 1 (line 6), column y: missing"),
        (HEADER + "1,2:a\n3,4:a\n", "all 2 rows have the label 'a'"),
        (HEADER + "a\n", "row 1 (line 6): expected some dimensions, found 0"),
        (HEADER, "no example after @data"),
        (HEADER.replace("true", "false"), "neither @classLabel true nor @targetLabel true"),
        (HEADER.replace("stamps false", "stamps true"), "it has time stamps"),
        ("1,2,3\n", "line 1: a line of the header must start with @, # or %"),
        ("", "no line @data; is it a .ts file?"),
    ],
)
def test_invalid_ts_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "my.ts"
    path.write_text(text)
    assert message in refused(path)


def test_subset_keeps_the_order_of_the_indices() -> None:
    parts = [torch.full((n, 2), float(n)) for n in (3, 0, 1, 2)]
    chosen = Ragged(parts).subset(np.array([3, 1, 0]))
    assert [x.tolist() for x in chosen] == [parts[i].tolist() for i in (3, 1, 0)]
