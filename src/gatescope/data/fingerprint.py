"""What tells whether data are those that weights were trained on.

Whole numbers (token ids, classes, lengths) and words go into a sha256. Real numbers are told by a norm and a
few fixed projections, compared with a tolerance: standardised or computed features differ in their last bits
from machine to machine, and a run that goes on elsewhere must not be refused for that.
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
"""Elements after which the weights of a projection repeat, but for a factor of their own; a prime, so that
it falls on no other place of a sequence again and again."""
TOLERANCE = 1e-5
"""By which projections may differ, as a share of the norm. Rounding moves them by 1e-7 of it; another value
for one of a million standardised ones, 0.1 away, by 1e-4."""


def fingerprint(splits: Splits) -> dict[str, Any]:
    """Counts and digests of the splits, of the words that ids stand for and of pretrained vectors.

    It holds texts and numbers alone, so that JSON and a checkpoint read with `weights_only` hold it.
    """
    task = splits.task
    found: dict[str, Any] = {name: _of_split(getattr(splits, name)) for name in SPLITS}
    for name in WORDS:
        words: Sequence[str] = getattr(task, name)
        found[name] = {"entries": len(words), "digest": _sha256("\0".join(words).encode())}
    found["vectors"] = None if task.vectors is None else _of_tensor(task.vectors)
    return found


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, a phrase each; empty where nothing does."""
    told = []
    for name in SPLITS:
        if then[name]["examples"] != now[name]["examples"]:
            told.append(f"{name} split: {then[name]['examples']} examples then, {now[name]['examples']} now")
            continue
        parts = [part for part in ("inputs", "targets") if not _alike(then[name][part], now[name][part])]
        if parts:
            told.append(f"{name} split: other {' and '.join(parts)}")
    for name in WORDS:
        if then[name] != now[name]:
            before, after = then[name]["entries"], now[name]["entries"]
            counts = f"{before} entries then, {after} now" if before != after else "other entries"
            told.append(f"{name.replace('_', ' ')}: {counts}")
    if not _alike(then["vectors"], now["vectors"]):
        told.append("other pretrained vectors")
    return told


def _of_split(examples: Examples) -> dict[str, Any]:
    return {
        "examples": len(examples),
        "inputs": _of_sequences(examples.inputs),
        "targets": _of_sequences(examples.targets),
    }


def _of_sequences(values: Any) -> dict[str, Any]:
    """Of one tensor, or of sequences of unlike length."""
    if isinstance(values, Tensor):
        return _of_tensor(values)
    return _of_tensor(values.flat) | {"lengths": _sha256(np.ascontiguousarray(values.lengths, np.int64))}


def _of_tensor(values: Tensor) -> dict[str, Any]:
    content = values.detach().cpu().contiguous()
    told: dict[str, Any] = {"shape": list(content.shape), "type": str(content.dtype)}
    if content.is_floating_point():
        return told | {"projections": _projections(content.reshape(-1).numpy())}
    return told | {"digest": _sha256(content.numpy())}


def _projections(flat: np.ndarray) -> list[float]:
    """The norm of (M,) real values and their products with fixed vectors."""
    whole = len(flat) // PERIOD * PERIOD
    rows = [flat[:whole].reshape(-1, PERIOD), np.zeros((1, PERIOD), flat.dtype)]
    rows[1][0, : len(flat) - whole] = flat[whole:]
    place = np.arange(1.0, PERIOD + 1)[:, None] * np.arange(1.0, PROJECTIONS + 1)
    within = np.sin(place * place).astype(np.float64)
    total, square, row = np.zeros(PROJECTIONS), 0.0, 0
    for part in rows:
        for start in range(0, len(part), 256):  # a few megabytes at a time in double precision
            block = part[start : start + 256].astype(np.float64)
            square += float(np.einsum("ij,ij->", block, block))
            number = np.arange(row, row + len(block))[:, None] + 1.0
            total += (np.cos(number * np.arange(1.0, PROJECTIONS + 1)) * (block @ within)).sum(0)
            row += len(block)
    return [float(np.sqrt(square)), *total.tolist()]


def _alike(then: Any, now: Any) -> bool:
    """Whether two digests of a tensor agree, projections within their tolerance."""
    if then is None or now is None or "projections" not in then or "projections" not in now:
        return bool(then == now)
    rest = [{k: v for k, v in one.items() if k != "projections"} for one in (then, now)]
    before, after = np.array(then["projections"]), np.array(now["projections"])
    return rest[0] == rest[1] and bool(np.abs(before - after).max() <= TOLERANCE * max(before[0], after[0]))


def _sha256(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
