"""No computation of a model or an instrument mixes devices; found on a CPU, with a fake accelerator."""

from __future__ import annotations

import pytest
import torch
from conftest import Compose
from hydra.utils import instantiate
from torch.nn.utils.rnn import pack_padded_sequence

from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.callbacks import probe_batch
from gatescope.instruments.measurements import Measurements
from gatescope.instruments.probe import probe_model
from gatescope.run import build_module, load_data
from gpu.fake_accelerator import (
    FAKE,
    MixedDevices,
    accelerated,
    accelerator,
    batch_on_accelerator,
    on_accelerator,
)
from gpu.test_measurements import CASES, FEW, SMALL

pytestmark = [
    pytest.mark.skipif(
        torch.version.cuda is not None, reason="cuDNN and Triton would take the fake for a card"
    ),
    pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN"),
]
FAST_CASES = ("gru, features, both directions", "gru_article, dates")
QUICK = (
    "kernel=torch",
    "instruments.readers.faithfulness.permutations=2",
    "instruments.readers.faithfulness.nodes=2",
)


def test_the_fake_accelerator_refuses_what_a_real_one_does() -> None:
    x = accelerated(torch.randn(3, 4))
    with accelerator():
        assert (x + torch.arange(4, device=x.device)).device == FAKE
        assert (x * torch.tensor(2.0)).sum().item() == pytest.approx(2 * x.sum().item())
        assert x.cpu().numpy().shape == (3, 4)
        assert torch.ones(4).to(x).device == FAKE
        for mixed in (
            lambda: x + torch.arange(4),
            lambda: torch.where(x > 0, x, torch.zeros(3, 4)),
            lambda: torch.arange(3)[x[:, 0] > 0],
            lambda: x.numpy(),
            lambda: torch.nn.Linear(4, 2)(x),
            lambda: pack_padded_sequence(
                x[..., None], accelerated(torch.tensor([4, 2, 1])), batch_first=True
            ),
        ):
            with pytest.raises(MixedDevices):
                mixed()


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in FAST_CASES else pytest.mark.slow) for case in CASES]
)
def test_training_and_all_instruments(case: str, config: Compose) -> None:
    cfg = config(*CASES[case], *SMALL, *FEW, *QUICK)
    data = load_data(cfg)
    module = build_module(cfg, data)
    on_cpu = probe_batch(data, 14)  # enough for the instrument of memory
    with accelerator():
        model, batch = on_accelerator(module.model), batch_on_accelerator(on_cpu)
        model.stack.record_gradients()
        prediction = model(batch)
        module.objective.loss(prediction.values, batch.targets).mean().backward()
        layers = model.stack.collect_gradients()
        assert list(layers) == list(model.stack.layers)
        assert all(layer.adjoint.h.device == FAKE for layer in layers.values())
        values = prediction.values.detach()
        answer = module.objective.answer(model, batch, values, "test")
        module.objective.columns(values, batch.targets, module.objective.outcome(answer, batch.targets))
        probe = probe_model(model, batch, module.objective.loss)
        probe.tokens, probe.alignment = data.tokens(on_cpu), data.alignment("validation", on_cpu)
        measurements: Measurements = {}
        for reader in map(instantiate, cfg.instruments.readers.values()):
            measurements |= reader.read(probe) if isinstance(reader, ProbeInstrument) else {}
    assert len(measurements) > 20
