"""What one program of a kernel takes, and which layers fit on the chip."""

from __future__ import annotations

from typing import NamedTuple

from gatescope.cells.kernels.weights import FORMS, Kind

KINDS: tuple[Kind, ...] = ("tanh", "relu", "gru", "lstm", "peephole")
"""Architectures that have a kernel. The layers without recurrent weights run on `scan` instead."""
FASTER: tuple[Kind, ...] = ("gru", "peephole")
"""Those that `kernel=auto` trains on their kernel."""
REGISTER_BYTES = 256 * 1024
"""Bytes of registers of a multiprocessor. An LSTM of 128 units fills them, and a few values spill."""
REGISTERS_PER_THREAD = 255
SMALLEST = 16
"""Least size of each side of a product on the tensor cores."""
LARGE_BATCH, MANY_UNITS = 264, 64
"""Above both, under autocast, tensor cores are faster: two sequences for each multiprocessor of an H100."""


class Plan(NamedTuple):
    """Compile-time arguments of a kernel.

    Attributes:
        rows: sequences per program.
        units: H, rounded up to a power of two.
        dot: whether products run on the tensor cores, in the type of autocast.
        warps: of a program.
    """

    rows: int
    units: int
    dot: bool
    warps: int


def plan(batch: int, hidden: int, autocast: bool) -> Plan:
    """Return what a program takes.

    Without tensor cores it takes one sequence, so that a batch is spread over the whole chip.

    Args:
        batch: B.
        hidden: H.
        autocast: whether products may have 16 bits.
    """
    units = _units(hidden)
    dot = autocast and batch > LARGE_BATCH and hidden > MANY_UNITS
    return Plan(SMALLEST if dot else 1, units, dot, 8 if units > MANY_UNITS else 4)


def fits(kind: Kind, hidden: int, bytes_per_weight: int) -> bool:
    """Return whether there is a kernel, and the recurrent weights fit into a multiprocessor's registers."""
    if kind not in KINDS:
        return False
    units = _units(hidden)
    return FORMS[kind].chunks * units * units * bytes_per_weight <= REGISTER_BYTES


def is_faster(kind: Kind, hidden: int, bytes_per_weight: int) -> bool:
    """Return whether training on the kernel is faster than on torch's.

    Measured on an H100 (`native over torch` of `benchmarks/gpu_recurrence.py`): a GRU of 64 or 128 units
    takes 0.3 to 0.5 of cuDNN's time over long sequences or large batches, and about the same time in short
    passes, which wait for the processor. cuDNN is faster for an LSTM and a plain RNN.
    """
    return kind in FASTER and fits(kind, hidden, bytes_per_weight)


def _units(hidden: int) -> int:
    return max(SMALLEST, 1 << (hidden - 1).bit_length())
