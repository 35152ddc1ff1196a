"""Bach's four-part chorales as piano rolls, from the scores inside music21: prediction of the next frame.

Of Riemenschneider's 371 numbers the 348 that differ, each a roll of 88 keys (column + 21 is the MIDI pitch)
on a grid of a quarter note. That is the grid of the JSB Chorales of Boulanger-Lewandowski et al. 2012, but
the split is another one: results can be compared with published ones in order of magnitude only. Published
test NLL per frame (Bai et al. 2018): RNN 8.91, LSTM 8.45, GRU 8.43, TCN 8.10; independent keys at their train
rates: 11.06.

Parsing takes a minute, once: the rolls are cached on a grid of sixteenths.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from gatescope.data.cache import Arrays, cached
from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, FoldCount
from gatescope.data.encoding.polyphony import KEYS, LOWEST, next_frame_splits
from gatescope.data.examples import Splits
from gatescope.data.packages import require_package

CACHED_GRID = 4
"""Frames per quarter note of the cached rolls."""


def read_chorales(names: Sequence[str] | None = None) -> list[np.ndarray]:
    """Read rolls (T_i, 88) uint8 in sixteenths, in Riemenschneider's order, without repetitions.

    Args:
        names: only these works of music21's corpus, such as "bach/bwv269"; None for all.

    Raises:
        DataError: music21 is not installed.
    """
    with require_package("music21", "the chorales are part of", "pip install 'gatescope[music]'"):
        version = metadata.version("music21")
    settings = {"grid": CACHED_GRID, "names": None if names is None else list(names)}
    arrays = cached("chorales", f"music21 {version}", settings, lambda: _parse(names))
    return np.split(np.unpackbits(arrays["bits"], axis=1, count=KEYS), np.cumsum(arrays["lengths"])[:-1])


def _parse(names: Sequence[str] | None) -> Arrays:
    from music21.corpus import getWork  # takes a second
    from music21.corpus.chorales import Iterator

    works = dict.fromkeys(Iterator(returnType="filename") if names is None else names)
    rolls = {roll.tobytes(): roll for roll in (_roll(getWork(name)) for name in works)}
    bits = np.packbits(np.concatenate(list(rolls.values())), axis=1)
    return {"bits": bits, "lengths": np.array([len(roll) for roll in rolls.values()])}


def _roll(path: Any) -> np.ndarray:
    """Return (T, 88) uint8, 1 where a key sounds."""
    from music21.converter import Converter

    converter = Converter()
    # Its own cache of pickles is not safe if several processes write it.
    converter.parseFileNoPickle(path[0] if isinstance(path, list) else path)
    score = converter.stream
    assert score is not None
    notes = score.flatten().notes
    spans = [
        (round(n.offset * CACHED_GRID), round((n.offset + n.quarterLength) * CACHED_GRID), n.pitches)
        for n in notes
    ]
    roll = np.zeros((max(stop for _, stop, _ in spans), KEYS), dtype=np.uint8)
    for start, stop, pitches in spans:
        for pitch in pitches:
            roll[start:stop, pitch.midi - LOWEST] = 1
    return roll


class Chorales(SequenceData):
    """Prediction of the keys that sound in the next frame.

    Shape:
        inputs (B, T, 88) keys that sound. targets (B, T, 88) keys that sound in the next frame.

    Args:
        grid: frames per quarter note.
        validation: share of the chorales.
        test: share of the chorales.
        folds, fold: as in `Division`, without groups.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        grid: Literal[1, 2, 4] = 1,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.2,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.2,
        batch_size: Annotated[int, Field(ge=1)] = 16,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        folds: FoldCount = None,
        fold: Fold = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.grid = grid
        self.division = Division(validation, test, seed, folds, fold)

    def build(self) -> Splits:
        """Read the chorales and divide them into splits."""
        rolls = [roll[:: CACHED_GRID // self.grid] for roll in read_chorales()]
        rows = self.division.split(np.arange(len(rolls)))
        train, validation, test = ([rolls[i] for i in rows[part]] for part in ("train", "validation", "test"))
        notes = {"source": "music21", "pieces": len(rolls)} | self.division.notes()
        return next_frame_splits(train, validation, test, notes)
