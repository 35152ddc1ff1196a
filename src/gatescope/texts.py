"""The inputs of test examples as text, for tables of errors; loaded by the config of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from gatescope.opening import opened_config

if TYPE_CHECKING:
    import pandas as pd

    from gatescope.analysis.tables import Texts
    from gatescope.data.datamodule import SequenceData

log = logging.getLogger(__name__)


def texts_of(config: Mapping[str, Any], predictions: pd.DataFrame, trust: bool = False) -> Texts | None:
    """Return the function from example ids to texts, for the test split of a run.

    Args:
        config: the resolved config of the run.
        predictions: the recorded predictions of the test.
        trust: whether the config may name datasets outside this package.

    Returns:
        The function; None, with a warning, where the data cannot be loaded or their targets differ from those
        in `predictions`.
    """
    try:
        needed = {"data": config["data"], "seed": config.get("seed", 0)}
        opened = opened_config(needed, "the run", trust)
        data = _data(json.dumps(opened, sort_keys=True))
    except Exception as error:  # a dataset, its package or a missing file can raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("errors are shown without their texts: the data cannot be loaded (%s)", reason)
        return None
    if not _has_targets(data, predictions):
        log.warning("errors are shown without their texts: the data are not those that the run was tested on")
        return None
    return lambda ids: data.texts("test", ids)


@lru_cache(maxsize=2)
def _data(config: str) -> SequenceData:
    """Load the data of a config in JSON."""
    from omegaconf import OmegaConf

    from gatescope.run import load_data  # imports torch

    cfg = OmegaConf.create(json.loads(config))
    return load_data(cfg)


def _has_targets(data: SequenceData, predictions: pd.DataFrame) -> bool:
    """Return whether the targets of the test split equal those of the predictions."""
    ids = [int(i) for i in predictions.id]
    assert data.splits is not None
    if ids and not 0 <= min(ids) <= max(ids) < len(data.splits.test):
        return False
    if not {"target", "targets"} & set(predictions):
        return True  # a prediction at every step, or several outputs
    targets = recorded_targets(data, ids)
    if "targets" in predictions:
        return [set(json.loads(cell)) for cell in predictions.targets] == [set(one) for one in targets]
    if predictions.target.dtype.kind == "f":
        return bool(np.allclose(np.array(targets, dtype=float), predictions.target, rtol=1e-6, atol=0))
    return list(predictions.target) == targets


def recorded_targets(data: SequenceData, ids: Sequence[int]) -> list[Any]:
    """Return the targets of test examples: class names, lists of labels, values or symbols."""
    from gatescope.training.classification import class_names
    from gatescope.training.transduction import sequences

    assert data.splits is not None
    targets = [data.splits.test.targets[i] for i in ids]
    names = class_names(data.task) if data.task.kind == "classification" else []
    if data.task.multilabel and names:
        return [[name for name, flag in zip(names, t.tolist(), strict=True) if flag] for t in targets]
    if names:
        return [names[int(target)] for target in targets]
    if data.task.kind == "transduction":
        return [next(sequences(target, data.task)) for target in targets]
    return [float(target) for target in targets]
