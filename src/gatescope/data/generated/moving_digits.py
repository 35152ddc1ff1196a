"""Moving digits: short clips of a handwritten digit that moves in one direction, then in another.

The digits are scikit-learn's (1,797 images of 8×8 pixels; Alpaydin & Kaynak 1998, UCI); the motion is
generated: one pixel per frame in one direction, then in another. The target is a description, "a three moves
up , then left" (video description, a transduction), or the motion as a class (action recognition). No image
is in two splits.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.pairs import ENDING
from gatescope.data.examples import Examples, Splits
from gatescope.sequences import END, Batch, Split, TaskSpec

SIDE, BRIGHTEST = 8, 16
"""Pixels per side of an image, and the largest value of a pixel."""
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Change of row and column per frame."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOCABULARY = (ENDING, "a", "an", *DIGITS, "moves", *DIRECTIONS, ",", "then")
MOTIONS = tuple((first, then) for first in DIRECTIONS for then in DIRECTIONS if first != then)
STEPS = (2, 4)
"""Smallest and largest number of frames in one direction."""
DIRECTION_POSITIONS = (3, 6)
"""Positions of the two directions in a description."""


class Clip(NamedTuple):
    """A clip and its content.

    Attributes:
        frames: (T, rows, columns) float32 from 0 to 1.
        digit: the digit shown.
        motion: the two directions.
        moves: the frames of each of the two directions.
    """

    frames: np.ndarray
    digit: int
    motion: tuple[str, str]
    moves: tuple[range, range]


def describe(digit: int, motion: tuple[str, str]) -> list[str]:
    """Return the words of a clip's description."""
    article = "an" if DIGITS[digit] == "eight" else "a"
    return [article, DIGITS[digit], "moves", motion[0], ",", "then", motion[1]]


def draw(rng: np.random.Generator, image: np.ndarray, digit: int, canvas: int) -> Clip:
    """Draw a clip of an image: a first frame, then those of each direction.

    Args:
        rng: the only source of randomness.
        image: (8, 8) the digit.
        digit: the digit shown.
        canvas: pixels per side; the digit stays on the canvas.
    """
    motion = MOTIONS[rng.integers(len(MOTIONS))]
    first, then = (int(n) for n in rng.integers(STEPS[0], STEPS[1] + 1, 2))
    steps = [(0, 0), *[DIRECTIONS[motion[0]]] * first, *[DIRECTIONS[motion[1]]] * then]
    path = np.cumsum(steps, axis=0)
    path += rng.integers(-path.min(0), canvas - SIDE - path.max(0) + 1)
    frames = np.zeros((len(path), canvas, canvas), dtype=np.float32)
    for frame, (row, column) in zip(frames, path, strict=True):
        frame[row : row + SIDE, column : column + SIDE] = image / BRIGHTEST
    return Clip(frames, digit, motion, (range(1, first + 1), range(first + 1, len(path))))


class MovingDigits(SequenceData):
    """Transduction to descriptions, or classification into 12 motions.

    Shape:
        inputs (B, T, canvas²): the pixels of each frame. targets (B, U) or (B,).

    Args:
        target: description, or action (the motion as a class).
        canvas: pixels per side.
        train: number of train clips.
        validation: number of validation clips.
        test: number of test clips.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        target: Literal["description", "action"] = "description",
        canvas: Annotated[int, Field(ge=SIDE + STEPS[1])] = 14,
        train: Annotated[int, Field(ge=1)] = 30_000,
        validation: Annotated[int, Field(ge=1)] = 1_000,
        test: Annotated[int, Field(ge=1)] = 2_000,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.target, self.canvas = target, canvas
        self.sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        self.moves: dict[Split, list[tuple[range, range]]] = {}

    def build(self) -> Splits:
        """Divide the images into splits and draw the clips."""
        digits = load_digits()
        rest, test = self._divide(np.arange(len(digits.target)), digits.target, 0.15)
        train, validation = self._divide(rest, digits.target, 0.15 / 0.85)
        rng = np.random.default_rng(self.seed)
        examples = {}
        subsets: dict[Split, np.ndarray] = {"train": train, "validation": validation, "test": test}
        for split, images in subsets.items():
            drawn = rng.choice(images, self.sizes[split])
            clips = [draw(rng, digits.images[i], int(digits.target[i]), self.canvas) for i in drawn]
            self.moves[split] = [clip.moves for clip in clips]
            examples[split] = self._examples(clips)
        task = self._spec(len(digits.target))
        return Splits(examples["train"], examples["validation"], examples["test"], task)

    def _divide(self, images: np.ndarray, labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Split off a share of the images, stratified by digit; return the rest and the share."""
        rest, cut = train_test_split(images, test_size=share, stratify=labels[images], random_state=self.seed)
        return rest, cut

    def _examples(self, clips: list[Clip]) -> Examples:
        inputs = [torch.from_numpy(clip.frames).flatten(1) for clip in clips]
        if self.target == "action":
            return Examples(inputs, torch.tensor([MOTIONS.index(clip.motion) for clip in clips]))
        words = [describe(clip.digit, clip.motion) for clip in clips]
        return Examples(inputs, [torch.tensor([*map(VOCABULARY.index, row), END]) for row in words])

    def _spec(self, images: int) -> TaskSpec:
        notes = {"source": "scikit-learn", "images": images, "splits": "by image"}
        if self.target == "action":
            labels = tuple(f"{first}, then {then}" for first, then in MOTIONS)
            chance = {"chance": 1 / len(MOTIONS)}
            return TaskSpec(
                "classification",
                "features",
                self.canvas**2,
                len(MOTIONS),
                "accuracy",
                "max",
                labels=labels,
                notes=notes | chance,
                image=(self.canvas, self.canvas),
            )
        return TaskSpec(
            "transduction",
            "features",
            self.canvas**2,
            len(VOCABULARY),
            "exact_match",
            "max",
            target_vocabulary=VOCABULARY,
            notes=notes | {"chance": 1 / (len(DIGITS) * len(MOTIONS))},
            image=(self.canvas, self.canvas),
        )

    def alignment(self, split: Split, batch: Batch) -> Tensor | None:
        """Return (B, U, T) bool, true from the word of a direction to its frames; None for `action`."""
        if self.target == "action":
            return None
        known = torch.zeros(*batch.targets.shape, batch.inputs.shape[1], dtype=torch.bool)
        for row, index in enumerate(batch.ids.tolist()):
            for position, frames in zip(DIRECTION_POSITIONS, self.moves[split][index], strict=True):
                known[row, position, frames.start : frames.stop] = True
        return known
