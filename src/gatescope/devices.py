"""The devices of a run: how many processes, on a CPU or on GPUs, and whether they can run the config.

torch is imported inside functions, because a sweep whose runs are all finished does not need it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from gatescope.config import ConfigError
from gatescope.ranks import under_torchrun

CPU_PRECISIONS = ("32", "64", "bf16")
"""Beginnings of the values of trainer.precision that a CPU computes in."""
DRIVER_VERSION = Path("/proc/driver/nvidia/version")
INSTALL = "https://pytorch.org/get-started/locally/"
DRIVER_TOO_OLD = re.compile(
    r"driver on your system is too old|driver version is insufficient|Error 803|Error 35\b"
)


def accelerator_of(cfg: Mapping[str, Any]) -> Literal["cpu", "cuda"]:
    """Return what a run computes on; for `trainer.accelerator=auto`, a GPU if there is one."""
    accelerator = cfg["trainer"]["accelerator"]
    return "cpu" if accelerator == "cpu" or (accelerator == "auto" and not count_gpus()) else "cuda"


def device_count(cfg: Mapping[str, Any]) -> int:
    """Return the number of processes of a run: 1 for a baseline, and for `auto` what this machine has.

    CUDA is not initialised, so that the process of a sweep takes no memory of a card.

    Args:
        cfg: Config of the run.

    Raises:
        ConfigError: The config requests GPUs that this machine does not have, or a precision that a CPU does
            not have.
    """
    if "baseline" in cfg["model"]:
        return 1
    devices, is_automatic = cfg["trainer"]["devices"], cfg["trainer"]["devices"] in ("auto", -1)
    if accelerator_of(cfg) == "cpu":
        _check_cpu_precision(cfg)
        return 1 if is_automatic else int(devices)
    gpus = count_gpus()
    if not gpus:
        raise ConfigError(
            [f"trainer.accelerator: given {cfg['trainer']['accelerator']}, but {_reason_without_gpu()}"]
        )
    if not is_automatic and devices > gpus:
        raise ConfigError(
            [
                f"trainer.devices: given {devices}, but torch sees {gpus} GPU(s) on this machine"
                f"{_visible_devices()}; use trainer.devices={gpus} or auto"
            ]
        )
    return gpus if is_automatic else int(devices)


def count_gpus() -> int:
    """Return the number of GPUs that torch can use."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a driver that is too old, which `_reason_without_gpu` reports
        # With such a driver `device_count` alone still counts the cards.
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_card(cfg: Mapping[str, Any]) -> None:
    """Check that this torch, in the precision of the config, runs on the card of this process.

    CUDA is initialised, so that only the process that trains may call this.

    Args:
        cfg: Config of the run.

    Raises:
        ConfigError: The card cannot be used, torch was not built for it, or it has no bf16.
    """
    if "baseline" in cfg["model"] or accelerator_of(cfg) == "cpu":
        return
    import torch

    index = int(os.environ.get("LOCAL_RANK", 0)) if under_torchrun() else 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a card that torch was not built for, see below
            torch.cuda.init()
            card = torch.cuda.get_device_properties(index)
            if torch.version.hip is None:
                _check_capability(cfg, card.name, (card.major, card.minor), torch.cuda.get_arch_list())
            torch.cuda.synchronize(index)  # makes the context, which a card in use by others may refuse
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            [f"trainer.accelerator: GPU {index} cannot be used ({reason}); free it, or use trainer=cpu"]
        ) from error


def _check_cpu_precision(cfg: Mapping[str, Any]) -> None:
    precision = str(cfg["trainer"].get("precision", "32-true"))
    if not precision.startswith(CPU_PRECISIONS):
        raise ConfigError(
            [
                f"trainer.precision: given {precision}, which needs a GPU; allowed on a CPU: 32-true, "
                "64-true, bf16-mixed, bf16-true"
            ]
        )


def _check_capability(
    cfg: Mapping[str, Any], name: str, capability: tuple[int, int], built_for: list[str]
) -> None:
    """Check the compute capability of a card against this torch and the precision of the config."""
    import torch

    version = f"{name} (compute capability {capability[0]}.{capability[1]})"
    if built_for and not any(_runs_on(capability, code) for code in built_for):
        raise ConfigError(
            [
                f"trainer.accelerator: torch {torch.__version__} was built for {', '.join(built_for)}, and "
                f"not for {version}; install a torch that was ({INSTALL}), or use trainer=cpu"
            ]
        )
    precision = str(cfg["trainer"].get("precision", "32-true"))
    if precision.startswith("bf16") and capability < (8, 0):
        raise ConfigError(
            [
                f"trainer.precision: given {precision}, but {version} has no bf16, which came with 8.0; "
                "use 16-mixed or 32-true"
            ]
        )


def _runs_on(capability: tuple[int, int], code: str) -> bool:
    """Return whether a card runs code such as "sm_80", "sm_90a" or "compute_90".

    Binary code runs on cards of its major version from its minor version on, and PTX ("compute") on all
    later cards; code with a letter runs on its own version only.
    """
    kind, number, letter = re.fullmatch(r"(sm|compute)_(\d+)([a-z]?)", code).groups()  # type: ignore[union-attr]
    built = (int(number) // 10, int(number) % 10)
    if letter == "a":
        return capability == built
    return capability >= built if kind == "compute" else capability[0] == built[0] and capability >= built


def _reason_without_gpu() -> str:
    """Return why torch can use no GPU, and what to do."""
    import torch

    otherwise = "or use trainer=cpu, or trainer=ddp_cpu for several processes"
    if torch.version.cuda is None and torch.version.hip is None:
        return (
            f"this torch ({torch.__version__}) is built for CPUs only; install one for CUDA ({INSTALL}), "
            f"{otherwise}"
        )
    error = _initialisation_error()
    if DRIVER_TOO_OLD.search(error):
        return (
            f"the NVIDIA driver{_driver(error)} is too old for this torch ({torch.__version__}, built for "
            f"CUDA {torch.version.cuda}); update the driver, install a torch for an older CUDA "
            f"(https://pytorch.org/get-started/previous-versions/), {otherwise}"
        )
    detail = f" ({error})" if error and "No CUDA GPUs" not in error else ""
    return (
        f"torch sees no GPU on this machine{_visible_devices()}{detail}; use a machine with one, {otherwise}"
    )


def _initialisation_error() -> str:
    """Return the first line of what CUDA says when it is initialised; empty if it says nothing."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""


def _driver(error: str) -> str:
    """Return " <version>" of the driver with the newest CUDA that it supports, as far as they are known.

    Args:
        error: CUDA's message, which contains that CUDA as 11040 for 11.4.
    """
    version = driver_version()
    found = re.search(r"found version (\d+)", error)
    cuda = f"for CUDA up to {int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}" if found else ""
    return "".join(f" {part}" for part in (version, f"({cuda})" if version and cuda else cuda) if part)


def driver_version() -> str:
    """Return the version of the NVIDIA driver, such as "470.82.01"; empty if there is none."""
    try:
        text = DRIVER_VERSION.read_text(encoding="utf-8")
    except OSError:
        text = nvidia_smi("--query-gpu=driver_version")
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return found[0] if found else ""


def nvidia_smi(*arguments: str) -> str:
    """Return the output of nvidia-smi as CSV without header; empty if it cannot be run."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, *arguments, "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _visible_devices() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
