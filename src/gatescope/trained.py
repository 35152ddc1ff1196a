"""The model of a finished run: `gatescope.load("runs/…").predict(["not bad at all"])`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gatescope.analysis.record_files import find_run
from gatescope.components import nearest
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.instruments.attribution import distribution
from gatescope.models.encoder import SequenceModel
from gatescope.models.seq2seq import Seq2Seq
from gatescope.moved import current_targets
from gatescope.run import build_module, load_data
from gatescope.sequences import END, Batch, Split, TaskSpec
from gatescope.tracking.checkpoint_files import read_checkpoint, weights_path
from gatescope.tracking.provenance import versions
from gatescope.tracking.runfile import read_run

log = logging.getLogger(__name__)

ModelInput = str | Sequence[Sequence[float]] | Tensor
"""A text, or features of shape (T, F)."""


class LoadError(ValueError):
    """A run cannot be loaded; the message contains the run, the reason and the remedy."""


@dataclass(frozen=True)
class Answer:
    """The prediction for one input.

    Attributes:
        label: Most probable class, for classification.
        probabilities: Probability of each class, for classification.
        value: Predicted value, for regression.
        symbols: Generated symbols, for transduction.
    """

    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    symbols: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """The model of a run in eval mode, with its data: vocabulary, preprocessing and labels.

    Attributes:
        directory: Directory of the record.
        config: Resolved config of the run.
        model: Model with the weights that were best on validation.
        data: Data of the run.
    """

    directory: Path
    config: DictConfig
    model: SequenceModel
    data: SequenceData

    @property
    def task(self) -> TaskSpec:
        """Task of the data."""
        return self.data.task

    @property
    def longest(self) -> int:
        """Number of steps of the longest training sequence."""
        assert self.data.splits is not None
        return int(self.data.splits.train.lengths.max())

    def encode(self, inputs: Iterable[ModelInput]) -> Batch:
        """Return texts or features as a batch with dummy targets.

        Args:
            inputs: Texts, or features of shape (T, F) each.

        Raises:
            DataError: A text has no token or only unknown ones, or the features have another width.
        """
        if isinstance(inputs, str):
            raise DataError(f"inputs is one text: give a list of texts, [{inputs!r}]")
        rows = [self._token_ids(x) if isinstance(x, str) else self._features(x) for x in inputs]
        if not rows:
            raise DataError("nothing to predict: give at least one text or one sequence of features")
        lengths = torch.tensor([len(row) for row in rows])
        padding = float(self.task.padding_index or 0)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        return Batch(padded, lengths, torch.zeros(len(rows), 1, dtype=torch.long), torch.arange(len(rows)))

    def example(self, index: int, split: Split = "test") -> Batch:
        """Return one example of the run's data as a batch.

        Args:
            index: Index of the example within its split.
            split: The split.

        Raises:
            DataError: There is no example with this index.
        """
        assert self.data.splits is not None
        count = len(getattr(self.data.splits, split))
        if not 0 <= index < count:
            raise DataError(f"index={index}: the {split} split has examples 0 to {count - 1}")
        batch = self.data.batch(split, [index])
        if (steps := int(batch.lengths[0])) > self.longest:
            log.warning("the example has %d steps, the longest in training %d", steps, self.longest)
        return batch

    @torch.no_grad()
    def predict(self, inputs: Iterable[ModelInput]) -> list[Answer]:
        """Return an answer for each input.

        Args:
            inputs: Texts, or features of shape (T, F) each.

        Raises:
            DataError: See `encode` and `answers`.
        """
        return self.answers(self.encode(inputs))

    @torch.no_grad()
    def answers(self, batch: Batch) -> list[Answer]:
        """Return an answer for each example of a batch.

        Args:
            batch: The batch, which is moved to the device of the model.

        Raises:
            DataError: The task has a prediction at every step.
        """
        task, model = self.task, self.model
        batch = batch.to(model.device)
        if isinstance(model, Seq2Seq):
            generated = model.generate(batch).symbols.tolist()
            return [Answer(symbols=self.symbol_names(row)) for row in generated]
        if task.kind not in ("classification", "regression"):
            raise DataError(
                f"a {task.kind} task has a prediction at every step: call the model itself, .model(batch)"
            )
        values = model(batch).values
        if task.kind == "regression":
            return [Answer(value=value) for value in values[:, 0].tolist()]
        labels = self.labels
        rows = [dict(zip(labels, row, strict=True)) for row in distribution(task, values).tolist()]
        return [Answer(label=max(row, key=row.__getitem__), probabilities=row) for row in rows]

    @property
    def labels(self) -> list[str]:
        """Names of the classes, or their indices if the data have no names."""
        return list(self.task.labels) or [str(i) for i in range(max(self.task.output_size, 2))]

    def symbol_names(self, symbols: Sequence[int]) -> list[str]:
        """Return the names of target ids up to END."""
        ids = list(symbols)
        ids = ids[: ids.index(END)] if END in ids else ids
        return [self.task.target_vocabulary[i] for i in ids if i >= 0]

    def _token_ids(self, text: str) -> Tensor:
        """Return the ids of a text's tokens, of shape (T,); a long text is truncated."""
        if self.task.inputs != "tokens":
            raise DataError(f"the model reads {self.task.input_size} features per step and not text")
        tokens = self.data.tokenize(text)
        if not tokens:
            raise DataError(f"the text {text!r} holds no token: give at least one word")
        index = self.task.token_ids()
        if not any(token in index for token in tokens):
            match = nearest(tokens[0], index)
            hint = f"; the nearest to {tokens[0]!r} is {match!r}" if match else ""
            raise DataError(f"none of the tokens of {text!r} occurs in training{hint}")
        if len(tokens) > self.longest:
            message = "the text has %d tokens, the longest in training %d: only the first %d are read"
            log.warning(message, len(tokens), self.longest, self.longest)
        unknown = index.get("<unk>", 0)
        return torch.tensor([index.get(token, unknown) for token in tokens[: self.longest]])

    def _features(self, features: Sequence[Sequence[float]] | Tensor) -> Tensor:
        """Return features as a tensor of shape (T, F)."""
        values = torch.as_tensor(features, dtype=torch.float32, device="cpu")
        size = self.task.input_size
        if self.task.inputs != "features" or values.dim() != 2 or values.shape[1] != size or not len(values):
            expected = "a text" if self.task.inputs == "tokens" else f"features of shape (steps, {size})"
            raise DataError(f"the model reads {expected}; given: a tensor of shape {tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise DataError("the features contain NaN or infinity: replace these values")
        if len(values) > self.longest:
            log.warning("the sequence has %d steps, the longest in training %d", len(values), self.longest)
        return values


def load(run: str | Path, root: str | Path | None = None) -> Trained:
    """Load the best weights of a run, with vocabulary and preprocessing.

    Args:
        run: Id of the run, or the directory of its record.
        root: Directory in which ids are searched; default: the environment variable RUNS_DIR, else `runs`.

    Raises:
        NoRuns: There is no such run; the message contains the nearest id.
        LoadError: The run has no usable weights, or they belong to another version.
        DataError: The data of the run are no longer available.
    """
    directory = find_run(root or os.environ.get("RUNS_DIR", "runs"), str(run))
    record = read_run(directory)
    if not (directory / "config.yaml").exists():
        raise LoadError(f"{directory} has no config.yaml, which is needed to build the model")
    saved = OmegaConf.to_container(OmegaConf.load(directory / "config.yaml"))
    cfg = OmegaConf.create(current_targets(saved))
    assert isinstance(cfg, DictConfig)
    if "baseline" in cfg.model:
        raise LoadError(f"{directory.name} is a baseline without a network: there are no weights to load")
    weights, data_identity = _load_weights(directory, str(record.get("status")))
    try:
        data = _load_data(directory, cfg, data_identity)
        model = build_module(cfg, data).model
        model.load_state_dict(weights)
    except (DataError, LoadError):
        raise
    except Exception as error:  # an older config or layer makes Hydra and torch raise many types
        raise LoadError(_version_message(directory, record, error)) from error
    model.requires_grad_(False)
    return Trained(directory, cfg, model.eval(), data)


def _load_weights(directory: Path, status: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return weights by name, and the identity of the data that they were trained on."""
    path = weights_path(directory)
    if path is None:
        remedy = "train it again with force=true" if status == "finished" else "run it to its end first"
        raise LoadError(f"{directory.name} ({status}) has no checkpoint: {remedy}")
    try:
        checkpoint = read_checkpoint(path)
        state: dict[str, Tensor] = checkpoint["state_dict"]
    except Exception as error:  # a damaged file makes torch, zipfile or pickle raise many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LoadError(f"{path} is damaged or no checkpoint ({reason}): run it again, force=true") from error
    prefix = "model."
    weights = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    return weights, checkpoint.get("data")


def _version_message(directory: Path, record: dict[str, Any], error: Exception) -> str:
    """Return the message for a run whose config or weights do not fit this version."""
    made_by = (record.get("versions") or {}).get("gatescope", "unknown")
    current = versions().get("gatescope")
    commit = str((record.get("git") or {}).get("commit") or "unknown")[:10]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = lines[1] if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else lines[0]
    return (
        f"{directory.name} does not fit this version ({detail}): it was made by gatescope {made_by}, commit "
        f"{commit}, this is {current}; check out that commit, or run it again"
    )


def _load_data(directory: Path, cfg: DictConfig, data_identity: dict[str, Any] | None) -> SequenceData:
    """Return the run's data if they are those of its training, by their identity in the checkpoint."""
    try:
        data = load_data(cfg)
    except DataError as error:
        keys = (data_identity or {}).get("sources", {})
        sources = {key: Path(str(OmegaConf.select(cfg, key))) for key in keys}
        missing = [key for key, path in sources.items() if not path.expanduser().exists()]
        if not missing:
            raise
        config = directory / "config.yaml"
        raise DataError(f"{error}; if it was moved, set {missing[0]} in {config} to its new path") from error
    if data_identity is None:
        raise LoadError(
            f"{directory.name} was made by an older version, which did not save the identity of its data: "
            "run it again"
        )
    changes = data.changes(data_identity)
    if changes:
        raise LoadError(
            f"the data of {directory.name} are not those of its training ({'; '.join(changes)}): restore the "
            "original data, or repeat its command, which trains on the current data"
        )
    return data
