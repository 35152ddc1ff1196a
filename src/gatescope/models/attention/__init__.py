"""Pooling and attention over recurrent states: one vector for each sequence or decoder step.

Every class maps states (B, T, S) and lengths (B,) to a `Readout`: the context (B, S) and, for attention, the
weights (B, heads, T). Weights are exactly 0 at padding and sum to 1.
"""

from gatescope.models.attention.base import (
    Attention,
    AttentionMemory,
    Heads,
    Readout,
    last_state,
    masked_softmax,
)
from gatescope.models.attention.fixed import FrozenRandom, Uniform
from gatescope.models.attention.learned import Additive, Adversarial, Dot, General, ScaledDot
from gatescope.models.attention.pooling import Pooling

__all__ = [
    "Additive",
    "Adversarial",
    "Attention",
    "AttentionMemory",
    "Dot",
    "FrozenRandom",
    "General",
    "Heads",
    "Pooling",
    "Readout",
    "ScaledDot",
    "Uniform",
    "last_state",
    "masked_softmax",
]
