"""The names of things in reports: variants, conditions, metrics, gates and layers in words.

Records, CSV columns and commands keep the raw names (`gru-additive`, `lag=100`, `test/macro_f1`); pages,
figures, tables and findings show these.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from gatescope.analysis import style

METRICS = {
    "accuracy": "accuracy",
    "bleu": "BLEU (%)",
    "bpc": "bits per character",
    "brier": "Brier score",
    "character_error_rate": "character error rate",
    "chrf": "chrF (%)",
    "exact_match": "exact match",
    "loss": "loss (nats)",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "nll": "negative log-likelihood (nats)",
    "phoneme_error_rate": "phoneme error rate",
    "scaled_mse": "scaled mean squared error",
    "seconds_per_epoch": "seconds per epoch",
    "solved": "share solved",
    "span_f1": "span F1",
    "subset_accuracy": "subset accuracy",
    "word_error_rate": "word error rate",
}
"""Metrics in words, by the last part of their names."""

CONDITIONS = {
    "attention": "{} attention",
    "batch_size": "batch size {}",
    "bidirectional": "bidirectional {}",
    "config": "configuration {}",
    "data": "{}",
    "data.seed": "data seed {}",
    "depth": "{} layers",
    "dropout": "dropout {}",
    "fast_dev_run": "trial run of {} batches",
    "gradient_clip_val": "gradient clipping at {}",
    "hidden_size": "{} hidden units",
    "label_smoothing": "label smoothing {}",
    "lag": "lag {} steps",
    "length": "length {} steps",
    "lr": "learning rate {}",
    "max_epochs": "{} epochs",
    "max_steps": "{} updates",
    "model": "{}",
    "num_layers": "{} layers",
    "optimizer": "{}",
    "parameters": "{} parameters",
    "scheduler": "schedule {}",
    "seed": "seed {}",
    "train": "{} training examples",
    "weight_decay": "weight decay {}",
}
"""Conditions in words, by the short name of their key; {} is the value. Other keys: "key value"."""

PLACES = {
    "": ("under", "conditions"),
    "data": ("on", "datasets"),
    "dropout": ("at", "dropout rates"),
    "hidden_size": ("with", "sizes"),
    "lag": ("at", "lags"),
    "length": ("at", "lengths"),
    "lr": ("at", "learning rates"),
    "train": ("with", "sizes of the training set"),
}
"""Preposition and plural for conditions that differ in one key, by its short name; "": in any other."""

GATES = {
    "candidate": "candidate",
    "forget": "forget gate",
    "input": "input gate",
    "keep": "share kept",
    "output": "output gate",
    "recurrence": "recurrence gate",
    "reset": "reset gate",
    "state": "hidden state",
    "update": "update gate",
}
"""Gates in words."""

COLUMNS = {
    "chance": "by chance",
    "dead": "seeds dead",
    "exploded": "seeds exploded",
    "front_parameters": "on the front of parameters",
    "front_seconds": "on the front of seconds",
    "high": "upper bound",
    "low": "lower bound",
    "quantile_10": "10 % quantile",
    "quantile_90": "90 % quantile",
    "seconds": "training time (s)",
    "seconds_high": "training time, upper bound",
    "seconds_low": "training time, lower bound",
    "superiority": "P(A > B)",
}
"""Columns of numbers in words; others: without underscores."""


def variant(name: str) -> str:
    """Return the name of a variant as in "GRU, additive attention"."""
    return style.style_of(name).label.replace(r"\$", "$")


def prose(name: str) -> str:
    """Return the name of a variant in a sentence: "GRU with additive attention"."""
    return variant(name).replace(", ", " with ", 1)


def metric(name: str) -> str:
    """Return the name of a metric in words: "test macro F1" for "test/macro_f1"."""
    *path, last = str(name).removeprefix("best/").split("/")
    return " ".join([*(part.replace("_", " ") for part in path), METRICS.get(last, last.replace("_", " "))])


def condition(text: str) -> str:
    """Return conditions in words: "tweets, lag 100 steps" for "data=tweets, lag=100"."""
    return ", ".join(_condition(part) for part in text.split(", ")) if text else ""


def chosen(text: str) -> str:
    """Return a selected value in words; "lr=0.01 against lr=0.1" for two of them."""
    return " against ".join(condition(part) for part in text.split(" against "))


def _condition(part: str) -> str:
    key, sign, value = part.partition("=")
    if not sign:
        return part
    if key == "data":
        value = value.replace("_", " ")
    if value in ("true", "false"):
        return f"{'' if value == 'true' else 'not '}{_plain(key)}"
    return CONDITIONS.get(key, f"{_plain(key)} {{}}").format(value)


def place(variant_name: str, condition_text: str) -> str:
    """Return a variant with its conditions: "GRU, lag 100 steps"."""
    return ", ".join(filter(None, [variant(variant_name), condition(condition_text)]))


def at(text: str) -> str:
    """Return a condition with its preposition: "on tweets", "with learning rate 0.03"."""
    keys = [part.partition("=")[0] for part in text.split(", ")]
    preposition = PLACES.get(keys[0], ("with", ""))[0] if text else ""
    return f"{preposition} {condition(text)}".strip()


def under(conditions: Iterable[str], count: str = "") -> str:
    """Return where something holds: "on 2 of 13 datasets", "with both learning rates".

    Args:
        conditions: All conditions of the study.
        count: How many of them, such as "2 of 13"; default: all, which are "both" or "all 13".
    """
    every = list(conditions)
    if count in ("", f"{len(every)} of {len(every)}"):
        count = "both" if len(every) == 2 else f"all {len(every)}"
    keys = {part.partition("=")[0] for one in every for part in one.split(", ")}
    preposition, noun = PLACES.get(next(iter(keys)), PLACES[""]) if len(keys) == 1 else PLACES[""]
    return f"{preposition} {count} {noun}"


def key(name: str) -> str:
    """Return a key of the config in words: "learning rate" for "optimizer.lr"."""
    short = name.rpartition(".")[2]
    return CONDITIONS[short].replace("{}", "").strip() if short in CONDITIONS else _plain(short)


def gate(name: str) -> str:
    """Return the name of a gate in words."""
    return GATES.get(name, name.replace("_", " "))


def layer(name: str) -> str:
    """Return the name of a layer as readers count: "layer 1" for "layer0"."""
    return re.sub(r"layer(\d+)", lambda found: f"layer {int(found[1]) + 1}", name).replace("_", " ")


def column(name: str) -> str:
    """Return the heading of a column of numbers."""
    return COLUMNS.get(name, _plain(name))


def group(variants: Iterable[str], every: Collection[str]) -> list[str]:
    """Name variants, with the name of the cell alone where all variants of that cell are among them.

    Args:
        variants: The variants.
        every: All variants of the study.
    """
    chosen = style.order(variants)
    by_cell: dict[str, list[str]] = {}
    for name in chosen:
        by_cell.setdefault(style.split(name)[0], []).append(name)
    names = []
    for cell, own in by_cell.items():
        whole = {name for name in every if style.split(name)[0] == cell}
        names += [style.CELLS.get(cell, (cell,))[0]] if set(own) == whole else [prose(one) for one in own]
    return names


def capital(text: str) -> str:
    """Return a text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def _plain(name: str) -> str:
    return re.sub(r"[/_.]+", " ", name)
