import copy

import pytest
import torch
from small_models import Leaky, encoder, feature_batch, squared_error

from gatescope.instruments.probe import probe_model, undisturbed
from gatescope.models.attention import Additive


def model_in_training():
    model = encoder(Leaky, layers=2, dropout=0.5, attention=Additive)
    model.train()
    model.head.eval()  # a part frozen in eval mode stays so
    batch = feature_batch([5, 3], 3)
    squared_error(model(batch).values, batch.targets).mean().backward()
    return model, batch


def test_probing_does_not_change_mode_gradients_weights_or_random_state():
    model, batch = model_in_training()
    modes = [m.training for m in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    gradients = [p.grad.clone() for p in model.parameters()]
    random_state, precision = torch.get_rng_state(), torch.get_float32_matmul_precision()
    probe = probe_model(model, batch, squared_error)
    assert probe.gates
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.get_float32_matmul_precision() == precision


def test_modes_are_restored_after_an_exception():
    model, _ = model_in_training()
    modes = [m.training for m in model.modules()]
    with pytest.raises(RuntimeError, match="boom"), undisturbed(model):
        raise RuntimeError("boom")
    assert [m.training for m in model.modules()] == modes


def test_output_grad_is_the_gradient_of_the_loss():
    model, batch = model_in_training()
    probe = probe_model(model, batch, squared_error)
    model.eval()
    leaf = probe.outputs.detach().requires_grad_()
    loss = squared_error(model.readout(leaf, batch.lengths).values, batch.targets).mean()
    loss.backward()
    assert torch.equal(probe.output_grad, leaf.grad)
    assert probe.loss == pytest.approx(loss.item())


def test_float32_under_autocast():
    model, batch = model_in_training()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        probe = probe_model(model, batch, squared_error)
    assert probe.outputs.dtype == torch.float32
    assert torch.equal(probe.outputs, probe_model(model, batch, squared_error).outputs)


def test_output_grad_is_zero_for_a_loss_without_the_states():
    model, batch = model_in_training()
    probe = probe_model(model, batch, lambda values, targets: targets.square())
    assert torch.equal(probe.output_grad, torch.zeros_like(probe.outputs))
