"""Attributions against autograd and captum."""

from __future__ import annotations

import pytest
import torch
from text_models import text_batch, text_model
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.instruments import attribution
from gatescope.instruments.attribution import (
    completeness_error,
    explained_output,
    gradients,
    integrated_gradients,
    predict_embedded,
)
from gatescope.models.attention import Additive, Dot
from gatescope.sequences import TaskSpec, valid_mask

MODELS = [
    {"cell": GRU, "attention": Additive},
    {"cell": LSTM, "attention": Dot, "layers": 2, "bidirectional": True, "classes": 2},
]


@pytest.mark.parametrize("options", MODELS)
def test_gradients_equal_autograd(options) -> None:
    model, batch = text_model(**options), text_batch()
    embedded = model.embed(batch.inputs).detach()
    output = explained_output(model.task, model(batch).values)
    found = gradients(model, embedded, batch.lengths, output)
    leaf = embedded.clone().requires_grad_()
    states = model.stack(leaf, batch.lengths)
    states.retain_grad()
    value = output(model.readout(states, batch.lengths).values)
    value.sum().backward()
    valid = valid_mask(batch.lengths, 6)[..., None]
    torch.testing.assert_close(found.output, value.detach())
    torch.testing.assert_close(found.inputs * valid, leaf.grad * valid)
    torch.testing.assert_close(found.states * valid, states.grad * valid)
    assert not (found.inputs * ~valid).any()


@pytest.mark.parametrize("options", MODELS)
def test_integrated_gradients_equal_captum_and_are_complete(options) -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed (the extra dev)")
    model, batch = text_model(**options), text_batch()
    embedded = model.embed(batch.inputs).detach()
    output = explained_output(model.task, model(batch).values)
    found = integrated_gradients(model, embedded, batch.lengths, output)

    def forward(given: Tensor) -> Tensor:
        # captum repeats each batch once for every node.
        times = len(given) // len(embedded)
        values = predict_embedded(model, given, batch.lengths.repeat(times))
        return torch.cat([output(part) for part in values.split(len(embedded))])

    oracle = captum.IntegratedGradients(forward).attribute(embedded, n_steps=64, method="gausslegendre")
    torch.testing.assert_close(found, oracle.sum(-1), rtol=1e-8, atol=1e-9)
    assert completeness_error(model, embedded, batch.lengths, output, found).max() < 1e-8


def test_explained_output_is_the_log_probability_of_the_predicted_class() -> None:
    for classes in (2, 3):
        model, batch = text_model(classes=classes), text_batch()
        values = model(batch).values.detach()
        probability = attribution.distribution(model.task, values)
        assert probability.shape == (4, classes)
        torch.testing.assert_close(probability.sum(-1), torch.ones(4).double())
        torch.testing.assert_close(explained_output(model.task, values)(values), probability.amax(-1).log())


def test_a_regression_has_no_distribution() -> None:
    task = TaskSpec("regression", "features", 2, 1, "mse", "min")
    with pytest.raises(ValueError, match="no distribution over classes"):
        attribution.distribution(task, torch.zeros(3, 1))
    values = torch.tensor([[1.0], [3.0]])
    assert attribution.prediction_change(task, values, values.flip(0)).tolist() == [2.0, 2.0]
    assert explained_output(task, values)(values).tolist() == [1.0, 3.0]
