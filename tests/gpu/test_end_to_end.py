"""Whole runs on the device: the commands of a user, stopping and resuming, one rank, compilation, loading."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAST, ROOT, SMALL, Compose
from hydra.utils import instantiate
from tracking.records import assert_same, record, rows

import gatescope
from gatescope.distributed import spread
from gatescope.instruments.base import ProbeInstrument
from gatescope.instruments.callbacks import probe_batch
from gatescope.instruments.measurements import TESTED, Measurements, to_json
from gatescope.instruments.probe import probe_model
from gatescope.run import run
from gatescope.training.objective import objective_for
from gpu.devices import DEVICE, ON_GPU, TRAINER

FEW = ("instruments=full", "instruments.every_n_steps=2", "~instruments.readers.faithfulness")
THREE_EPOCHS = ("trainer.max_epochs=3", "model.dropout=0.3", "model.layers=2", "checkpoint.keep=all")
TESTED_CELLS = ("gru", "lstm", "rglru") if ON_GPU else ("gru",)
# tests/tracking stops and resumes runs on a CPU.
SLOW_ON_A_CPU = [pytest.param(cell, marks=() if ON_GPU else pytest.mark.slow) for cell in TESTED_CELLS]


def start(*words: str, root: Path) -> subprocess.Popen[str]:
    """`python train.py` on small data."""
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, *FAST, *TRAINER, *words, f"root={root}"]
    root.mkdir(parents=True, exist_ok=True)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=root, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def finished(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate(timeout=110)
    assert process.returncode == 0, said


def only_run(root: Path) -> Path:
    (path,) = root.glob("*/*/run.json")
    return path.parent


@pytest.mark.parametrize("cell", SLOW_ON_A_CPU)
def test_a_killed_run_continues_as_if_it_had_not_been(cell: str, tmp_path: Path) -> None:
    """Weights, rows and readings are bit-equal: trainer.deterministic is true or warn."""
    words = (
        *THREE_EPOCHS,
        "instruments.every_n_steps=5",
        "trainer.max_epochs=25",
        "checkpoint.every_n_steps=3",
    )
    finished(start(*words, root=tmp_path / "whole"))
    killed = tmp_path / "killed"
    process = start(*words, root=killed)
    deadline = time.monotonic() + 100
    while not any("step" in row and row["step"] >= 12 for path in killed.glob("*/*") for row in rows(path)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert record(only_run(killed))["status"] == "running"
    finished(start(*words, root=killed))
    resumed = record(only_run(killed))["resumed"]
    assert len(resumed) == 1
    assert 0 < resumed[0]["step"] < 100
    assert_same(only_run(tmp_path / "whole"), only_run(killed))


@pytest.mark.parametrize("cell", TESTED_CELLS)
def test_a_deterministic_run_gives_the_same_bits_twice(cell: str, small: Compose, tmp_path: Path) -> None:
    words = (*TRAINER, *THREE_EPOCHS, "instruments=full", "attention=additive", f"model={cell}")
    words += ("trainer.deterministic=true",)
    try:
        one, two = (run(small(*words, f"root={tmp_path}/{name}")).directory for name in ("one", "two"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert_same(one, two)
    assert len({row["name"] for row in rows(one, "readings")}) > 100  # no instrument was switched off


@pytest.mark.slow
def test_one_rank_gives_what_one_process_does(small: Compose, tmp_path: Path) -> None:
    """The rank runs DistributedDataParallel: over nccl on a GPU, over gloo on a CPU."""
    one = run(small(*TRAINER, *FEW, f"root={tmp_path}/one"))
    trainer = ("trainer=ddp",) if ON_GPU else ("trainer=ddp_cpu",)
    backend = "nccl" if ON_GPU else "gloo"
    shown = f"+instruments.readers.backend={{_target_: gpu.backend.Backend, expected: {backend}}}"
    words = (*trainer, "trainer.devices=1", *FEW, shown, f"root={tmp_path}/two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]))
        two = spread(small(*words), 1)
    assert_near(rows(two.directory), rows(one.directory))
    readings = rows(two.directory, "readings")
    assert [row["value"] for row in readings if row["name"] == "backend"]
    assert all(row["value"] == 1 for row in readings if row["name"] == "backend")


def assert_near(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert one.keys() == two.keys()
        for key, value in two.items():
            assert one[key] == pytest.approx(value, rel=1e-4, abs=1e-5), (key, one, two)


@pytest.mark.parametrize("kernel", ["torch", "auto"])
@pytest.mark.parametrize("cell", TESTED_CELLS)
def test_readings_of_a_run_in_bfloat16_are_float32(
    cell: str, kernel: str, small: Compose, tmp_path: Path
) -> None:
    """They equal a probe of the same weights in float32 on the CPU."""
    words = (*TRAINER, *FEW, f"model={cell}", f"kernel={kernel}", "trainer.precision=bf16-mixed")
    cfg = small(*words, "attention=additive", f"root={tmp_path}")
    directory = run(cfg).directory
    recorded = {row["name"]: row for row in rows(directory, "readings")}
    assert "training_signal/layer0/curve" in recorded
    trained = gatescope.load(directory)
    assert all(p.dtype == torch.float32 and p.is_cpu for p in trained.model.parameters())
    batch = probe_batch(trained.data, cfg.instruments.examples)
    probe = probe_model(trained.model, batch, objective_for(trained.task).loss)
    compared = 0
    for reader in map(instantiate, cfg.instruments.readers.values()):
        measurements: Measurements = reader.read(probe) if isinstance(reader, ProbeInstrument) else {}
        for name, measurement in measurements.items():
            expected = to_json(measurement)
            # Which slow points are found depends on the last digits of the weights.
            unstable = name.endswith(("_error", "/self_test")) or name.startswith("dynamics/")
            if expected["kind"] == "scalar" and not unstable:
                found = recorded[f"{TESTED}{name}"]
                assert found["value"] == pytest.approx(expected["value"], rel=1e-2, abs=1e-3), name
                compared += 1
    assert compared > 20


LOAD = """
import sys, torch, gatescope
from gatescope.explain import explain, strip
assert not torch.cuda.is_available()
trained = gatescope.load(sys.argv[1])
batch = trained.example(0)
print(trained.answers(batch)[0].value)
print(strip(explain(trained, batch, "test 0", has_target=True), colour=False))
"""
"""The page of `gatescope explain` shows the same numbers; its libraries need no GPU and are large."""


@pytest.mark.slow
def test_a_run_is_loaded_and_explained_without_a_gpu(small: Compose, tmp_path: Path) -> None:
    result = run(small(*TRAINER, "attention=additive", "instruments=off", f"root={tmp_path}"))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(result.directory)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert result.module is not None
    data, model = result.data, result.module.model.eval().to(DEVICE)
    with torch.no_grad():
        expected = float(model(data.batch("test", [0]).to(DEVICE)).values[0, 0])
    assert float(done.stdout.splitlines()[0]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert "gradient" in done.stdout
    predictions = (result.directory / "predictions.csv").read_text().splitlines()
    assert len(predictions) == 1 + 32


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("cell", SLOW_ON_A_CPU)
def test_a_compiled_run_gives_the_losses_of_one_that_is_not(
    cell: str, small: Compose, tmp_path: Path
) -> None:
    words = (*TRAINER, "trainer.max_steps=4", f"model={cell}", "attention=additive", "instruments=default")
    plain = run(small(*words, f"root={tmp_path}/plain"))
    torch._dynamo.reset()
    fast = run(small(*words, "trainer.compile=true", f"root={tmp_path}/compiled"))
    losses = [[row["train/loss"] for row in rows(r.directory) if "train/loss" in row] for r in (plain, fast)]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
