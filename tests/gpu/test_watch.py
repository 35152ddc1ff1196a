"""`gatescope.watch` on the device against float64 on the CPU, and without mixing devices."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import gatescope
from gatescope.watching.errors import WatchError
from gpu.devices import ON_GPU
from gpu.fake_accelerator import Accelerated, accelerated, accelerator, on_accelerator

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "lstm": (nn.LSTM, {"num_layers": 2}),
    "projected": (nn.LSTM, {"proj_size": 3}),
    "rnn": (nn.RNN, {}),
}


def gradients(module: nn.RNNBase, x: Tensor, packed: bool) -> dict[str, Tensor]:
    inputs: Any = pack_padded_sequence(x, torch.tensor([7, 3, 5]), True, False) if packed else x
    with gatescope.watch(module) as scope:
        output = module(inputs)[0]
        (output.data if packed else output).square().sum().backward()
    watched = scope[type(module).__name__]
    if isinstance(x, Accelerated):  # autograd gives the fake's hooks tensors that have lost their device
        (call,) = watched.recorded
        call.grads = {part: accelerated(grad) for part, grad in call.grads.items()}
    assert len(scope.summary()) >= 1
    found = {**watched.gates, **watched.state_gradients}
    return {name: torch.from_numpy(array.numpy()) for name, array in found.items()}


@pytest.mark.usefixtures("exact")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_it_is_in_float64(kind: str, packed: bool, device: torch.device) -> None:
    torch.manual_seed(0)
    cls, options = KINDS[kind]
    module, x = cls(4, 6, batch_first=True, **options), torch.randn(3, 7, 4)
    expected = gradients(copy.deepcopy(module).double(), x.double(), packed)
    for name, values in gradients(module.to(device), x.to(device), packed).items():
        torch.testing.assert_close(
            values.double(), expected[name], rtol=1e-4, atol=1e-5, equal_nan=True, msg=name
        )


@pytest.mark.skipif(torch.version.cuda is not None, reason="cuDNN would take the fake for a card")
@pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
def test_no_devices_are_mixed() -> None:
    torch.manual_seed(0)
    module, x = nn.LSTM(4, 6, 2, batch_first=True), torch.randn(3, 7, 4)
    expected = gradients(module, x, False)
    with accelerator():
        found = gradients(on_accelerator(module), accelerated(x), False)  # type: ignore[arg-type]
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name])


@pytest.mark.skipif(not ON_GPU, reason="cuDNN draws the masks")
def test_dropout_of_cudnn_has_a_message(device: torch.device) -> None:
    module, x = nn.LSTM(4, 6, 2, dropout=0.5).to(device), torch.randn(7, 3, 4, device=device)
    with gatescope.watch(module) as scope:
        module(x)[0].sum().backward()
    with pytest.raises(WatchError, match="cuDNN does not tell which states"):
        scope.summary()
    with torch.backends.cudnn.flags(enabled=False):
        with gatescope.watch(module) as scope:
            module(x)[0].sum().backward()
        assert scope["LSTM"].states_error < 1e-5
