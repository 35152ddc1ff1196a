"""Moving digits: short clips of a handwritten digit that moves one way and then another.

The digits are scikit-learn's (1,797 images of 8×8 pixels; UCI, Alpaydin & Kaynak 1998), the motion is drawn:
one pixel a frame in one direction, then in another. A clip is described by a sentence, "a three moves up ,
then left" (video description, a transduction), or put into a class by its motion (action recognition). No
image is in two splits.
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
from gatescope.data.examples import Examples, Splits
from gatescope.data.pairs import ENDING
from gatescope.sequences import END, Batch, Split, TaskSpec

SIDE, BRIGHTEST = 8, 16
"""Of an image: pixels a side, and the largest value of one."""
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Rows and columns moved in a frame."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOCABULARY = (ENDING, "a", "an", *DIGITS, "moves", *DIRECTIONS, ",", "then")
MOTIONS = tuple((first, then) for first in DIRECTIONS for then in DIRECTIONS if first != then)
STEPS = (2, 4)
"""Fewest and most frames that a direction is kept."""
PLACES = (3, 6)
"""Where the two directions stand in a sentence."""


class Clip(NamedTuple):
    """frames (T, rows, columns) from 0 to 1; what is seen, and the frames of each of the two moves."""

    frames: np.ndarray
    digit: int
    motion: tuple[str, str]
    moves: tuple[range, range]


def sentence(digit: int, motion: tuple[str, str]) -> list[str]:
    """The words of a clip's description."""
    article = "an" if DIGITS[digit] == "eight" else "a"
    return [article, DIGITS[digit], "moves", motion[0], ",", "then", motion[1]]


def draw(rng: np.random.Generator, image: np.ndarray, digit: int, canvas: int) -> Clip:
    """A clip of this image (8, 8): a first frame, then those of each move; it stays on the canvas."""
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
    """Inputs (B, T, canvas²): the pixels of each frame. Targets: sentences, or one of 12 motions.

    Args:
        target: description, a sentence for each clip; or action, the motion as a class.
        canvas: pixels a side.
        train, validation, test: numbers of clips.
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
        digits = load_digits()
        rest, test = self._divide(np.arange(len(digits.target)), digits.target, 0.15)
        train, validation = self._divide(rest, digits.target, 0.15 / 0.85)
        rng = np.random.default_rng(self.seed)
        made = {}
        chosen: dict[Split, np.ndarray] = {"train": train, "validation": validation, "test": test}
        for split, images in chosen.items():
            drawn = rng.choice(images, self.sizes[split])
            clips = [draw(rng, digits.images[i], int(digits.target[i]), self.canvas) for i in drawn]
            self.moves[split] = [clip.moves for clip in clips]
            made[split] = self._examples(clips)
        return Splits(made["train"], made["validation"], made["test"], self._spec(len(digits.target)))

    def _divide(self, images: np.ndarray, labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Cuts `share` off, stratified by digit."""
        kept, cut = train_test_split(images, test_size=share, stratify=labels[images], random_state=self.seed)
        return kept, cut

    def _examples(self, clips: list[Clip]) -> Examples:
        inputs = [torch.from_numpy(clip.frames).flatten(1) for clip in clips]
        if self.target == "action":
            return Examples(inputs, torch.tensor([MOTIONS.index(clip.motion) for clip in clips]))
        words = [sentence(clip.digit, clip.motion) for clip in clips]
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
        )

    def alignment(self, split: Split, batch: Batch) -> Tensor | None:
        """True for the frames of a move, at the word that names its direction."""
        if self.target == "action":
            return None
        known = torch.zeros(*batch.targets.shape, batch.inputs.shape[1], dtype=torch.bool)
        for row, index in enumerate(batch.ids.tolist()):
            for place, frames in zip(PLACES, self.moves[split][index], strict=True):
                known[row, place, frames.start : frames.stop] = True
        return known
