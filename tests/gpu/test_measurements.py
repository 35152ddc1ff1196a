"""All measurements of a model on the device against the same model on the CPU's torch operations."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import Compose
from hydra.utils import instantiate

from gatescope.cells.kernels.layer import NativeLayer
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.callbacks import probe_batch
from gatescope.instruments.measurements import Measurements, to_json
from gatescope.instruments.probe import probe_model
from gatescope.run import build_module, load_data, run
from gpu.devices import ON_GPU, TRAINER

pytestmark = pytest.mark.usefixtures("exact")

FEATURES = ("data=adding", "data.steps=16", "data.train=64", "data.validation=32", "data.test=32")
SYMBOLS = ("data=delayed_recall", "data.lag=12", "data.train=64", "data.validation=32", "data.test=32")
STEPWISE = ("data=copy", "data.lag=4", "data.train=64", "data.validation=32", "data.test=32")
DATES = ("data=dates", "data.train=64", "data.validation=16", "data.test=16", "attention=general")
CASES = {
    "gru, features, both directions": (
        *FEATURES,
        "attention=additive",
        "model.bidirectional=true",
        "model.layers=2",
    ),
    "lstm, symbols": ("model=lstm", *SYMBOLS, "attention=scaled_dot"),
    "rnn, features": ("model=rnn", *FEATURES, "attention=uniform"),
    "minlstm, symbols": ("model=minlstm", *SYMBOLS, "attention=dot"),
    "rglru, features": ("model=rglru", *FEATURES, "attention=general"),
    "lru, every step": ("model=lru", *STEPWISE),
    "gru_article, dates": ("model=gru_article", *DATES),
    "lstm, dates, input feeding": ("model=lstm", *DATES, "decoder=input_feeding"),
}
SMALL = (
    "model.hidden_size=8",
    "model.embedding_size=6",
    "tracking=off",
    "trainer.threads=1",
    "data.batch_size=16",
)
FEW = (
    "instruments=full",
    "instruments.examples=16",
    "instruments.readers.faithfulness.permutations=10",
    "instruments.readers.faithfulness.nodes=8",
)
KERNELS = ("auto", "torch", "native") if ON_GPU else ("native",)
# The tests of the instruments run them on a CPU for every kind of model.
SOME = list(CASES) if ON_GPU else ["lstm, symbols", "lstm, dates, input feeding"]


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a measurement."""
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, (int, float)):
        yield float(value)


def largest_difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest difference of two measurements, relative to the largest number of the expected one."""
    pair = list(numbers(found)), list(numbers(expected))
    if found["kind"] != expected["kind"] or len(pair[0]) != len(pair[1]):
        return math.inf
    scale = max((abs(one) for one in pair[1] if math.isfinite(one)), default=0.0) or 1.0
    return max((abs(a - b) / scale for a, b in zip(*pair, strict=True)), default=0.0)


def is_rounding(name: str, row: dict[str, Any]) -> bool:
    """Whether a measurement is a small error, which is 0 in exact arithmetic: its digits are arbitrary."""
    return name.endswith(("_error", "/self_test")) and row["kind"] == "scalar" and row["value"] < 1e-3


def assert_close(found: Measurements, expected: Measurements, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    differences = {
        name: (largest_difference(to_json(found[name]), to_json(expected[name]))) for name in expected
    }
    wrong = {
        name: (difference, found[name], expected[name])
        for name, difference in differences.items()
        if not difference < tolerance and not is_rounding(name, to_json(found[name]))
    }
    assert not wrong, {name: str(what)[:300] for name, what in wrong.items()}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", SOME)
def test_all_measurements_of_a_probe(case: str, kernel: str, config: Compose, device: torch.device) -> None:
    """In float64, so that no rank or bin depends on rounding."""
    cfg = config(*CASES[case], *SMALL, *FEW)
    torch.manual_seed(0)
    data = load_data(cfg)
    module = build_module(cfg, data).double()
    batch = probe_batch(data, 16)
    batch = batch._replace(inputs=batch.inputs.double()) if batch.inputs.is_floating_point() else batch
    if batch.targets.is_floating_point():
        batch = batch._replace(targets=batch.targets.double())
    tokens, alignment = data.tokens(batch), data.alignment("validation", batch)
    readers = {name: instantiate(reader) for name, reader in cfg.instruments.readers.items()}
    results = []
    for where, chosen in ((torch.device("cpu"), "torch"), (device, kernel)):
        model = copy.deepcopy(module.model).to(where)
        for layer in model.modules():
            if isinstance(layer, NativeLayer):
                layer.kernel = chosen  # type: ignore[assignment]
        probe = probe_model(model, batch.to(where), module.objective.loss)
        probe.tokens, probe.alignment = tokens, alignment
        measurements: Measurements = {}
        for reader in readers.values():
            if isinstance(reader, ProbeInstrument):
                measurements |= reader.read(probe)
        results.append(measurements)
    assert len(results[0]) > 20
    assert_close(results[1], results[0], 1e-6)


@pytest.mark.parametrize("case", SOME)
def test_the_readings_of_a_run(case: str, config: Compose, tmp_path: Any) -> None:
    """Two steps of training in float64; the probe converts to float32, so that ranks are left out."""
    words = (*CASES[case], *SMALL, *FEW, "trainer.max_steps=2", "instruments.every_n_steps=1")
    words += ("trainer.precision=64-true", "~instruments.readers.faithfulness")
    recorded = []
    for name, own in (("cpu", ("trainer=cpu", "kernel=torch")), ("device", (*TRAINER, "kernel=auto"))):
        cfg = config(*own, *words, f"root={tmp_path}/{name}")
        rows = (run(cfg).directory / "readings.jsonl").read_text().splitlines()
        recorded.append({(row["step"], row["name"]): row for row in map(json.loads, rows)})
    expected, found = recorded
    assert found.keys() == expected.keys()
    assert {name.split("/")[0] for _, name in found} >= {"gradient_norm", "gradient_flow"}
    wrong = {}
    for key, row in expected.items():
        difference = largest_difference(values_of(found[key]), values_of(row))
        # A value at the edge of a bin, or at the bound of saturation, may count on either side.
        tolerance = 0.05 if row["kind"] in ("histogram", "points") else 1e-2
        if not difference < tolerance and not is_rounding(key[1], found[key]):
            wrong[str(key)] = difference, str(found[key])[:200], str(row)[:200]
    assert not wrong, wrong


def values_of(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("time", "step", "epoch", "name")}
