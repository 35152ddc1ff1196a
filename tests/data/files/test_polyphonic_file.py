"""Music of the user: rolls become frames to predict, and errors name the cell and piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from gatescope.data.errors import DataError
from gatescope.data.files.polyphonic_file import PolyphonicFile

RNG = np.random.default_rng(0)


def roll(frames: int) -> np.ndarray:
    return (RNG.random((frames, 88)) < 0.05).astype(np.uint8)


def cell(*pieces: Any) -> np.ndarray:
    made = np.empty((1, len(pieces)), dtype=object)
    made[0] = pieces
    return made


def save(path: Path, **cells: Any) -> Path:
    held = {"traindata": cell(roll(9), roll(4)), "validdata": cell(roll(5)), "testdata": cell(roll(6))}
    savemat(path, {name: c for name, c in (held | cells).items() if c is not None})
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        PolyphonicFile(str(path)).setup()
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_each_frame_predicts_the_next(tmp_path: Path) -> None:
    first, second = roll(9), roll(4)
    pieces = np.empty((1, 2), dtype=object)
    pieces[0, 0], pieces[0, 1] = first, second
    data = PolyphonicFile(str(save(tmp_path / "my.mat", traindata=pieces)))
    data.setup()
    train = data.splits.train
    assert train.lengths.tolist() == [8, 3]
    np.testing.assert_array_equal(train.inputs[0], first[:-1])
    np.testing.assert_array_equal(train.targets[1], second[1:])
    assert [len(s) for s in (train, data.splits.validation, data.splits.test)] == [2, 1, 1]
    assert (data.task.kind, data.task.metric, data.task.direction) == ("next_step", "nll", "min")


def odd(value: float) -> np.ndarray:
    found = roll(5).astype(float)
    found[2, 3] = value
    return found


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"testdata": None}, "no cell 'testdata'; it has traindata, validdata"),
        ({"testdata": roll(5)}, "testdata: expected a cell of piano rolls, found uint8 (5, 88)"),
        (
            {"testdata": cell(np.zeros((4, 12)), roll(5))},
            "testdata, piece 1: 12 columns, expected 88",
        ),
        ({"validdata": cell(roll(5), roll(1))}, "validdata, piece 2: 1 frame(s), at least two are needed"),
        (
            {"testdata": cell(odd(2), roll(4))},
            "testdata, piece 1: frame 3, column 4: 2 is neither 0 nor 1 (1 such",
        ),
        ({"testdata": cell(odd(np.nan), roll(4))}, "frame 3, column 4: nan is neither"),
        ({"testdata": cell("notes", roll(4))}, "testdata, piece 1: not a matrix of numbers"),
    ],
)
def test_invalid_cells(tmp_path: Path, cells: dict[str, Any], message: str) -> None:
    assert message in refused(save(tmp_path / "my.mat", **cells))


def test_invalid_files(tmp_path: Path) -> None:
    path = tmp_path / "my.mat"
    assert "no such file" in refused(path)
    path.write_bytes(b"")
    assert "not a readable .mat file" in refused(path)
    path.write_bytes(b"words, and more words " * 20)
    assert "not a readable .mat file" in refused(path)
    path.write_bytes(save(path).read_bytes()[:300])
    assert "not a readable .mat file" in refused(path)
