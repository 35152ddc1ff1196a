"""Devices that a config asks for and the machine lacks, or that cannot run it: one message before training.

There is no GPU: torch's functions are replaced where they ask CUDA.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose
from torch import Tensor
from tracking.records import record
from trained_runs import SERIES, TEXTS, trained_run

import gatescope
from gatescope import devices
from gatescope.config import ConfigError, check
from gatescope.data.checks import check_splits
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, Splits
from gatescope.devices import accelerator_of, check_card, device_count
from gatescope.explain.explanation import explain
from gatescope.instruments.probe import probe_model
from gatescope.run import run
from gatescope.sequences import Batch, TaskSpec
from gatescope.tracking.identity import run_dir
from gatescope.training.module import SequenceTask
from gatescope.training.objective import objective_for

BUILT_FOR = ["sm_75", "sm_80", "sm_86", "sm_90a", "sm_100", "compute_120"]
VERSION_FILE = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021
GCC version:  gcc version 9.3.0 (Ubuntu 9.3.0-17ubuntu1~20.04)
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def has_cards(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def has_card(monkeypatch: pytest.MonkeyPatch, name: str, major: int, minor: int) -> None:
    """Let torch see one card."""
    has_cards(monkeypatch, 1)
    card = SimpleNamespace(name=name, major=major, minor=minor)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: BUILT_FOR)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda index: None)


def has_broken_cuda(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """Let a torch that is built for CUDA 13.0 fail to initialise it."""

    def fail() -> None:
        raise RuntimeError(message)

    # NVML counts the cards even if the driver is too old for this torch.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch, "__version__", "2.11.0+cu130")
    monkeypatch.setattr(torch.cuda, "init", fail)


def refused(cfg: Any) -> str:
    """Run a config, which must be refused before anything is written; return the message."""
    with pytest.raises(ConfigError) as caught:
        run(cfg)
    assert not run_dir(cfg).exists()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# Number of devices


def test_the_number_of_processes(small: Compose, config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    has_cards(monkeypatch, 0)
    assert device_count(small("trainer.devices=auto")) == 1
    assert device_count(small("trainer=ddp_cpu", "trainer.devices=3")) == 3
    assert device_count(config("trainer=ddp_cpu", "model=tfidf_logistic")) == 1
    automatic = small("trainer.accelerator=auto", "trainer.devices=2")
    assert (device_count(automatic), accelerator_of(automatic)) == (2, "cpu")
    has_cards(monkeypatch, 4)
    assert device_count(small("trainer=ddp")) == 4
    assert device_count(small("trainer=gpu")) == 1
    assert (device_count(automatic), accelerator_of(automatic)) == (2, "cuda")


def test_more_devices_than_cards(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    has_cards(monkeypatch, 1)
    message = refused(small("trainer=ddp", "trainer.devices=2"))
    assert message == (
        "trainer.devices: given 2, but torch sees 1 GPU(s) on this machine; use trainer.devices=1 or auto"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert "on this machine (CUDA_VISIBLE_DEVICES is '3')" in refused(
        small("trainer=ddp", "trainer.devices=2")
    )


@pytest.mark.parametrize("given", ["0", "-2", "[0]", "[1]", "'0,'", "'1'", "true", "1.5", "null"])
def test_devices_are_a_number(small: Compose, given: str) -> None:
    message = refused(small("trainer=ddp_cpu", f"trainer.devices={given}"))
    assert message.startswith("trainer.devices: given ")
    assert message.endswith(
        "allowed: a number from 1, or auto (CUDA_VISIBLE_DEVICES=1 in the environment selects card 1)"
    )


def test_another_accelerator(small: Compose) -> None:
    message = refused(small("trainer.accelerator=tpu"))
    assert "trainer.accelerator: given \"tpu\", allowed: 'cpu', 'gpu', 'cuda' or 'auto'" in message


# No GPU


def test_a_torch_for_cpus_only(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    has_cards(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    cfg = small("trainer=gpu", "trainer.precision=bf16-mixed")
    check(cfg)  # a cluster's own machines may have one
    message = refused(cfg)
    assert message.startswith("trainer.accelerator: given gpu, but this torch (")
    assert "is built for CPUs only; install one for CUDA" in message
    assert message.endswith("or use trainer=cpu, or trainer=ddp_cpu for several processes")


@pytest.mark.parametrize("visible", [None, "", "7"])
def test_no_card(small: Compose, monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
    has_broken_cuda(monkeypatch, "No CUDA GPUs are available")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    assert f"but torch sees no GPU on this machine{hidden}; use a machine with one" in refused(
        small("trainer=gpu")
    )


def test_another_error_of_cuda_is_told(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    has_broken_cuda(monkeypatch, "CUDA unknown error - this may be due to an incorrectly set up environment")
    message = refused(small("trainer=gpu"))
    assert "torch sees no GPU on this machine (CUDA unknown error - this may be due to an incorr" in message


@pytest.mark.parametrize(
    ("error", "cuda"),
    [
        (
            "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
            "driver by downloading and installing a new version from the URL: http://www.nvidia.com/",
            " (for CUDA up to 11.4)",
        ),
        (
            "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling "
            "NumCudaDevices() that might have already set an error? Error 803: system has unsupported "
            "display driver / cuda driver combination",
            "",
        ),
    ],
)
def test_a_driver_that_is_too_old(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, cuda: str
) -> None:
    has_broken_cuda(monkeypatch, error)
    (tmp_path / "version").write_text(VERSION_FILE)
    monkeypatch.setattr(devices, "DRIVER_VERSION", tmp_path / "version")
    assert refused(small("trainer=gpu", f"root={tmp_path}/runs")).startswith(
        f"trainer.accelerator: given gpu, but the NVIDIA driver 470.82.01{cuda} is too old for this torch "
        "(2.11.0+cu130, built for CUDA 13.0); update the driver, install a torch for an older CUDA"
    )
    monkeypatch.setattr(devices, "DRIVER_VERSION", tmp_path / "none")
    monkeypatch.setattr(devices, "nvidia_smi", lambda *arguments: "535.54.03\n")
    assert "the NVIDIA driver 535.54.03" in refused(small("trainer=gpu"))
    on_cpu = record(run(small()).directory)
    automatic = record(run(small("trainer.accelerator=auto", "force=true")).directory)
    assert automatic["summary"]["steps"] == 4
    assert automatic["kernel"] == on_cpu["kernel"]


def test_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.nvidia_smi("--query-gpu=driver_version") == ""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    answer = devices.nvidia_smi("--query-gpu=driver_version")
    assert answer == "--query-gpu=driver_version --format=csv,noheader\n"
    program.write_text("#!/bin/sh\nexit 9\n")
    assert devices.nvidia_smi("--query-gpu=driver_version") == ""


# The card


@pytest.mark.parametrize(("major", "minor"), [(6, 1), (5, 2), (9, 1), (11, 0)])
def test_a_card_that_torch_was_not_built_for(
    small: Compose, monkeypatch: pytest.MonkeyPatch, major: int, minor: int
) -> None:
    has_card(monkeypatch, "Example", major, minor)
    message = refused(small("trainer=gpu"))
    assert (
        f"was built for {', '.join(BUILT_FOR)}, and not for Example (compute capability {major}.{minor})"
        in message
    )
    assert message.endswith("or use trainer=cpu")


@pytest.mark.parametrize(("major", "minor"), [(7, 5), (8, 0), (8, 9), (9, 0), (10, 3), (12, 1), (13, 0)])
def test_a_card_that_torch_was_built_for(
    small: Compose, monkeypatch: pytest.MonkeyPatch, major: int, minor: int
) -> None:
    has_card(monkeypatch, "Example", major, minor)
    check_card(small("trainer=gpu"))


def test_a_card_that_others_use_alone(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    has_card(monkeypatch, "Example", 8, 0)

    def busy(index: int) -> None:
        raise RuntimeError(
            "CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors …"
        )

    monkeypatch.setattr(torch.cuda, "synchronize", busy)
    assert refused(small("trainer=gpu")) == (
        "trainer.accelerator: GPU 0 cannot be used (CUDA error: all CUDA-capable devices are busy or "
        "unavailable); free it, or use trainer=cpu"
    )


# Precision


def test_bf16_needs_a_card_that_has_it(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = small("trainer=gpu", "trainer.precision=bf16-mixed")
    has_card(monkeypatch, "Tesla T4", 7, 5)
    assert refused(cfg) == (
        "trainer.precision: given bf16-mixed, but Tesla T4 (compute capability 7.5) has no bf16, which came "
        "with 8.0; use 16-mixed or 32-true"
    )
    has_card(monkeypatch, "A10", 8, 6)
    check_card(cfg)


@pytest.mark.parametrize("given", ["16-mixed", "16-true", "16", "transformer-engine"])
def test_half_precision_needs_a_gpu(small: Compose, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    has_cards(monkeypatch, 0)
    message = refused(small(f"trainer.precision={given}"))
    assert message.startswith(
        f"trainer.precision: given {given}, which needs a GPU; allowed on a CPU: 32-true"
    )
    has_cards(monkeypatch, 1)
    assert device_count(small("trainer=gpu", f"trainer.precision={given}")) == 1


def test_products_of_float32(small: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    used = set()
    step = SequenceTask.training_step

    def training_step(self: SequenceTask, batch: Batch, batch_idx: int) -> Tensor:
        used.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SequenceTask, "training_step", training_step)
    cfg = small("+trainer.float32_matmul_precision=high")
    run(cfg)
    assert used == {("high", True)}
    used.clear()
    run(small())
    assert used == {("highest", False)}
    assert run_dir(cfg) != run_dir(small())
    assert run_dir(small("+trainer.float32_matmul_precision=highest")) == run_dir(small())
    message = refused(small("+trainer.float32_matmul_precision=tf32"))
    assert (
        "trainer.float32_matmul_precision: given \"tf32\", allowed: 'highest', 'high' or 'medium'" in message
    )


# Tensors on another device


@pytest.mark.parametrize("kind", ["inputs", "targets"])
def test_a_dataset_returns_tensors_on_the_cpu(kind: str) -> None:
    task = TaskSpec("regression", "features", 1, 1, metric="mse", direction="min")
    parts: dict[str, Any] = {"inputs": [torch.zeros(3, 1)] * 4, "targets": torch.zeros(4)}
    good = Examples(**parts)
    on_meta = (
        [part.to("meta") for part in parts["inputs"]] if kind == "inputs" else parts["targets"].to("meta")
    )
    bad = Examples(**parts | {kind: on_meta})
    with pytest.raises(
        DataError, match=rf"validation split: the {kind} are on meta; return tensors on the CPU"
    ):
        check_splits(Splits(good, bad, good, task))


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Return the devices that batches are moved to from now on."""
    targets: list[torch.device] = []
    to = Batch.to

    def record(self: Batch, device: torch.device | str) -> Batch:
        targets.append(torch.device(device))
        return to(self, device)

    monkeypatch.setattr(Batch, "to", record)
    return targets


def test_a_batch_is_moved_to_the_device_of_the_model(tmp_path: Path, moved: list[torch.device]) -> None:
    model = gatescope.load(trained_run(tmp_path, *SERIES))
    moved.clear()
    batch = model.data.batch("test", range(2))
    loss = objective_for(model.task).loss
    model.predict([np.zeros((3, 2)).tolist()])
    probe_model(model.model, batch, loss)
    explain(model, model.example(0), "example")
    assert moved == [torch.device("cpu")] * len(moved)
    assert len(moved) >= 3
    meta = model.model.to("meta")  # computes shapes only, and ends where a value is needed
    with suppress(NotImplementedError, RuntimeError):
        model.answers(batch)
    with suppress(NotImplementedError, RuntimeError):
        probe_model(meta, batch, loss)
    assert moved[-2:] == [torch.device("meta")] * 2


def test_texts_are_tokenised_on_the_cpu(tmp_path: Path, moved: list[torch.device]) -> None:
    model = gatescope.load(trained_run(tmp_path, *TEXTS))
    moved.clear()
    assert model.predict(["this is good"])[0].label in model.labels
    assert moved == [torch.device("cpu")]
