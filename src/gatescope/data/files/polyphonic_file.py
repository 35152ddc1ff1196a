"""The user's polyphonic music: a .mat file in the format of Boulanger-Lewandowski et al. 2012.

Keys traindata, validdata and testdata, each a 1×N cell of piano rolls (T, 88) of zeros and ones; column k is
the MIDI pitch k + 21. Nottingham, JSB Chorales, MuseData and Piano-midi.de are published in this format.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.io import loadmat
from scipy.io.matlab import MatReadWarning

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.polyphony import KEYS, next_frame_splits
from gatescope.data.errors import DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.sources import source_notes

CELLS = ("traindata", "validdata", "testdata")


class PolyphonicFile(SequenceData):
    """Next-step prediction of the keys of a piano.

    Args:
        path: of the .mat file.
        batch_size, seed, workers: as in `SequenceData`; the splits are those of the file.
        name: of the data in tables, folders and W&B; None for the name of the file.
    """

    def __init__(
        self,
        path: str,
        batch_size: Annotated[int, Field(ge=1)] = 16,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name = name
        self.path = Path(path).expanduser()

    def build(self) -> Splits:
        """Read the file and check its piano rolls."""
        content = read_mat(self.path)
        problems = Problems(self.path)
        train, validation, test = (read_rolls(content, cell, problems) for cell in CELLS)
        problems.check()
        return next_frame_splits(train, validation, test, source_notes({"train": self.path}))


def read_mat(path: Path) -> dict[str, Any]:
    """Read the content of a .mat file with the three cells.

    Raises:
        DataError: there is no such file, scipy cannot read it, or it lacks a cell.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", MatReadWarning)
            with path.open("rb") as file:
                content: dict[str, Any] = loadmat(file)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except NotImplementedError as error:
        raise DataError(f"{path}: written by MATLAB 7.3; save it with the option -v7") from error
    except Exception as error:  # scipy and zlib raise many kinds of errors on a damaged file
        raise DataError(f"{path}: not a readable .mat file: {error}") from error
    names = [name for name in content if not name.startswith("__")]
    missing = [cell for cell in CELLS if cell not in content]
    if missing:
        raise DataError(f"{path}: no cell {missing[0]!r}; it has {', '.join(names) or 'nothing'}")
    return content


def read_rolls(content: dict[str, Any], cell: str, problems: Problems) -> list[np.ndarray]:
    """Return the rolls (T, 88) of a cell; add a problem for each invalid one, pieces counted from 1."""
    rolls = content[cell]
    if rolls.dtype != object:
        problems.add(cell, f"expected a cell of piano rolls, found {rolls.dtype} {rolls.shape}")
        return []
    if not rolls.size:
        problems.add(cell, "an empty cell")
    for number, roll in enumerate(rolls.flat, 1):
        problem = _problem_of(roll)
        if problem:
            problems.add(f"{cell}, piece {number}", problem)
    return list(rolls.flat)


def _problem_of(roll: Any) -> str:
    """Return what is wrong with a roll; "" if it is valid."""
    if not isinstance(roll, np.ndarray) or roll.ndim != 2 or roll.dtype.kind not in "fiub":
        return "not a matrix of numbers"
    if roll.shape[1] != KEYS:
        return f"{roll.shape[1]} columns, expected {KEYS}, one per key"
    if len(roll) < 2:
        return f"{len(roll)} frame(s), at least two are needed to predict one"
    bad = np.argwhere((roll != 0) & (roll != 1))
    if len(bad):
        frame, column = bad[0]
        value = roll[frame, column]
        return (
            f"frame {frame + 1}, column {column + 1}: {value:g} is neither 0 nor 1 ({len(bad)} such values)"
        )
    return ""
