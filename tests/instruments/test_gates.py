import math

import numpy as np
import pytest
import torch
from scipy import stats
from small_models import Leaky, encoder, feature_batch, squared_error

from gatescope.cells.gru import GRU
from gatescope.instruments import distributions, gates
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.gates import GateStatistics
from gatescope.instruments.measurements import Heatmap, Histogram, Points, Scalar, Undefined, scalar
from gatescope.instruments.probe import probe_model
from gatescope.models.attention import Pooling
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, TaskSpec


@pytest.fixture
def lengths():
    return [9, 4, 1, 7]


@pytest.fixture
def probe(lengths):
    model = encoder(Leaky, bidirectional=True)
    return probe_model(model, feature_batch(lengths, 3), squared_error)


def test_statistics_use_valid_positions_only(probe, lengths):
    measurements = GateStatistics().read(probe)
    for layer in ("layer0", "layer0_backward"):
        values = probe.gates[layer]["update"].numpy()
        valid = np.concatenate([values[i, :n] for i, n in enumerate(lengths)])
        name = f"gates/{layer}/update"
        assert measurements[f"{name}/mean"].value == pytest.approx(valid.mean(), rel=1e-5)
        assert measurements[f"{name}/std"].value == pytest.approx(valid.std(), rel=1e-5)
        for q in (10, 50, 90):
            assert measurements[f"{name}/quantile_{q}"].value == pytest.approx(
                np.percentile(valid, q), rel=1e-5
            )
        points = measurements[f"{name}/saturation"]
        assert points.columns["right"] == pytest.approx((valid > 0.9).mean(0))
        assert points.columns["left"] == pytest.approx((valid < 0.1).mean(0))
        histogram = measurements[f"{name}/histogram"]
        assert isinstance(histogram, Histogram)
        expected, edges = np.histogram(valid, 50, (0, 1))
        assert histogram.counts == pytest.approx(expected)
        assert histogram.edges == pytest.approx(edges)
        candidate = probe.gates[layer]["candidate"][probe.mask]
        share = float((candidate.abs() > 0.9).float().mean())
        assert measurements[f"gates/{layer}/candidate/saturated"].value == pytest.approx(share)


def test_timescale_of_a_bimodal_gate_is_not_its_mean():
    # Beta(1/2, 1/2): E ln k = -2 ln 2 and E k = 1/2 (docs/instruments.md, "Measurements on gates").
    draws = torch.from_numpy(stats.beta(0.5, 0.5).ppf((np.arange(200_000) + 0.5) / 200_000))
    keep = draws[None, :, None].float()
    points = gates.timescale(keep, torch.ones(1, len(draws), dtype=torch.bool))
    assert isinstance(points, Points)
    assert points.columns["rate"] == pytest.approx([1 / (2 * math.log(2))], rel=1e-3)
    assert points.columns["mean_keep"] == pytest.approx([2.0], rel=1e-3)


def test_timescale_is_finite_for_a_constant_gate_of_zero_or_one():
    keep = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)], -1)
    points = gates.timescale(keep, torch.ones(2, 3, dtype=torch.bool))
    assert isinstance(points, Points)
    assert all(math.isfinite(v) for column in points.columns.values() for v in column)
    assert points.columns["rate"][0] < 0.02
    assert points.columns["rate"][1] > 1e6


def token_probe():
    torch.manual_seed(0)
    task = TaskSpec("regression", "tokens", 6, 1, "mse", "min", padding_index=0)
    model = Encoder(task, Leaky, Pooling, hidden_size=4, embedding_size=8, bidirectional=True)
    ids = torch.randint(1, 6, (16, 12))
    batch = Batch(ids, torch.full((16,), 12), torch.zeros(16), torch.arange(16))
    return probe_model(model, batch, squared_error)


def test_tokens_explain_all_variance_of_a_gate_of_the_token_alone():
    measurements = GateStatistics(token_share=True).read(token_probe())
    for layer in ("layer0", "layer0_backward"):
        assert measurements[f"gates/{layer}/update/token_share"].value == pytest.approx(1.0, abs=1e-5)
        assert measurements[f"gates/{layer}/update/token_share_permuted"].value < 0.2


def test_token_share_does_not_change_the_random_state():
    probe = token_probe()
    before = torch.get_rng_state()
    first = GateStatistics(token_share=True, heatmaps=1).read(probe)
    assert torch.equal(before, torch.get_rng_state())
    assert GateStatistics(token_share=True, heatmaps=1).read(probe) == first


def test_heatmap_of_a_backward_layer_is_in_input_order(probe):
    measurement = GateStatistics(heatmaps=2).read(probe)["gates/layer0_backward/keep/example1"]
    assert isinstance(measurement, Heatmap)
    own_time = probe.gates["layer0_backward"]["keep"][1, :4]
    assert torch.allclose(torch.tensor(measurement.values), own_time.flip(0).T)


def test_token_share_of_features_is_undefined(probe):
    measurement = GateStatistics(token_share=True).read(probe)["gates/layer0/update/token_share"]
    assert isinstance(measurement, Undefined)


class Plain(Leaky):
    """A cell without gates."""

    gate_names = ()

    def gates(self, x, states):
        return {}


class Rectified(Plain):
    nonlinearity = "relu"


