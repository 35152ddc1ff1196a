"""A fingerprint of loaded data, to decide whether they are the data that weights were trained on.

Integers (token ids, classes, lengths) and words are hashed by sha256. Real values are represented by their
norm and a few fixed projections, compared with a tolerance: standardised or computed features differ in their
last bits between machines, and a run that is resumed on another machine must not be refused for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from gatescope.data.examples import Examples, Splits

SPLITS = ("train", "validation", "test")
WORDS = ("vocabulary", "target_vocabulary", "labels")
PROJECTIONS = 4
PERIOD = 4093
"""Number of elements after which the weights of a projection repeat, except for a factor per period; a prime,
so that the period does not coincide with a period of the data."""
TOLERANCE = 1e-5
"""Tolerance of projections, relative to the norm. Rounding changes them by 1e-7 of it; changing one of a
million standardised values by 0.1 changes them by 1e-4."""


def fingerprint(splits: Splits) -> dict[str, Any]:
    """Return counts and digests of the splits, of the words that ids stand for and of pretrained vectors.

    The values are strings and numbers, so that JSON and a checkpoint read with `weights_only` can hold them.
    """
    task = splits.task
    result: dict[str, Any] = {name: _of_split(getattr(splits, name)) for name in SPLITS}
    for name in WORDS:
        words: Sequence[str] = getattr(task, name)
        result[name] = {"entries": len(words), "digest": _sha256("\0".join(words).encode())}
    result["vectors"] = None if task.vectors is None else _of_tensor(task.vectors)
    return result


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each difference between two fingerprints."""
    phrases = []
    for name in SPLITS:
        if then[name]["examples"] != now[name]["examples"]:
            counts = f"{then[name]['examples']} examples then, {now[name]['examples']} now"
            phrases.append(f"{name} split: {counts}")
            continue
        parts = [part for part in ("inputs", "targets") if not _equal(then[name][part], now[name][part])]
        if parts:
            phrases.append(f"{name} split: other {' and '.join(parts)}")
    for name in WORDS:
        if then[name] != now[name]:
            before, after = then[name]["entries"], now[name]["entries"]
            counts = f"{before} entries then, {after} now" if before != after else "other entries"
            phrases.append(f"{name.replace('_', ' ')}: {counts}")
    if not _equal(then["vectors"], now["vectors"]):
        phrases.append("other pretrained vectors")
    return phrases


def _of_split(examples: Examples) -> dict[str, Any]:
    return {
        "examples": len(examples),
        "inputs": _of_sequences(examples.inputs),
        "targets": _of_sequences(examples.targets),
    }


def _of_sequences(values: Any) -> dict[str, Any]:
    """Return the fingerprint of a tensor, or of a `Ragged`."""
    if isinstance(values, Tensor):
        return _of_tensor(values)
    return _of_tensor(values.flat) | {"lengths": _sha256(np.ascontiguousarray(values.lengths, np.int64))}


def _of_tensor(values: Tensor) -> dict[str, Any]:
    content = values.detach().cpu().contiguous()
    result: dict[str, Any] = {"shape": list(content.shape), "type": str(content.dtype)}
    if content.is_floating_point():
        return result | {"projections": _projections(content.reshape(-1).numpy())}
    return result | {"digest": _sha256(content.numpy())}


def _projections(flat: np.ndarray) -> list[float]:
    """Return the norm of (M,) real values and their inner products with `PROJECTIONS` fixed vectors."""
    whole = len(flat) // PERIOD * PERIOD
    last = np.zeros((1, PERIOD), flat.dtype)
    last[0, : len(flat) - whole] = flat[whole:]
    position = np.arange(1.0, PERIOD + 1)[:, None] * np.arange(1.0, PROJECTIONS + 1)
    weights = np.sin(position * position).astype(np.float64)
    total, square, row = np.zeros(PROJECTIONS), 0.0, 0
    for part in (flat[:whole].reshape(-1, PERIOD), last):
        for start in range(0, len(part), 256):  # a few megabytes at a time in double precision
            block = part[start : start + 256].astype(np.float64)
            square += float(np.einsum("ij,ij->", block, block))
            number = np.arange(row, row + len(block))[:, None] + 1.0
            total += (np.cos(number * np.arange(1.0, PROJECTIONS + 1)) * (block @ weights)).sum(0)
            row += len(block)
    return [float(np.sqrt(square)), *total.tolist()]


def _equal(then: Any, now: Any) -> bool:
    """Return whether two fingerprints of a tensor agree, projections within their tolerance."""
    if then is None or now is None or "projections" not in then or "projections" not in now:
        return bool(then == now)
    rest = [{k: v for k, v in one.items() if k != "projections"} for one in (then, now)]
    before, after = np.array(then["projections"]), np.array(now["projections"])
    return rest[0] == rest[1] and bool(np.abs(before - after).max() <= TOLERANCE * max(before[0], after[0]))


def _sha256(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
