"""Our probe against the same readings by a Python loop and autograd, in time."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks import loop
from benchmarks.result import Bar, Result
from benchmarks.setting import CELLS, Size, loss, make
from benchmarks.timing import Way, interleaved, ratio
from gatescope.instruments.gates import GateStatistics
from gatescope.instruments.gradient_flow import GradientFlow
from gatescope.instruments.measurements import Measurements
from gatescope.instruments.probe import Probe, probe_model
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch

QUESTION = (
    "seconds of the loop with autograd over seconds of our probe. traces: states, gates and ∂L/∂state of "
    "every layer; readings: the statistics and curves of the default instruments, from their own traces; "
    "careful: against the best loop that the approach allows"
)


def traces(model: Encoder, batch: Batch) -> Probe:
    """States, gates and ∂L/∂state of every layer."""
    probe = probe_model(model, batch, loss)
    for name in probe.layers:
        probe.gates[name], probe.adjoints[name].h, probe.adjoints[name].c
    return probe


def measurements(model: Encoder, batch: Batch, self_test: bool = False) -> Measurements:
    """What the default instruments read. The self-test asks whether the adjoint equals autograd's gradients,
    which a loop that takes autograd's has no use for: it is timed apart."""
    probe = probe_model(model, batch, loss)
    return GateStatistics().read(probe) | GradientFlow(self_test=self_test).read(probe)


def measure(rounds: int = 9, size: Size | None = None, cells: tuple[str, ...] = tuple(CELLS)) -> Result:
    size = size or Size()
    bar = Bar(at_least=1.5)
    bars = {"traces": bar, "readings": bar}
    result = Result("probe_vs_loop", QUESTION, {**asdict(size), "rounds": rounds}, bars)
    for cell in cells:
        seconds = interleaved(ways(cell, size), rounds)
        for what in ("traces", "readings"):
            result.add(cell, what, ratio(seconds[f"{what}, usual loop"], seconds[what]))
            result.add(cell, f"{what}, careful", ratio(seconds[f"{what}, careful loop"], seconds[what]))
        tested = ratio(seconds["readings, usual loop"], seconds["readings and self-test"])
        result.add(cell, "readings, our self-test on", tested)
    return result


def ways(cell: str, size: Size) -> dict[str, Way]:
    """Two models with the same weights: the loop's careful form freezes its own."""
    model, batch = make(cell, size)
    theirs, _ = make(cell, size)
    return {
        "traces": lambda: traces(model, batch),
        "traces, usual loop": lambda: loop.look(cell, theirs, batch, loss),
        "traces, careful loop": lambda: loop.look(cell, theirs, batch, loss, "careful"),
        "readings": lambda: measurements(model, batch),
        "readings, usual loop": lambda: loop.read(cell, theirs, batch, loss),
        "readings, careful loop": lambda: loop.read(cell, theirs, batch, loss, "careful"),
        "readings and self-test": lambda: measurements(model, batch, self_test=True),
    }
