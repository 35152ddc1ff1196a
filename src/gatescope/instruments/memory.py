"""Linear retention: what can be decoded linearly from the last state about earlier inputs (Jaeger 2001).

See docs/instruments.md, "Memory".
"""

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

MIN_SEQUENCES = 12
"""Smallest number of sequences that reach a lag; with fewer, too few are held out."""
KINDS = ("", "_raw", "_control")
"""Suffixes of the names: raw minus control, the raw score, and the control."""
PENALTIES = np.logspace(-8, 2, 6)
"""Ridge penalties, of which leave-one-out cross-validation selects one."""


class Retention(ProbeInstrument):
    """Ridge regression from the last state h_T, and separately c_T, to the input x_{T−k}, by lag k.

    - `memory/<layer>/retention_h_raw` (and `retention_c_raw`): curve over lags (steps) of the squared
      correlation on held-out sequences (0 to 1), mean over the features that vary; for tokens the accuracy of
      a ridge classifier.
    - `…_control`: the same with targets permuted among sequences, the score by chance.
    - `retention_h`, `retention_c`: raw minus control; 0 on average where the state has no information (and as
      often below 0 as above).
    - `memory/<layer>/capacity_h`, `…_raw`, `…_control`: sums of the squared correlations over lags and
      features; not for tokens. The raw capacity of a linear network with independent inputs is at most H.

    Args:
        lags: number of lags, 0 … lags − 1.
        held_out: share of the sequences that scores are computed on.
        seed: seed of the split and of the control.
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
        """Measure the retention of every layer of one probe."""
        if not probe.layers:
            return {"memory": Undefined("the model has no recurrent layer")}
        measurements: Measurements = {}
        lengths, inputs = probe.batch.lengths, probe.batch.inputs
        values = inputs[..., None] if probe.task.inputs == "tokens" else inputs
        # More than one thread takes up to seven times as long for many small systems.
        with undisturbed(probe.model), threadpool_limits(1):
            for name, layer in probe.layers.items():
                # Reversed in the time order of the layer, index k is lag k.
                by_lag = reverse_within(layer.align_time(values), lengths)
                final = layer.cell.final(layer.x, layer.states)._asdict()
                for part, state in final.items():
                    if state is not None:
                        measurements |= self._state(
                            name, part, state.cpu().numpy(), by_lag.cpu().numpy(), probe
                        )
        return measurements

    def _state(
        self, name: str, part: str, state: np.ndarray, by_lag: np.ndarray, probe: Probe
    ) -> Measurements:
        """Measure one part of the last state, (B, H), against inputs by lag (B, T, F)."""
        retention, capacity = f"memory/{name}/retention_{part}", f"memory/{name}/capacity_{part}"
        names = [f"{retention}{kind}" for kind in KINDS]
        if not np.isfinite(state).all():
            return {name: Undefined("the state is not finite") for name in names}
        tokens = probe.task.inputs == "tokens"
        score = token_accuracy if tokens else squared_correlations
        lengths = probe.batch.lengths.cpu().numpy()
        scores = self._by_lag(score, state, by_lag, lengths)
        if not scores:
            why = f"no input varies among the {MIN_SEQUENCES} or more sequences that a held-out score needs"
            return {name: Undefined(why) for name in names}
        lags = [float(lag) for lag in scores]
        label = "held-out accuracy" if tokens else "held-out squared correlation"
        labels = [f"{label}, above control", label, label]
        measurements: Measurements = {}
        for i, kind in enumerate(KINDS):
            means = [float(_by_kind(*pair)[i].mean()) for pair in scores.values()]
            measurements[f"{retention}{kind}"] = Curve(lags, means, "lag (steps)", labels[i])
            if not tokens:
                total = sum(float(_by_kind(*pair)[i].sum()) for pair in scores.values())
                measurements[f"{capacity}{kind}"] = scalar(total)
        return measurements

    def _by_lag(
        self, score: Score, state: np.ndarray, by_lag: np.ndarray, lengths: np.ndarray
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return raw score and control of every lag with enough sequences and an input that varies."""
        generator = np.random.default_rng(self.seed)
        scores = {}
        for lag in range(min(self.lags, by_lag.shape[1])):
            rows = generator.permutation(np.flatnonzero(lengths > lag))
            if len(rows) < MIN_SEQUENCES:
                break
            count = max(2, round(self.held_out * len(rows)))
            test, train = rows[:count], rows[count:]
            target = by_lag[:, lag]
            other = generator.permutation(rows)
            raw = score(state[train], target[train], state[test], target[test])
            control = score(state[train], target[other[count:]], state[test], target[other[:count]])
            finite = np.isfinite(raw) & np.isfinite(control)
            if finite.any():
                scores[lag] = (raw[finite], control[finite])
        return scores


def _by_kind(raw: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores of a lag in the order of `KINDS`."""
    return raw - control, raw, control


Score = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Maps train states, train targets, test states and test targets to a score for each feature."""


def squared_correlations(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> np.ndarray:
    """Return the squared correlation of a ridge regression's prediction with the target.

    Args:
        x: (N, H), states for training.
        y: (N, F), targets for training.
        x_test: (M, H), states for testing.
        y_test: (M, F), targets for testing.

    Returns:
        (F,), 0 to 1; NaN for a feature that does not vary.
    """
    varies = (y.std(0) > 1e-9) & (y_test.std(0) > 1e-9)
    scores = np.full(y.shape[1], np.nan)
    if not varies.any():
        return scores
    y, y_test = y[:, varies].astype(np.float64), y_test[:, varies].astype(np.float64)
    model = RidgeCV(alphas=PENALTIES).fit(x.astype(np.float64), y)
    prediction = model.predict(x_test.astype(np.float64)).reshape(y_test.shape)
    a, b = prediction - prediction.mean(0), y_test - y_test.mean(0)
    product = (a * a).sum(0) * (b * b).sum(0)
    # The score of a constant prediction is 0.
    scores[varies] = np.where(product > 0, (a * b).sum(0) ** 2 / np.where(product > 0, product, 1), 0.0)
    return scores


def token_accuracy(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> np.ndarray:
    """Return the accuracy of a ridge classifier, as scikit-learn's RidgeClassifier in a tenth of the time.

    Args:
        x: (N, H), states for training.
        y: (N, 1), token ids for training.
        x_test: (M, H), states for testing.
        y_test: (M, 1), token ids for testing.

    Returns:
        (1,), 0 to 1; NaN where all tokens for training are equal.
    """
    labels, index = np.unique(y[:, 0], return_inverse=True)
    if len(labels) < 2:
        return np.array([np.nan])
    sides = np.where(index[:, None] == np.arange(len(labels)), 1.0, -1.0)
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    weights = np.linalg.solve(centred.T @ centred + np.eye(x.shape[1]), centred.T @ (sides - sides.mean(0)))
    scores = (x_test - x.mean(0, dtype=np.float64)) @ weights + sides.mean(0)
    return np.array([(labels[scores.argmax(1)] == y_test[:, 0]).mean()])
