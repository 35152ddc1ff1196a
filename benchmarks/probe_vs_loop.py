"""Time of the probe, against the same measurements by a Python loop and autograd."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks import loop
from benchmarks.result import Result, Target
from benchmarks.setting import CELLS, Size, loss, make
from benchmarks.timing import Way, interleaved, ratio
from gatescope.instruments.gates import GateStatistics
from gatescope.instruments.gradient_flow import GradientFlow
from gatescope.instruments.measurements import Measurements
from gatescope.instruments.probe import Probe, probe_model
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch

QUESTION = (
    "seconds of the loop with autograd over seconds of the probe. traces: states, gates and ∂L/∂state of "
    "every layer; readings: traces, and the statistics and curves of the default instruments from them; "
    "careful: against the fastest form of the loop"
)


def traces(model: Encoder, batch: Batch) -> Probe:
    """Return states, gates and ∂L/∂state of every layer."""
    probe = probe_model(model, batch, loss)
    for name in probe.layers:
        probe.gates[name], probe.adjoints[name].h, probe.adjoints[name].c
    return probe


def measurements(model: Encoder, batch: Batch, self_test: bool = False) -> Measurements:
    """Return the measurements of the default instruments.

    The self-test compares the adjoint with the gradients of autograd. The loop computes the latter and needs
    no such test, so that it is timed separately.
    """
    probe = probe_model(model, batch, loss)
    return GateStatistics().read(probe) | GradientFlow(self_test=self_test).read(probe)


def measure(rounds: int = 9, size: Size | None = None, cells: tuple[str, ...] = tuple(CELLS)) -> Result:
    """Run the benchmark."""
    size = size or Size()
    target = Target(at_least=1.5)
    targets = {"traces": target, "readings": target}
    result = Result("probe_vs_loop", QUESTION, {**asdict(size), "rounds": rounds}, targets)
    for cell in cells:
        seconds = interleaved(ways(cell, size), rounds)
        for what in ("traces", "readings"):
            result.add(cell, what, ratio(seconds[f"{what}, usual loop"], seconds[what]))
            result.add(cell, f"{what}, careful", ratio(seconds[f"{what}, careful loop"], seconds[what]))
        tested = ratio(seconds["readings, usual loop"], seconds["readings and self-test"])
        result.add(cell, "readings, our self-test on", tested)
    return result


def ways(cell: str, size: Size) -> dict[str, Way]:
    """Return the timed functions.

    The loop has a model of its own with the same weights, because its careful form freezes them.
    """
    model, batch = make(cell, size)
    loop_model, _ = make(cell, size)
    return {
        "traces": lambda: traces(model, batch),
        "traces, usual loop": lambda: loop.probe_by_loop(cell, loop_model, batch, loss),
        "traces, careful loop": lambda: loop.probe_by_loop(cell, loop_model, batch, loss, "careful"),
        "readings": lambda: measurements(model, batch),
        "readings, usual loop": lambda: loop.read(cell, loop_model, batch, loss),
        "readings, careful loop": lambda: loop.read(cell, loop_model, batch, loss, "careful"),
        "readings and self-test": lambda: measurements(model, batch, self_test=True),
    }