def test_states_are_measured_for_a_cell_without_gates(lengths):
    probe = probe_model(encoder(Plain), feature_batch(lengths, 3), squared_error)
    measurements = GateStatistics().read(probe)
    states = probe.layers["layer0"].states.h[probe.mask]
    assert isinstance(measurements["gates/layer0/timescale"], Undefined)
    right = measurements["gates/layer0/state/saturation"].columns["right"]
    assert right == pytest.approx((states > 0.9).float().mean(0).tolist())
    share = (states.abs() > 0.9).float().mean()
    assert measurements["gates/layer0/state/saturated"].value == pytest.approx(float(share))


def test_dead_and_active_shares_of_a_relu_cell(lengths):
    probe = probe_model(encoder(Rectified), feature_batch(lengths, 3), squared_error)
    probe.layers["layer0"].states.h = -probe.layers["layer0"].states.h.abs()
    measurements = GateStatistics().read(probe)
    assert measurements["gates/layer0/state/dead"] == Scalar(1.0)
    assert measurements["gates/layer0/state/active"] == Scalar(0.0)


def test_one_step_of_one_example_gives_no_nan():
    probe = probe_model(encoder(Leaky), feature_batch([1], 3), squared_error)
    measurements = GateStatistics(heatmaps=1).read(probe)
    assert isinstance(measurements["gates/layer0/update/bimodality"], Undefined)
    assert isinstance(measurements["gates/layer0/state/participation_ratio"], Undefined)
    assert math.isfinite(measurements["gates/layer0/update/mean"].value)


def test_gates_that_are_not_finite_are_undefined():
    model = encoder(Leaky)
    with torch.no_grad():
        model.stack.layers["layer0"].weight_ih.fill_(math.nan)
    measurements = GateStatistics(heatmaps=1).read(
        probe_model(model, feature_batch([3, 2], 3), squared_error)
    )
    assert isinstance(measurements["gates/layer0/update/mean"], Undefined)
    assert isinstance(measurements["gates/layer0/timescale"], Undefined)
    assert isinstance(measurements["gates/layer0/keep/example0"], Undefined)


class Unequal(GRU):
    """A GRU with small update gates in even units and large ones in odd units."""

    def __init__(self, input_size, hidden_size, **options):
        super().__init__(input_size, hidden_size, **options)
        with torch.no_grad():
            bias = torch.where(torch.arange(hidden_size) % 2 == 0, -3.5, 0.5)
            self.start_bias("update", -bias)


class Exact(ProbeInstrument):
    """The bounds of each quantile of all valid values: two standard errors on each side."""

    def read(self, probe):
        values = probe.gates["layer0"]["update"][probe.mask].numpy()
        error = 2 * 0.5 / math.sqrt(distributions.QUANTILE_ROWS)
        bounds = {
            f"exact/{q}/{name}": scalar(np.quantile(values, np.clip(q / 100 + sign * error, 0, 1)))
            for q in (10, 50, 90)
            for name, sign in (("low", -1), ("high", 1))
        }
        return bounds | {"exact/count": scalar(values.size)}


@pytest.mark.parametrize(("steps", "hidden"), [(8, 64), (40, 24), (33, 15)])
def test_recorded_quantiles_use_every_unit_of_a_large_probe(small, recorded, steps, hidden):
    # An even stride through these values, at most 2^14 of them, would select units 0, 2, … (or 0, 3, …) only.
    measurements = recorded(
        small(
            f"model.cell._target_={__name__}.Unequal",
            f"model.hidden_size={hidden}",
            f"data.steps={steps}",
            "data.validation=64",
            "data.batch_size=64",
            f"+instruments.readers.exact._target_={__name__}.Exact",
        )
    )
    assert measurements["exact/count"]["value"] == 64 * steps * hidden > distributions.QUANTILE_SAMPLE
    for q in (10, 50, 90):
        # Within two of the standard errors that QUANTILE_ROWS states, in units of rank.
        low, high = (measurements[f"exact/{q}/{bound}"]["value"] for bound in ("low", "high"))
        assert low <= measurements[f"gates/layer0/update/quantile_{q}"]["value"] <= high
    assert low / 2 > measurements["exact/10/high"]["value"]


@pytest.mark.parametrize(
    "name",
    [
        "rnn",
        "gru",
        pytest.param("gru_article", marks=pytest.mark.slow),
        pytest.param("lstm", marks=pytest.mark.slow),
        pytest.param("peephole_lstm", marks=pytest.mark.slow),
        pytest.param("mingru", marks=pytest.mark.slow),
        pytest.param("minlstm", marks=pytest.mark.slow),
    ],
)
def test_no_gate_is_recorded_twice(small, recorded, name):
    measurements = recorded(
        small(f"model={name}", "instruments.examples=16", "data.steps=4", "instruments=full")
    )
    found = {
        key.split("/")[2]: row["counts"]
        for key, row in measurements.items()
        if key.startswith("gates/") and key.endswith("/histogram")
    }
    assert len(set(map(tuple, found.values()))) == len(found)
    expected = {
        "rnn": set(), "gru": {"reset", "update", "keep"}, "gru_article": {"reset", "update", "keep"},
        "lstm": {"input", "keep", "output"}, "peephole_lstm": {"input", "keep", "output"},
        "mingru": {"update", "keep"}, "minlstm": {"input", "keep"},
    }[name]  # fmt: skip
    assert found.keys() - {"candidate"} == expected
    signal = {key.split("/")[3] for key in measurements if key.startswith("training_signal/layer0/gate/")}
    assert signal == expected - ({"keep"} if "update" in expected else set())
