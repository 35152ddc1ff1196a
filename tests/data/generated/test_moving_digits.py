"""Moving digits: the motion matches the pixels, and no image is in two splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gatescope.data.generated.moving_digits import (
    DIGITS,
    DIRECTIONS,
    MOTIONS,
    VOCABULARY,
    MovingDigits,
    describe,
    draw,
)
from gatescope.sequences import END

SIZES = {"train": 200, "validation": 60, "test": 60}


@pytest.fixture(scope="module")
def data() -> MovingDigits:
    datamodule = MovingDigits(**SIZES)
    datamodule.setup()
    return datamodule


def motion_of(frames: np.ndarray) -> list[str]:
    """The direction of each step, from the centre of brightness."""
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]]
    mass = frames.sum((1, 2))
    centre = np.stack([(frames * rows).sum((1, 2)), (frames * columns).sum((1, 2))], axis=1) / mass[:, None]
    names = {step: name for name, step in DIRECTIONS.items()}
    return [names[tuple(step)] for step in np.diff(centre, axis=0).round().astype(int).tolist()]


def test_descriptions_match_the_pixels(data: MovingDigits) -> None:
    batch = data.batch("test", range(SIZES["test"]))
    known = data.alignment("test", batch)
    assert (batch.targets[:, -1] == END).all()
    for row, length in enumerate(batch.lengths.tolist()):
        moves = motion_of(batch.inputs[row, :length].view(length, 14, 14).numpy())
        words = [VOCABULARY[i] for i in batch.targets[row, :-1].tolist()]
        first = moves.index(words[6])
        assert moves == [words[3]] * first + [words[6]] * (len(moves) - first)
        assert words[0] == ("an" if words[1] == "eight" else "a")
        assert [words[2], *words[4:6]] == ["moves", ",", "then"]
        assert known[row, 3].nonzero()[:, 0].tolist() == list(range(1, first + 1))
        assert known[row, 6].nonzero()[:, 0].tolist() == list(range(first + 1, length))
        assert not known[row, [0, 1, 2, 4, 5, 7]].any()


def shapes(data: MovingDigits, split: str) -> set[bytes]:
    """The first frame of each clip, cut to what is lit."""
    examples = getattr(data.splits, split)
    found = set()
    for i in range(len(examples)):
        frame = examples.inputs[i][0].view(14, 14).numpy()
        rows, columns = np.nonzero(frame.any(1))[0], np.nonzero(frame.any(0))[0]
        cut = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        found.add(cut.tobytes() + bytes(cut.shape))
    return found


def test_no_image_is_in_two_splits(data: MovingDigits) -> None:
    train, validation, test = (shapes(data, split) for split in SIZES)
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)


def test_the_image_is_never_cut() -> None:
    rng, image = np.random.default_rng(0), load_digits().images[0]
    lit = set()
    for _ in range(300):
        clip = draw(rng, image, 0, canvas=12)
        assert clip.frames.sum((1, 2)) == pytest.approx(image.sum() / 16, rel=1e-5)
        lit.add((clip.motion, clip.frames.any((0, 2))[0], clip.frames.any((0, 2))[-1]))
    assert {motion for motion, *_ in lit} == set(MOTIONS)


def test_actions_are_classes_of_the_same_clips(data: MovingDigits) -> None:
    actions = MovingDigits(target="action", **SIZES)
    actions.setup()
    assert torch.equal(actions.splits.test.inputs.flat, data.splits.test.inputs.flat)
    assert (actions.task.kind, actions.task.output_size) == ("classification", 12)
    batch = data.batch("validation", range(20))
    for label, row in zip(actions.batch("validation", range(20)).targets, batch.targets, strict=True):
        words = [VOCABULARY[i] for i in row.tolist()]
        assert actions.task.labels[label] == f"{words[3]}, then {words[6]}"
    assert actions.alignment("validation", batch) is None


def test_sentences() -> None:
    assert " ".join(describe(3, ("up", "left"))) == "a three moves up , then left"
    assert {describe(i, MOTIONS[0])[0] for i in range(len(DIGITS))} == {"a", "an"}
