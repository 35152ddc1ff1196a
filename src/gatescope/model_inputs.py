"""Conversion of one input of a trained model, a text or features, into the tensor that the model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatescope.components import nearest
from gatescope.data.encoding.tokenizers import as_token
from gatescope.data.errors import DataError
from gatescope.sequences import UNKNOWN, TaskSpec

ModelInput = str | Path | Sequence[str] | Sequence[Sequence[float]] | Tensor | None
"""A text, its tokens, the path of a recording, or features of shape (T, F). None is a missing text."""

NO_TEXT, NO_TOKEN, ONLY_UNKNOWN = "no text", "no token", "only unknown tokens"
"""Warnings on texts of which the model can read nothing: it answers as for one unknown token."""


class InputRow(NamedTuple):
    """An input as the model reads it.

    Attributes:
        values: (T,) token ids, or (T, F) features.
        warning: What the answer suffers from; "" for nothing.
        tokens: The tokens of a text as they were read, also those that the model does not know.
    """

    values: Tensor
    warning: str = ""
    tokens: tuple[str, ...] = ()


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
        if self.task.sound and isinstance(value, str | Path):
            return self._recording(Path(value).expanduser())
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
            return self._tokens([as_token(one, self.task.tokenizer.get("name", "")) for one in value])
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
        return self._tokens(self.tokenize(text))

    def _tokens(self, tokens: Sequence[str]) -> InputRow:
        """Return the ids of tokens, cut to the longest of training unless each token has an answer."""
        if self.task.inputs != "tokens":
            raise DataError(f"the model reads {self.task.input_size} features per step and not tokens")
        if not tokens:
            return InputRow(self._unknown_token(), NO_TOKEN)
        unknown, count = self.index.get(UNKNOWN, 0), len(tokens)
        warning, read = "", tuple(tokens)
        if count > self.longest and self.task.every_step:
            warning = f"{count} tokens, the longest in training had {self.longest}"
        elif count > self.longest:
            warning, read = f"cut to {self.longest} of {count} tokens", read[: self.longest]
        ids = torch.tensor([self.index.get(token, unknown) for token in read])
        if not any(token in self.index for token in tokens):
            warning = ONLY_UNKNOWN
        return InputRow(ids, warning, read)

    def _recording(self, path: Path) -> InputRow:
        """Return the features of a recording."""
        from gatescope.data.encoding.audio import read_sound
        from gatescope.data.encoding.speech import SpeechFeatures

        if not path.is_file():
            raise DataError(f"{path}: no such recording")
        try:
            return self._features(SpeechFeatures(**self.task.sound)(read_sound(path)))
        except ValueError as error:
            raise error if isinstance(error, DataError) else DataError(f"{path}: {error}") from error

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
