"""Start a run with the weights of another: `from=RUN`, and parts that are not trained: `freeze=[embedding]`.

Recurrent stack, attention and decoder are copied. The embedding is copied row by row: a word that RUN does
not know gets a new row, and of texts every word of RUN stays known. The head is copied if the labels are the
same, else it is new. The optimizer and its schedule start anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from gatescope.analysis.record_files import NoRuns
from gatescope.config import ConfigError
from gatescope.data.datamodule import SequenceData
from gatescope.loading import load
from gatescope.models.encoder import SequenceModel
from gatescope.opening import NotTrusted, targets
from gatescope.sequences import TaskSpec
from gatescope.trained import LoadError, Trained

log = logging.getLogger(__name__)

SECTIONS = ("model", "attention", "decoder", "front")
"""Sections of a config that define the shapes of the weights."""
ANY_VALUE = frozenset(
    {"dropout", "embedding_std", "name", "kernel", "initialisation", "chrono", "_partial_", "beam"}
)
"""Keys of these sections that may differ from those of the other run."""
HEAD = "head."
SCALE = (".mean", ".deviation")
"""Ends of the names of the scale of a regression, which is that of the new data."""
TARGET_ROWS = ("decoder.embedding.weight", "decoder.output.weight", "decoder.output.bias")
"""Weights of a decoder with a row for each target symbol; the head of CTC has them, too."""
NGRAM = "ngram"
"""Name of the language model of CTC, which is counted in the new data."""
SOURCE_ROWS = "embedding.weight"
"""Weights with a row for each token."""


def source_run(cfg: Mapping[str, Any]) -> Trained | None:
    """Return the run that a config starts from; None if it starts anew.

    Raises:
        ConfigError: There is no such run, or it has no weights.
    """
    if (name := cfg.get("from")) is None:
        return None
    try:
        named = {path for section in SECTIONS for _, path in targets(cfg.get(section), section)}
        named |= {path for _, path in targets(cfg["data"], "data")}
        return load(str(name), cfg.get("root"), named=named)
    except NotTrusted as error:
        hint = "or give the same part to this command"
        raise ConfigError([f"from={name}: {str(error).partition('; ')[0]}; {hint}"]) from error
    except (NoRuns, LoadError) as error:
        raise ConfigError([f"from={name}: {error}"]) from error


def keep_vocabulary(data: SequenceData, source: Trained) -> None:
    """Let texts be read as the other run reads them, with every word that it knows; before `setup`."""
    encoding: Any = getattr(data, "encoding", None)
    if hasattr(encoding, "extending") and source.task.vocabulary and source.task.tokenizer:
        data.encoding = encoding.extending(source.task)  # type: ignore[attr-defined]


def start_from(model: SequenceModel, source: Trained, frozen: Sequence[str] = ()) -> None:
    """Copy the weights of another run, and say in a line each what is new.

    Args:
        model: Model that receives the weights.
        source: The other run.
        frozen: Parts that will not be trained; a warning says which of them are new.

    Raises:
        ConfigError: The data have other inputs than those of the run, or the weights have other shapes.
    """
    old, new, name = source.task, model.task, source.directory.name
    if new.inputs != old.inputs or (not old.vocabulary and new.input_size != old.input_size):
        read = f"it reads {_inputs(old)}, and these data have {_inputs(new)}"
        raise ConfigError([f"from={name}: {read}: choose other data"])
    weights, own = source.model.state_dict(), model.state_dict()
    head = {_last(key): value for key, value in weights.items() if key.startswith(HEAD)}
    same_head = _head(new) == _head(old)
    copied = {}
    for key, value in own.items():
        before = weights.get(key)
        if key == NGRAM:
            copied[key] = value
        elif key.startswith(HEAD) and new.kind == "transduction":
            copied[key] = _rows(value, head[_last(key)], new.target_vocabulary, old.target_vocabulary)
        elif key.startswith(HEAD):
            copied[key] = head[_last(key)] if same_head and not key.endswith(SCALE) else value
        elif key == SOURCE_ROWS and old.vocabulary:
            copied[key] = _rows(value, before, new.vocabulary, old.vocabulary)
        elif key in TARGET_ROWS:
            copied[key] = _rows(value, before, new.target_vocabulary, old.target_vocabulary)
        else:
            copied[key] = before
    try:
        model.load_state_dict(copied)
    except (RuntimeError, TypeError) as error:
        lines = str(error).splitlines()
        raise ConfigError([f"from={name}: its weights do not fit ({lines[-1].strip()})"]) from error
    for line in _what_is_new(old, new, same_head):
        log.info("from %s: %s", name, line)
    rows_are_new = bool(set(new.vocabulary) - set(old.vocabulary))
    for part, is_new in (("embedding", rows_are_new), ("head", not same_head)):
        if is_new and part in frozen:
            log.warning("freeze=[%s]: what is new in it stays as it was drawn at random", part)


def freeze(model: SequenceModel, parts: Sequence[str]) -> None:
    """Exclude parts of a model from training.

    Args:
        model: The model.
        parts: Names of its modules, such as embedding, stack, stack.layers.layer0, attention or head.

    Raises:
        ConfigError: It has no such part, or the part has no parameters.
    """
    for name in parts:
        try:
            module = model.get_submodule(name) if name else None
        except AttributeError:
            module = None
        parameters = [] if module is None else list(module.parameters())
        if not parameters:
            known = [part for part, child in model.named_children() if any(True for _ in child.parameters())]
            raise ConfigError([f"freeze={name}: no part with parameters; Allowed: {', '.join(known)}"])
        for parameter in parameters:
            parameter.requires_grad_(False)
        log.info("frozen: %s, %s parameters", name, f"{sum(p.numel() for p in parameters):,}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError([f"freeze=[{','.join(parts)}]: nothing is left to train"])


def check_architecture(cfg: DictConfig) -> None:
    """Raise if the sections of a config that define shapes differ from those of the run it starts from.

    Raises:
        ConfigError: They do, or there is no such run; the message has the options that agree.
    """
    if (source := source_run(cfg)) is None:
        return
    there, here = (_leaves(one) for one in (source.config, cfg))
    different = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    if not different:
        return
    options = " ".join(f"{key}={_value(there.get(key))}" for key in different)
    raise ConfigError([f"from={source.directory.name}: its architecture is another one: give {options}"])


def _leaves(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that define shapes, by dotted key; defaults that are none are left out."""

    def walk(node: Any, key: str) -> Iterator[tuple[str, Any]]:
        if isinstance(node, Mapping):
            for name, value in node.items():
                yield from walk(value, f"{key}.{name}")
        elif node is not None and key.rpartition(".")[2] not in ANY_VALUE:
            yield key, node

    plain: Any = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
    return {k: v for section in SECTIONS for k, v in walk(plain.get(section) or {}, section)}


