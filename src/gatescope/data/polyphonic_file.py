"""Your own polyphonic music: a .mat file as Boulanger-Lewandowski et al. 2012 published theirs.

Keys traindata, validdata and testdata, each a 1×N cell of piano rolls (T, 88) of zeros and ones; column k is
the MIDI pitch k + 21. Nottingham, JSB Chorales, MuseData and Piano-midi.de come in this form.
"""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.io import loadmat
from scipy.io.matlab import MatReadError, MatReadWarning

from gatescope.data.answers import digests, own_file
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.polyphony import KEYS, next_frames
from gatescope.data.rows import Problems

CELLS = ("traindata", "validdata", "testdata")


class PolyphonicFile(SequenceData):
    """Next-step prediction of the keys of a piano.

    Args:
        path: of the .mat file.
        batch_size, seed, workers: as in `SequenceData`; the splits are the file's.
        name: of the data, on tables, folders and W&B; None: that of the file.
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
        self.path = own_file(path)

    def build(self) -> Splits:
        content = read_mat(self.path)
        problems = Problems(self.path)
        train, validation, test = (rolls(content, cell, problems) for cell in CELLS)
        problems.check()
        return next_frames(train, validation, test, digests({"train": self.path}))


def read_mat(path: Path) -> dict[str, Any]:
    """
    Raises:
        DataError: no such file, none that scipy reads, or without the three cells.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", MatReadWarning)
            with path.open("rb") as file:
                content: dict[str, Any] = loadmat(file)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except NotImplementedError as error:
        raise DataError(f"{path}: MATLAB 7.3 wrote it; save it with the option -v7") from error
    except (ValueError, TypeError, EOFError, OSError, zlib.error, MatReadError, MatReadWarning) as error:
        raise DataError(f"{path}: no .mat file that can be read: {error}") from error
    held = [name for name in content if not name.startswith("__")]
    lacking = [cell for cell in CELLS if cell not in content]
    if lacking:
        raise DataError(f"{path}: no cell {lacking[0]!r}; it has {', '.join(held) or 'nothing'}")
    return content


def rolls(content: dict[str, Any], cell: str, problems: Problems) -> list[np.ndarray]:
    """The rolls (T, 88) of a cell; what is wrong with them goes to `problems`, pieces counted from 1."""
    given = content[cell]
    if given.dtype != object:
        problems.add(cell, f"{given.dtype} {given.shape}, and a cell of piano rolls is due")
        return []
    if not given.size:
        problems.add(cell, "an empty cell")
    found = []
    for number, roll in enumerate(given.flat, 1):
        told = _fault(roll)
        if told:
            problems.add(f"{cell}, piece {number}", told)
        found.append(roll)
    return found


def _fault(roll: Any) -> str:
    """What is wrong with a roll; empty where nothing is."""
    if not isinstance(roll, np.ndarray) or roll.ndim != 2 or roll.dtype.kind not in "fiub":
        return "no matrix of numbers"
    if roll.shape[1] != KEYS:
        return f"{roll.shape[1]} columns, and {KEYS} are due, a key each"
    if len(roll) < 2:
        return f"{len(roll)} frame(s), and two are needed to predict one"
    bad = np.argwhere((roll != 0) & (roll != 1))
    if len(bad):
        frame, column = bad[0]
        value = roll[frame, column]
        return (
            f"frame {frame + 1}, column {column + 1}: {value:g} is neither 0 nor 1 ({len(bad)} such values)"
        )
    return ""
