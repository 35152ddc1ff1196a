"""From piano rolls to next-step prediction (Boulanger-Lewandowski et al. 2012; Chung et al. 2014).

The keys of frame t are the input, those of frame t + 1 the target; the first frame is not predicted. The
negative log-likelihood treats keys as independent: it is summed over the 88 keys and averaged over all frames
of a split, in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gatescope.data.examples import Examples, Splits
from gatescope.sequences import TaskSpec

KEYS, LOWEST = 88, 21
"""Number of keys of a piano, and the MIDI pitch of the lowest."""


def next_frame_splits(
    train: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    notes: dict[str, Any],
) -> Splits:
    """Return the prediction of the next frame from piano rolls (T_i, 88) of zeros and ones, T_i ≥ 2.

    Args:
        train: rolls of the train split.
        validation: rolls of the validation split.
        test: rolls of the test split.
        notes: facts for the record.

    Returns:
        Splits of sequences with T_i - 1 time steps.
    """
    task = TaskSpec(
        kind="next_step",
        inputs="features",
        input_size=KEYS,
        output_size=KEYS,
        metric="nll",
        direction="min",
        labels=tuple(str(LOWEST + key) for key in range(KEYS)),
        notes=notes,
        multilabel=True,
        causal=True,
    )
    return Splits(_examples(train), _examples(validation), _examples(test), task)


def _examples(rolls: Sequence[np.ndarray]) -> Examples:
    frames = [torch.from_numpy(roll.astype(np.float32)) for roll in rolls]
    return Examples([x[:-1] for x in frames], [x[1:] for x in frames])
