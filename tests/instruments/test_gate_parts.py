from __future__ import annotations

import pytest
import torch
from small_models import Leaky, encoder, feature_batch, squared_error

from gatescope.instruments.gate_parts import GateParts
from gatescope.instruments.measurements import Scalar, Undefined
from gatescope.instruments.probe import Probe, probe_model

TOKENS = [["never", "mind", "don", "'", "t", "go"], ["a", "t"]]


def probe(tokens: list[list[str]] | None) -> Probe:
    found = probe_model(encoder(Leaky, hidden=4, bidirectional=True), feature_batch([6, 2], 3), squared_error)
    found.tokens = tokens
    return found


def test_parts_against_a_loop() -> None:
    found = probe(TOKENS)
    measurements = GateParts().read(found)
    where = {
        "start": [(0, 0), (1, 0)],
        "end": [(0, 5), (1, 1)],
        "negation": [(0, 0), (0, 4)],
        "elsewhere": [(0, 1), (0, 2), (0, 3)],
    }
    for layer in ("layer0", "layer0_backward"):
        update = found.gates[layer]["update"]
        for part, places in where.items():
            rows = [
                update[b, t if layer == "layer0" else len(TOKENS[b]) - 1 - t].mean().item() for b, t in places
            ]
            measurement = measurements[f"gate_parts/{layer}/update/{part}"]
            assert isinstance(measurement, Scalar)
            assert measurement.value == pytest.approx(sum(rows) / len(rows), rel=1e-5)


def test_missing_parts_and_inputs_without_tokens_are_undefined() -> None:
    measurements = GateParts(negations=["qqzz"]).read(probe([["a"] * 6, ["b"] * 2]))
    assert isinstance(measurements["gate_parts/layer0/update/negation"], Undefined)
    assert GateParts().read(probe(None)) == {"gate_parts": Undefined("the input is not made of tokens")}


def test_random_state_is_unchanged() -> None:
    found = probe(TOKENS)
    before = torch.get_rng_state()
    GateParts().read(found)
    assert torch.equal(torch.get_rng_state(), before)
