"""Chorales as piano rolls: a few pieces are parsed here, all of them when they are first used."""

import importlib.metadata

import numpy as np
import pytest
import torch

from gatescope.data.encoding.polyphony import KEYS, LOWEST
from gatescope.data.errors import DataError
from gatescope.data.shipped import chorales
from gatescope.data.shipped.chorales import Chorales, read_chorales

PIECES = ["bach/bwv269", "bach/bwv347", "bach/bwv153.1", "bach/bwv86.6", "bach/bwv267", "bach/bwv269"]


@pytest.fixture(scope="module")
def rolls(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATESCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        parsed = read_chorales(PIECES)
        patch.setattr(chorales, "_parse", None)  # from here on only the cache can answer
        again = read_chorales(PIECES)
    assert [x.tolist() for x in parsed] == [x.tolist() for x in again]
    return parsed


def test_a_repeated_score_is_dropped(rolls):
    assert len(rolls) == 5
    assert all(roll.shape[1] == KEYS and set(np.unique(roll)) == {0, 1} for roll in rolls)


def test_a_roll_matches_the_score(rolls):
    from music21.corpus import parse

    score = parse("bach/bwv269", forceSource=True)
    for part in score.parts:
        for note in part.flatten().notes:
            start, stop = int(note.offset * 4), int((note.offset + note.quarterLength) * 4)
            assert rolls[0][start:stop, note.pitch.midi - LOWEST].all()
    # Four parts, and no key besides theirs.
    assert 1 <= rolls[0].sum(1).max() <= 4
    assert len(rolls[0]) == score.highestTime * 4


def made(monkeypatch, rolls, **settings):
    monkeypatch.setattr(chorales, "read_chorales", lambda: rolls)
    data = Chorales(**settings)
    data.setup()
    return data


def test_targets_are_the_next_frames(monkeypatch, rolls):
    data = made(monkeypatch, rolls)
    task = data.task
    assert (task.kind, task.metric, task.direction, task.multilabel) == ("next_step", "nll", "min", True)
    for name in ("train", "validation", "test"):
        split = getattr(data.splits, name)
        for x, y in zip(split.inputs, split.targets, strict=True):
            torch.testing.assert_close(x[1:], y[:-1])
    parts = (data.splits.train, data.splits.validation, data.splits.test)
    assert sorted(n for part in parts for n in part.lengths) == sorted(len(roll[::4]) - 1 for roll in rolls)


def test_a_finer_grid_holds_the_coarser_one(monkeypatch, rolls):
    quarters, sixteenths = made(monkeypatch, rolls), made(monkeypatch, rolls, grid=4)
    fine = torch.cat([sixteenths.splits.test.inputs[0], sixteenths.splits.test.targets[0][-1:]])
    coarse = torch.cat([quarters.splits.test.inputs[0], quarters.splits.test.targets[0][-1:]])
    torch.testing.assert_close(fine[::4], coarse)


def test_missing_music21_names_the_extra(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(DataError, match=r"music21.*not installed: pip install 'gatescope\[music\]'"):
        read_chorales()
