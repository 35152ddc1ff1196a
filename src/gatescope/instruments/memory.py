"""What the last state still knows of earlier inputs: linear retention by lag (Jaeger 2001)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from gatescope.cells.tensors import reverse_within
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.measurements import Curve, Measurements, Undefined, scalar
from gatescope.instruments.probe import Probe, undisturbed

FEWEST = 12
"""Sequences that reach a lag, below which nothing worth reading is left to hold out."""
KINDS = ("", "_raw", "_control")
"""Suffixes of a reading's name: above the control, as found, and of the control itself."""
PENALTIES = np.logspace(-8, 2, 6)


class Retention(ProbeInstrument):
    """Ridge regressions from h_T, and from c_T apart, to the model's input at T - k (INSTRUMENTS.md §6).

    `memory/<layer>/retention_h_raw` (and `_c_raw`) by lag k: squared correlation on held-out sequences, a
    mean over features that vary; for tokens the accuracy of a ridge classifier. `…_control`: the same with
    targets shuffled among sequences, the floor that chance gives. `retention_h`: raw minus control, 0 on
    average where nothing is known (and below 0 as often as above). `memory/<layer>/capacity_h`, `…_raw` and
    `…_control`: likewise, squared correlations summed over lags and features; raw is at most H for a linear
    network with independent inputs.

    Args:
        lags: 0 … lags - 1 are read.
        held_out: share of sequences scored.
        seed: of the split and of the control.
    """

    def __init__(
        self,
        lags: Annotated[int, Field(ge=1)] = 32,
        held_out: Annotated[float, Field(gt=0, lt=1)] = 0.33,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.lags, self.held_out, self.seed = lags, held_out, seed

    @torch.no_grad()
    def read(self, probe: Probe) -> Measurements:
        if not probe.layers:
            return {"memory": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        lengths = probe.batch.lengths
        inputs = probe.batch.inputs
        values = inputs[..., None] if probe.task.inputs == "tokens" else inputs
        backwards = reverse_within(values, lengths)
        # Many small solutions: more threads than one cost up to seven times their time.
        with undisturbed(probe.model), threadpool_limits(1):
            for name, layer in probe.layers.items():
                # From the end of the layer's own time: lag k is index k of the reversed sequence.
                seen = backwards if not layer.backward else values
                final = layer.cell.final(layer.x, layer.states)._asdict()
                for part, state in final.items():
                    if state is not None:
                        measurements |= self._state(
                            name, part, state.cpu().numpy(), seen.cpu().numpy(), probe
                        )
        return measurements

    def _state(self, name: str, part: str, state: np.ndarray, seen: np.ndarray, probe: Probe) -> Measurements:
        retention, capacity = f"memory/{name}/retention_{part}", f"memory/{name}/capacity_{part}"
        names = [f"{retention}{kind}" for kind in KINDS]
        if not np.isfinite(state).all():
            return {name: Undefined("the state is not finite") for name in names}
        tokens = probe.task.inputs == "tokens"
        score = token_accuracy if tokens else squared_correlations
        lengths = probe.batch.lengths.cpu().numpy()
        scores = self._by_lag(score, state, seen, lengths)
        if not scores:
            why = f"no input varies among the {FEWEST} or more sequences that a held-out score needs"
            return {name: Undefined(why) for name in names}
        lags = [float(lag) for lag in scores]
        label = "held-out accuracy" if tokens else "held-out squared correlation"
        labels = [f"{label}, above control", label, label]
        measurements: Measurements = {}
        for i, kind in enumerate(KINDS):
            means = [float(_kinds(*found)[i].mean()) for found in scores.values()]
            measurements[f"{retention}{kind}"] = Curve(lags, means, "lag (steps)", labels[i])
            if not tokens:
                total = sum(float(_kinds(*found)[i].sum()) for found in scores.values())
                measurements[f"{capacity}{kind}"] = scalar(total)
        return measurements

    def _by_lag(
        self, score: Score, state: np.ndarray, seen: np.ndarray, lengths: np.ndarray
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Score and control of every lag that enough sequences reach and at which an input varies."""
        generator = np.random.default_rng(self.seed)
        scores = {}
        for lag in range(min(self.lags, seen.shape[1])):
            rows = generator.permutation(np.flatnonzero(lengths > lag))
            if len(rows) < FEWEST:
                break
            cut = max(2, round(self.held_out * len(rows)))
            test, train = rows[:cut], rows[cut:]
            target = seen[:, lag]
            other = generator.permutation(rows)
            found = score(state[train], target[train], state[test], target[test])
            control = score(state[train], target[other[cut:]], state[test], target[other[:cut]])
            both = np.isfinite(found) & np.isfinite(control)
            if both.any():
                scores[lag] = (found[both], control[both])
        return scores


def _kinds(raw: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a lag in the order of `KINDS`."""
    return raw - control, raw, control


Score = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(train states, train targets, test states, test targets) -> one score a feature, NaN if it never varies."""


def squared_correlations(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> np.ndarray:
    """(N, H), (N, F) -> (F,) squared correlation of prediction and truth, NaN for a constant feature."""
    varies = (y.std(0) > 1e-9) & (y_test.std(0) > 1e-9)
    scores = np.full(y.shape[1], np.nan)
    if not varies.any():
        return scores
    y, y_test = y[:, varies].astype(np.float64), y_test[:, varies].astype(np.float64)
    model = RidgeCV(alphas=PENALTIES).fit(x.astype(np.float64), y)
    guess = model.predict(x_test.astype(np.float64)).reshape(y_test.shape)
    a, b = guess - guess.mean(0), y_test - y_test.mean(0)
    product = (a * a).sum(0) * (b * b).sum(0)
    # A constant prediction knows nothing of its target.
    scores[varies] = np.where(product > 0, (a * b).sum(0) ** 2 / np.where(product > 0, product, 1), 0.0)
    return scores


def token_accuracy(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> np.ndarray:
    """(N, H), (N, 1) ids -> (1,) accuracy of scikit-learn's RidgeClassifier, in a tenth of its time."""
    labels, index = np.unique(y[:, 0], return_inverse=True)
    if len(labels) < 2:
        return np.array([np.nan])
    sides = np.where(index[:, None] == np.arange(len(labels)), 1.0, -1.0)
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    weights = np.linalg.solve(centred.T @ centred + np.eye(x.shape[1]), centred.T @ (sides - sides.mean(0)))
    scores = (x_test - x.mean(0, dtype=np.float64)) @ weights + sides.mean(0)
    return np.array([(labels[scores.argmax(1)] == y_test[:, 0]).mean()])
