"""A finished run as a model that answers: `gatescope.load("runs/…").predict(["not bad at all"])`."""

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
from gatescope.tracking.record import versions
from gatescope.tracking.resume import read_checkpoint, weights_of
from gatescope.tracking.runfile import read_run

log = logging.getLogger(__name__)

Given = str | Sequence[Sequence[float]] | Tensor
"""A text, or features (T, F)."""


class LoadError(ValueError):
    """A run cannot be loaded; the message names it, what is wrong, and what to do."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one input: `label` and `probabilities` of a classification, `value` of a
    regression, `symbols` of a transduction."""

    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    symbols: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """A run's model in eval mode with its data: vocabulary, preprocessing, labels.

    Attributes:
        directory: of its record.
        config: resolved, as it was trained with.
        model: the weights that were best on validation.
    """

    directory: Path
    config: DictConfig
    model: SequenceModel
    data: SequenceData

    @property
    def task(self) -> TaskSpec:
        return self.data.task

    @property
    def longest(self) -> int:
        """Steps of the longest sequence in train."""
        assert self.data.splits is not None
        return int(self.data.splits.train.lengths.max())

    def encode(self, inputs: Iterable[Given]) -> Batch:
        """A batch of texts or features; its targets say nothing.

        Raises:
            DataError: a text without tokens or with unknown ones only, or features of another width.
        """
        rows = [self._ids(x) if isinstance(x, str) else self._features(x) for x in inputs]
        if not rows:
            raise DataError("nothing to predict: give at least one text or one sequence of features")
        lengths = torch.tensor([len(row) for row in rows])
        padding = float(self.task.padding_index or 0)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        return Batch(padded, lengths, torch.zeros(len(rows), 1, dtype=torch.long), torch.arange(len(rows)))

    def example(self, index: int, split: Split = "test") -> Batch:
        """One example of the data the run was trained on.

        Raises:
            DataError: there is none of this index.
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
    def predict(self, inputs: Iterable[Given]) -> list[Answer]:
        """An answer an input, in order.

        Raises:
            DataError: as `encode`, or the task answers at every step.
        """
        return self.answers(self.encode(inputs))

    @torch.no_grad()
    def answers(self, batch: Batch) -> list[Answer]:
        """As `predict`, for a batch."""
        task, model = self.task, self.model
        if isinstance(model, Seq2Seq):
            return [Answer(symbols=self.written(row)) for row in model.generate(batch).symbols.tolist()]
        if task.kind not in ("classification", "regression"):
            raise DataError(f"a {task.kind} task answers at every step: call the model itself, .model(batch)")
        values = model(batch).values
        if task.kind == "regression":
            return [Answer(value=value) for value in values[:, 0].tolist()]
        names = self.labels
        rows = [dict(zip(names, row, strict=True)) for row in distribution(task, values).tolist()]
        return [Answer(label=max(row, key=row.__getitem__), probabilities=row) for row in rows]

    @property
    def labels(self) -> list[str]:
        """Names of the classes; their numbers where the data have no names."""
        return list(self.task.labels) or [str(i) for i in range(max(self.task.output_size, 2))]

    def written(self, symbols: Sequence[int]) -> list[str]:
        """Target ids up to END, as their names."""
        ids = list(symbols)
        ids = ids[: ids.index(END)] if END in ids else ids
        return [self.task.target_vocabulary[i] for i in ids if i >= 0]

    def _ids(self, text: str) -> Tensor:
        if self.task.inputs != "tokens":
            raise DataError(f"the model reads {self.task.input_size} features a step and not text")
        tokens = self.data.tokenize(text)
        if not tokens:
            raise DataError(f"the text {text!r} holds no token: give at least one word")
        index = self.task.token_ids()
        if not any(token in index for token in tokens):
            near = nearest(tokens[0], index)
            hint = f"; the nearest to {tokens[0]!r} is {near!r}" if near else ""
            raise DataError(f"none of the tokens of {text!r} occurs in training{hint}")
        if len(tokens) > self.longest:
            what = "the text has %d tokens, the longest in training %d: only the first %d are read"
            log.warning(what, len(tokens), self.longest, self.longest)
        unknown = index.get("<unk>", 0)
        return torch.tensor([index.get(token, unknown) for token in tokens[: self.longest]])

    def _features(self, features: Sequence[Sequence[float]] | Tensor) -> Tensor:
        values = torch.as_tensor(features, dtype=torch.float32)
        size = self.task.input_size
        if self.task.inputs != "features" or values.dim() != 2 or values.shape[1] != size or not len(values):
            wanted = "a text" if self.task.inputs == "tokens" else f"features of shape (steps, {size})"
            raise DataError(f"the model reads {wanted}; given: a tensor of shape {tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise DataError("the features hold NaN or infinity: mend them")
        if len(values) > self.longest:
            log.warning("the sequence has %d steps, the longest in training %d", len(values), self.longest)
        return values


def load(run: str | Path, root: str | Path | None = None) -> Trained:
    """A run's model at its best, with vocabulary and preprocessing.

    Args:
        run: its id, or the directory of its record.
        root: where ids are looked for; default: the environment variable RUNS_DIR, else `runs`.

    Raises:
        NoRuns: there is no such run; the message names the nearest.
        LoadError: it has no usable weights, or they are of another version.
        DataError: its data are no longer at hand.
    """
    directory = find_run(root or os.environ.get("RUNS_DIR", "runs"), str(run))
    record = read_run(directory)
    if not (directory / "config.yaml").exists():
        raise LoadError(f"{directory} has no config.yaml, which says how its model is built")
    saved = OmegaConf.to_container(OmegaConf.load(directory / "config.yaml"))
    cfg = OmegaConf.create(current_targets(saved))
    assert isinstance(cfg, DictConfig)
    if "baseline" in cfg.model:
        raise LoadError(f"{directory.name} is a baseline without a network: there are no weights to load")
    weights, then = _weights(directory, str(record.get("status")))
    try:
        data = _data(directory, cfg, then)
        model = build_module(cfg, data).model
        model.load_state_dict(weights)
    except (DataError, LoadError):
        raise
    except Exception as error:  # whatever an older config or an older layer makes Hydra and torch raise
        raise LoadError(_other_version(directory, record, error)) from error
    model.requires_grad_(False)
    return Trained(directory, cfg, model.eval(), data)


def _weights(directory: Path, status: str) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Weights by name, and the identity of the data that they were trained on."""
    path = weights_of(directory)
    if path is None:
        raise LoadError(f"{directory.name} ({status}) has no checkpoint: run it to its end first")
    try:
        saved = read_checkpoint(path)
        state: dict[str, Tensor] = saved["state_dict"]
    except Exception as error:  # whatever a torn file makes torch, zipfile or pickle raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LoadError(f"{path} is damaged or no checkpoint ({reason}): run it again, force=true") from error
    prefix = "model."
    weights = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    return weights, saved.get("data")


