"""What a caller of an exported model needs besides its graph: `model.json`.

kind            classification, regression or next_step
inputs          tokens or features
tokenizer       its name, and what it has learnt; empty if inputs are features
vocabulary      the token of each id; a token that is not in it is `unknown`
unknown         id of unknown tokens; null if there is none
padding         id, or value of features, that fills inputs up to the longest of a batch
longest         number of steps of the longest training sequence; longer texts are cut to it
input_scale     mean and deviation of each feature: (features - mean) / deviation is the input; or null
labels          names of the classes in the order of the values; two classes have one value, the second's
probabilities   softmax or sigmoid of the values; null if they are none
target_scale    how a regression was learnt; its values are in the unit of the targets already
"""

from __future__ import annotations

from typing import Any

from gatescope.saved_task import spec_values
from gatescope.sequences import UNKNOWN
from gatescope.trained import Trained


def describe(trained: Trained) -> dict[str, Any]:
    """Return the content of `model.json`, in values of JSON."""
    task = trained.task
    spec = spec_values(task)
    return {
        "run": trained.directory.name,
        "kind": task.kind,
        "multilabel": task.multilabel,
        "inputs": task.inputs,
        "input_size": task.input_size,
        "tokenizer": spec["tokenizer"],
        "vocabulary": spec["vocabulary"],
        "unknown": task.vocabulary.index(UNKNOWN) if UNKNOWN in task.vocabulary else None,
        "padding": task.padding_index or 0,
        "longest": trained.longest,
        "input_scale": spec["input_scale"],
        "labels": list(task.labels) or (trained.labels if task.has_classes else []),
        "probabilities": _probabilities(trained),
        "target_scale": spec["target_scale"],
    }


def _probabilities(trained: Trained) -> str | None:
    """Return the function that makes probabilities of values; None if the values are none."""
    task = trained.task
    if task.kind == "regression":
        return None
    return "sigmoid" if task.output_size == 1 or task.multilabel else "softmax"
