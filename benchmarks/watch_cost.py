"""Cost of `gatescope.watch` in a training step of a plain model of torch."""

from __future__ import annotations

import torch
from torch import nn

import gatescope
from benchmarks.result import Result, Target
from benchmarks.timing import Way, interleaved, ratio

QUESTION = (
    "seconds relative to one training step (forward, backward, Adam) of a model with an nn.GRU or nn.LSTM: "
    "the same step while it is recorded; recorded and read (gates, exact gradients, curves: summary); and "
    "the mean of 200 steps of which one is recorded and read"
)
EVERY = 200
READ, MEAN = "recorded and read", f"mean of {EVERY} steps"
TARGETS = {MEAN: Target(at_most=1.1)}
CASES = {
    "GRU, B 32, T 100, H 128": (nn.GRU, 1),
    "LSTM, B 32, T 100, H 128": (nn.LSTM, 1),
    "two-layer LSTM, both directions": (nn.LSTM, 2),
}


class Model(nn.Module):
    """A recurrent classifier."""

    def __init__(self, kind: type[nn.RNNBase], layers: int, inputs: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.rnn = kind(inputs, hidden, layers, batch_first=True, bidirectional=layers > 1)  # type: ignore[call-arg, arg-type]
        self.head = nn.Linear(hidden * (2 if layers > 1 else 1), 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def measure(rounds: int = 15, batch: int = 32, steps: int = 100) -> Result:
    """Run the benchmark."""
    result = Result(
        "watch_cost", QUESTION, {"rounds": rounds, "batch": batch, "steps": steps, "every": EVERY}, TARGETS
    )
    for name, (kind, layers) in CASES.items():
        seconds = interleaved(ways(kind, layers, batch, steps), rounds)
        plain = seconds.pop("training step")
        for way, spent in seconds.items():
            result.add(name, way, ratio(spent, plain))
        result.add(name, MEAN, ratio(((EVERY - 1) * plain + seconds[READ]) / EVERY, plain))
    return result


def ways(kind: type[nn.RNNBase], layers: int, batch: int, steps: int) -> dict[str, Way]:
    """Return the timed functions by name."""
    model = Model(kind, layers)
    optimiser = torch.optim.Adam(model.parameters())
    x, y = torch.randn(batch, steps, 64), torch.randint(10, (batch,))

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

    def recorded() -> gatescope.watching.scope.Scope:  # type: ignore[name-defined]
        with gatescope.watch(model) as scope:
            step()
        return scope

    return {"training step": step, "recorded": recorded, READ: lambda: recorded().summary()}
