"""Conversion of one input of a trained model, a text or features, into the tensor that the model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatescope.components import nearest
from gatescope.data.errors import DataError
from gatescope.sequences import UNKNOWN, TaskSpec

ModelInput = str | Sequence[Sequence[float]] | Tensor | None
"""A text, or features of shape (T, F). None is a missing text."""

NO_TEXT, NO_TOKEN, ONLY_UNKNOWN = "no text", "no token", "only unknown tokens"
"""Warnings on texts of which the model can read nothing: it answers as for one unknown token."""


class InputRow(NamedTuple):
    """An input as the model reads it.

    Attributes:
        values: (T,) token ids, or (T, F) features.
        warning: What the answer suffers from; "" for nothing.
    """

    values: Tensor
    warning: str = ""


@dataclass(frozen=True)
class InputReader:
    """Reads texts and features for a task.

    Attributes:
        task: The task of the model.
        longest: Number of steps of the longest training sequence; longer texts are cut.
        tokenize: Splits a text into tokens.
    """

    task: TaskSpec
    longest: int
    tokenize: Callable[[str], list[str]]

    @cached_property
    def index(self) -> dict[str, int]:
        """The id of every token."""
        return self.task.token_ids()

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor] | None:
        """Mean and deviation (F,) of the features in training, in double precision; None for no scale."""
        if self.task.input_scale is None:
            return None
        mean, deviation = (torch.tensor(values, dtype=torch.float64) for values in self.task.input_scale)
        return mean, deviation

    def read(self, value: Any) -> InputRow:
        """Return an input as the model reads it.

        A text without known tokens is one unknown token, as in training, with a warning. So is a value that
        is no text (None, or the NaN that pandas has for an empty field).

        Raises:
            DataError: Features for a model of texts or the reverse, or features that do not fit.
        """
        if isinstance(value, str):
            return self._text(value)
        if self.task.inputs == "tokens" and not hasattr(value, "__len__"):
            return InputRow(self._unknown_token(), NO_TEXT)
        return self._features(value)

    def explain_unknown(self, text: str) -> str:
        """Return why a text cannot be read, with the nearest known token."""
        tokens = self.tokenize(text)
        if not tokens:
            return f"the text {text!r} holds no token: give at least one word"
        match = nearest(tokens[0], self.index)
        hint = f"; the nearest to {tokens[0]!r} is {match!r}" if match else ""
        return f"none of the tokens of {text!r} occurs in training{hint}"

    def _unknown_token(self) -> Tensor:
        return torch.tensor([self.index.get(UNKNOWN, 0)])

    def _text(self, text: str) -> InputRow:
        """Return the ids of a text's tokens."""
        if self.task.inputs != "tokens":
            raise DataError(f"the model reads {self.task.input_size} features per step and not text")
        tokens = self.tokenize(text)
        if not tokens:
            return InputRow(self._unknown_token(), NO_TOKEN)
        unknown = self.index.get(UNKNOWN, 0)
        ids = torch.tensor([self.index.get(token, unknown) for token in tokens[: self.longest]])
        if not any(token in self.index for token in tokens):
            return InputRow(ids, ONLY_UNKNOWN)
        too_long = len(tokens) > self.longest
        return InputRow(ids, f"cut to {self.longest} of {len(tokens)} tokens" if too_long else "")

    def _features(self, features: Any) -> InputRow:
        """Return features as a tensor of shape (T, F), standardised as those of the training were."""
        size = self.task.input_size
        expected = "a text" if self.task.inputs == "tokens" else f"features of shape (steps, {size})"
        try:
            values = torch.as_tensor(features, dtype=torch.float32, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            given = f"a {type(features).__name__} that is no table of numbers"
            raise DataError(f"the model reads {expected}; given: {given}") from error
        if self.task.inputs != "features" or values.dim() != 2 or values.shape[1] != size or not len(values):
            raise DataError(f"the model reads {expected}; given: a tensor of shape {tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise DataError("the features contain NaN or infinity: replace these values")
        if self.scale is not None:
            mean, deviation = self.scale
            values = ((values - mean) / deviation).float()
        if len(values) > self.longest:
            return InputRow(values, f"{len(values)} steps, the longest in training had {self.longest}")
        return InputRow(values)
