import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import Leaky, encoder, feature_batch, squared_error

from gatescope.instruments.base import Update
from gatescope.instruments.gradient_norms import GradientNorms
from gatescope.instruments.measurements import Scalar, Undefined
from gatescope.models.attention import Additive


def one_step(clip=0.01, attention=Additive, layers=2, rate=0.1):
    """An SGD step taken by torch itself: (Update, model before)."""
    model = encoder(Leaky, hidden=4, attention=attention, layers=layers)
    batch = feature_batch([5, 3], 3)
    squared_error(model(batch).values, batch.targets).mean().backward()
    parameters = dict(model.named_parameters())
    before = {n: p.grad.clone() for n, p in parameters.items()}
    start = {n: p.detach().clone() for n, p in parameters.items()}
    torch.nn.utils.clip_grad_norm_(parameters.values(), clip)
    torch.optim.SGD(parameters.values(), lr=rate).step()
    after = {n: p.grad.clone() for n, p in parameters.items()}
    delta = {n: p.detach() - start[n] for n, p in parameters.items()}
    return Update(1, model, before, after, delta, clip, 0.25), start


@settings(deadline=None, max_examples=5)
@given(st.floats(1e-3, 1e-1))
def test_norms_before_and_after_clipping(clip):
    update, _ = one_step(clip)
    measurements = GradientNorms().read(update)
    flat = torch.cat([g.flatten() for g in update.before.values()]).double()
    assert measurements["gradient_norm/before_clip"].value == pytest.approx(float(flat.norm()), rel=1e-5)
    assert measurements["gradient_norm/after_clip"].value == pytest.approx(
        min(clip, float(flat.norm())), rel=1e-4
    )
    assert measurements["gradient_norm/clipped_share"] == Scalar(0.25)
    assert measurements["gradient_norm/non_finite"] == Scalar(0.0)


def test_parts_add_up_to_the_whole():
    update, _ = one_step()
    measurements = GradientNorms().read(update)
    whole = {"before_clip", "after_clip", "clipped_share", "non_finite"}
    parts = {
        name: r.value
        for name, r in measurements.items()
        if name.startswith("gradient_norm/") and name.split("/", 1)[1] not in whole
    }
    assert set(parts) == {
        f"gradient_norm/layer{i}/input_weights/{c}" for i in (0, 1) for c in Leaky.chunk_names
    } | {
        "gradient_norm/head",
        "gradient_norm/attention",
    }
    total = measurements["gradient_norm/before_clip"].value
    assert math.hypot(*parts.values()) == pytest.approx(total, rel=1e-5)
    rows = update.before["stack.layers.layer0.weight_ih"][4:]
    assert parts["gradient_norm/layer0/input_weights/candidate"] == pytest.approx(
        float(rows.norm()), rel=1e-5
    )


def test_update_ratio_is_relative_to_the_weights_before_the_update():
    update, start = one_step(rate=5.0)
    name = "stack.layers.layer1.weight_ih"
    expected = float(update.delta[name].norm() / start[name].norm())
    measurement = GradientNorms().read(update)["update_ratio/layer1/input_weights"]
    assert measurement.value == pytest.approx(expected, rel=1e-4)


def test_non_finite_gradients_are_counted_and_not_recorded_as_nan():
    update, _ = one_step()
    update.before["head.bias"][0] = math.nan
    update.before["head.weight"][0, :2] = math.inf
    measurements = GradientNorms().read(update)
    assert measurements["gradient_norm/non_finite"] == Scalar(3.0)
    assert isinstance(measurements["gradient_norm/before_clip"], Undefined)
    assert isinstance(measurements["gradient_norm/head"], Undefined)
    assert math.isfinite(measurements["gradient_norm/layer0/input_weights/keep"].value)


def test_without_clipping_and_without_weights():
    update, _ = one_step()
    update.clip_at = None
    with torch.no_grad():
        update.model.head.weight.zero_()
        update.model.head.bias.zero_()
    update.delta["head.weight"].zero_()
    update.delta["head.bias"].zero_()
    measurements = GradientNorms().read(update)
    assert isinstance(measurements["gradient_norm/clipped_share"], Undefined)
    assert isinstance(measurements["update_ratio/head"], Undefined)


def test_no_gradients_at_all():
    update, _ = one_step()
    measurements = GradientNorms().read(Update(0, update.model, {}, {}, {}, None, 0.0))
    assert measurements["gradient_norm/before_clip"] == Scalar(0.0)
    assert measurements["gradient_norm/non_finite"] == Scalar(0.0)
