"""The model of a finished run: `gatescope.load("runs/…").predict(["not bad at all"])`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from gatescope.data.errors import DataError
from gatescope.model_inputs import NO_TOKEN, ONLY_UNKNOWN, InputReader, InputRow, ModelInput
from gatescope.models.encoder import SequenceModel
from gatescope.models.generating import GeneratingModel
from gatescope.sequences import END, Batch, Split, TaskSpec, predicted_labels, probabilities

if TYPE_CHECKING:
    from gatescope.data.datamodule import SequenceData
    from gatescope.watching.tracing import Trace

log = logging.getLogger(__name__)

POOL = 16
"""Number of batches whose inputs are sorted by length together, so that batches need little padding."""
MAX_STEPS = 1 << 17
"""Largest number of steps of a batch of several inputs, padding included; it bounds memory."""


class LoadError(ValueError):
    """A run cannot be loaded; the message contains the run, the reason and the remedy."""


@dataclass(frozen=True)
class Answer:
    """The prediction for one input.

    Attributes:
        label: Most probable class, for classification.
        labels: Predicted labels, for classification by several labels.
        probabilities: Probability of each class or label, for classification.
        value: Predicted value, for regression on one number.
        values: Predicted value of each output, for regression on several.
        symbols: Generated symbols, for transduction.
        tags: Predicted tag of each token, for tagging.
        tokens: The tokens of the text as the model read them, for tagging.
        warning: Why the answer may be worthless, such as "no token" or "only unknown tokens"; "" otherwise.
    """

    label: str | None = None
    labels: list[str] = field(default_factory=list)
    probabilities: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    symbols: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    warning: str = ""


@dataclass(frozen=True)
class Trained:
    """The model of a run in eval mode, with what its predictions need: vocabulary, tokenizer and labels.

    Attributes:
        directory: Directory of the record.
        config: Resolved config of the run.
        model: Model with the weights that were best on validation.
        task: Task of the model.
        longest: Number of steps of the longest training sequence.
        tokenize: Splits a text into tokens.
        load_data: Loads the data of the run, which predictions do not need.
    """

    directory: Path
    config: DictConfig
    model: SequenceModel
    task: TaskSpec
    longest: int
    tokenize: Callable[[str], list[str]]
    load_data: Callable[[], SequenceData] = field(repr=False)

    @classmethod
    def with_data(
        cls, directory: Path, config: DictConfig, model: SequenceModel, data: SequenceData
    ) -> Trained:
        """Return a model whose data are loaded already."""
        assert data.splits is not None
        longest = int(data.splits.train.lengths.max())
        return cls(directory, config, model, data.task, longest, data.tokenize, lambda: data)

    @cached_property
    def data(self) -> SequenceData:
        """The data of the run, loaded at the first use.

        Raises:
            DataError: They are no longer available.
            LoadError: They are not those of its training.
        """
        return self.load_data()

    @cached_property
    def reader(self) -> InputReader:
        """Conversion of inputs into tensors."""
        return InputReader(self.task, self.longest, self.tokenize)

    def encode(self, inputs: Iterable[ModelInput]) -> Batch:
        """Return texts or features as a batch with dummy targets.

        Args:
            inputs: Texts, or features of shape (T, F) each. A single string is one text.

        Raises:
            DataError: A text has no token or only unknown ones, or the features have another width.
        """
        values = _as_list(inputs)
        rows = [self.reader.read(value) for value in values]
        for value, row in zip(values, rows, strict=True):
            if isinstance(value, str) and row.warning in (NO_TOKEN, ONLY_UNKNOWN):
                raise DataError(self.reader.explain_unknown(value))
            if row.warning:
                log.warning(row.warning)
        if not rows:
            raise DataError("nothing to predict: give at least one text or one sequence of features")
        return self._collate(rows)

    def example(self, index: int, split: Split = "test") -> Batch:
        """Return one example of the run's data as a batch.

        Args:
            index: Index of the example within its split.
            split: The split.

        Raises:
            DataError: There is no example with this index, or the data are no longer available.
        """
        assert self.data.splits is not None
        count = len(getattr(self.data.splits, split))
        if not 0 <= index < count:
            raise DataError(f"index={index}: the {split} split has examples 0 to {count - 1}")
        batch = self.data.batch(split, [index])
        if (steps := int(batch.lengths[0])) > self.longest:
            log.warning("the example has %d steps, the longest in training %d", steps, self.longest)
        return batch

    def trace(self, inputs: Iterable[ModelInput], clamp: Mapping[str, Any] | None = None) -> Trace:
        """Look inside the predictions for some inputs: states, gates, gradients, attention, attributions.

        With `clamp` something is held meanwhile: `{"update": 0.0}` shuts a gate at every step,
        `{"update": 0.0, "unit": 7}` that of one unit, `{"state": 0.0, "unit": [3, 7], "layer": 0}` takes two
        units out, and `{"state": other.states["h"], "step": 2}` puts in the state of another trace.

        Args:
            inputs: Texts, or features of shape (T, F) each. A single string is one text.
            clamp: Values by the name of a gate, "candidate", "state" (h) or "memory" (c); and where they are
                held, all by default: "layer", "direction", "unit" and, for states, "step".

        Raises:
            DataError: See `encode`.
            WatchError: There is no such gate, layer, unit or step.
        """
        from gatescope.watching.tracing import trace  # imports the instruments

        return trace(self, inputs, clamp)

    def predict(self, inputs: Iterable[ModelInput], batch_size: int = 256) -> list[Answer]:
        """Return an answer for each input.

        A text of which nothing can be read (empty, None, only unknown words) gets an answer with a warning.

        Args:
            inputs: Texts, or features of shape (T, F) each, as in the file that the model was trained
                on. A single string is one text; a text may be the list of its tokens.
            batch_size: Number of inputs that the model reads at once.

        Raises:
            DataError: There is no input, an input is of the wrong kind, or see `answers`.
        """
        answers = list(self.predict_iter(inputs, batch_size))
        if not answers:
            raise DataError("nothing to predict: give at least one text or one sequence of features")
        return answers

    def predict_iter(self, inputs: Iterable[ModelInput], batch_size: int = 256) -> Iterator[Answer]:
        """Yield an answer for each input, in order; a few batches are in memory at a time.

        Args:
            inputs: Texts, or features of shape (T, F) each, of any number. A single string is one text.
            batch_size: Number of inputs that the model reads at once.

        Raises:
            DataError: As `predict`, when the input is reached; the message has its number, from 0.
        """
        remaining, start = iter([inputs] if isinstance(inputs, str) else inputs), 0
        while chunk := list(islice(remaining, POOL * batch_size)):
            rows = [self._read(start + i, value) for i, value in enumerate(chunk)]
            yield from self._answer_rows(rows, batch_size)
            start += len(chunk)

    def _read(self, number: int, value: ModelInput) -> InputRow:
        try:
            return self.reader.read(value)
        except DataError as error:
            raise DataError(f"input {number}: {error}") from error

    def _answer_rows(self, rows: Sequence[InputRow], batch_size: int) -> list[Answer]:
        """Return the answers, computed in batches of similar length."""
        found: dict[int, Answer] = {}
        for batch in _batches([len(row.values) for row in rows], batch_size):
            answers = self.answers(self._collate([rows[i] for i in batch]))
            found |= zip(batch, answers, strict=True)
        return [self._completed(found[i], row) for i, row in enumerate(rows)]

    def _completed(self, answer: Answer, row: InputRow) -> Answer:
        """Return an answer with the warning of its input, and of a tagging with its tokens."""
        if self.task.kind == "tagging":
            count = len(row.tokens) if self.task.inputs == "tokens" else len(answer.tags)
            answer = replace(answer, tokens=list(row.tokens), tags=answer.tags[:count])
        return replace(answer, warning=row.warning) if row.warning else answer

    def _collate(self, rows: Sequence[InputRow]) -> Batch:
        """Return rows as a padded batch."""
        lengths = torch.tensor([len(row.values) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence(
            [row.values for row in rows], batch_first=True, padding_value=float(self.task.padding_index or 0)
        )
        return Batch(padded, lengths, torch.zeros(len(rows), 1, dtype=torch.long), torch.arange(len(rows)))

    @torch.no_grad()
    def answers(self, batch: Batch, beam: int | None = None) -> list[Answer]:
        """Return an answer for each example of a batch.

        Args:
            batch: The batch, which is moved to the device of the model.
            beam: Number of hypotheses of a transduction; None for that of the test of the run.

        Raises:
            DataError: The task has a prediction at every step.
        """
        task, model = self.task, self.model
        batch = batch.to(model.device)
        if isinstance(model, GeneratingModel):
            generated = model.generate(batch, beam or model.beam).symbols.tolist()
            return [Answer(symbols=self.symbol_names(row)) for row in generated]
        if task.kind == "next_step":
            raise DataError(
                f"a {task.kind} task has a prediction at every step: call the model itself, .model(batch)"
            )
        values = model(batch).values
        if task.kind == "tagging":
            return self._tagged(batch, values)
        if task.kind == "regression" and task.output_size > 1:
            return [Answer(values=dict(zip(self.labels, row, strict=True))) for row in values.tolist()]
        if task.kind == "regression":
            return [Answer(value=value) for value in values[:, 0].tolist()]
        names = self.labels
        rows = [dict(zip(names, row, strict=True)) for row in probabilities(task, values).tolist()]
        if task.multilabel:
            return [
                Answer(labels=[n for n, one in zip(names, flags, strict=True) if one], probabilities=row)
                for row, flags in zip(rows, predicted_labels(task, values).tolist(), strict=True)
            ]
        return [Answer(label=max(row, key=row.__getitem__), probabilities=row) for row in rows]

    def _tagged(self, batch: Batch, values: torch.Tensor) -> list[Answer]:
        """Return the tags of the valid steps of each example."""
        names, tokens = self.labels, self.task.tokens(batch) or [[] for _ in batch.lengths]
        rows = zip(values.argmax(-1).tolist(), batch.lengths.tolist(), tokens, strict=True)
        return [Answer(tags=[names[i] for i in row[:length]], tokens=own) for row, length, own in rows]

    @property
    def labels(self) -> list[str]:
        """Names of the classes, labels, tags or outputs, or their indices if the data have no names."""
        count = max(self.task.output_size, 2) if self.task.has_classes else self.task.output_size
        return list(self.task.labels) or [str(i) for i in range(count)]

    def symbol_names(self, symbols: Sequence[int]) -> list[str]:
        """Return the names of target ids up to END."""
        ids = list(symbols)
        ids = ids[: ids.index(END)] if END in ids else ids
        return [self.task.target_vocabulary[i] for i in ids if i >= 0]


def _as_list(inputs: Iterable[ModelInput]) -> list[ModelInput]:
    return [inputs] if isinstance(inputs, str) else list(inputs)


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of batches of similar length, none with more than `MAX_STEPS` steps in all."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        is_full = len(batch) == batch_size or (len(batch) + 1) * lengths[index] > MAX_STEPS
        if batch and is_full:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