def _last(key: str) -> str:
    """Return the last part of a dotted key: dropout before a head changes the others."""
    return key.rpartition(".")[2]


def _head(task: TaskSpec) -> tuple[object, ...]:
    """Return what two tasks with the same head have in common."""
    return task.kind, task.multilabel, task.labels, task.output_size, task.target_scale is None


def _value(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _inputs(task: TaskSpec) -> str:
    if task.inputs == "features":
        return f"{task.input_size} features per step"
    return "texts" if task.vocabulary else f"{task.input_size} token ids"


def _rows(own: Tensor, before: Tensor | None, names: Sequence[str], known: Sequence[str]) -> Tensor:
    """Return a table with the rows of another one for the names that both have."""
    if before is None or own.shape[1:] != before.shape[1:]:
        return own if before is None else before  # the latter does not fit, which is reported
    index = {name: i for i, name in enumerate(known)}
    pairs = [(i, index[name]) for i, name in enumerate(names) if name in index]
    rows = own.clone()
    here, there = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    rows[here] = before.to(own)[there]
    return rows


def _what_is_new(old: TaskSpec, new: TaskSpec, same_head: bool) -> Iterator[str]:
    """Yield a line each on tokenizer, vocabulary and head, where they differ."""
    now, before = (task.tokenizer.get("name") for task in (new, old))
    if now != before:
        yield f"texts are divided into tokens by {now} and no longer by {before}"
    for what, names, known in (
        ("words", new.vocabulary, old.vocabulary),
        ("target symbols", new.target_vocabulary, old.target_vocabulary),
    ):
        if set(names) != set(known):
            added, kept = len(set(names) - set(known)), len(set(names) & set(known))
            yield f"{added} new {what} get new rows in the embedding, {kept} of {len(known)} are kept"
    if not same_head and new.kind != "transduction":
        yield f"a new head for {_answers(new)} instead of {_answers(old)}"


def _answers(task: TaskSpec) -> str:
    return ", ".join(task.labels) if task.labels else f"{task.kind} ({task.output_size} values)"