def _other_version(directory: Path, record: dict[str, Any], error: Exception) -> str:
    then, now = (record.get("versions") or {}).get("gatescope", "unknown"), versions().get("gatescope")
    commit = str((record.get("git") or {}).get("commit") or "unknown")[:10]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = lines[1] if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else lines[0]
    return (
        f"{directory.name} does not fit this version ({detail}): it was made by gatescope {then}, commit "
        f"{commit}, this is {now}; check that commit out, or run it again"
    )


def _data(directory: Path, cfg: DictConfig, then: dict[str, Any] | None) -> SequenceData:
    """The run's data, if they are those of its training: `then` tells, of its checkpoint."""
    try:
        data = load_data(cfg)
    except DataError as error:
        sources = {key: Path(str(OmegaConf.select(cfg, key))) for key in (then or {}).get("sources", {})}
        moved = [key for key, path in sources.items() if not path.expanduser().exists()]
        if not moved:
            raise
        config = directory / "config.yaml"
        raise DataError(
            f"{error}; if it was moved, write its new place as {moved[0]} into {config}"
        ) from error
    if then is None:
        raise LoadError(
            f"{directory.name} is of an older version, which did not keep what tells its data from others: "
            "run it again"
        )
    changed = data.changes(then)
    if changed:
        raise LoadError(
            f"the data of {directory.name} are not those of its training ({'; '.join(changed)}): bring the "
            "data of that time back, or give its command again, which trains on the data of now"
        )
    return data
