"""A run spread over devices: the job starts one torchrun, whose ranks train the same config together.

Lightning is never left to start ranks: under Hydra it runs the whole command line again, so that rank 1
replays a sweep in lockstep (seen: rank 0 "finished" job 0 together with rank 1's job 1). torch is imported
inside functions: a sweep whose runs are all finished needs none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gatescope.config import ConfigError
from gatescope.tracking.directory import write_atomically
from gatescope.tracking.identity import run_dir, run_id
from gatescope.tracking.outcomes import monitored
from gatescope.tracking.ranks import under_torchrun
from gatescope.tracking.runfile import mend, read_run
from gatescope.tracking.variants import run_name

GPUS = ("gpu", "cuda", "mps", "auto")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class RankFailed(RuntimeError):
    """A rank failed, and with it its run; the message names the rank and its reason."""


@dataclass(frozen=True)
class SpreadResult:
    """Of `RunResult` what the record holds: the objects live and die with the ranks."""

    directory: Path
    summary: dict[str, float]
    monitored: float


def device_count(cfg: Mapping[str, Any]) -> int:
    """Processes that a run takes, `auto` looked up on this machine; 1 for a baseline, whatever is given.

    Raises:
        ConfigError: GPUs are asked for that this machine does not have.
    """
    wanted, accelerator = cfg["trainer"]["devices"], cfg["trainer"]["accelerator"]
    if "baseline" in cfg["model"]:
        return 1
    gpus = count_gpus() if accelerator in GPUS else 0
    if accelerator not in GPUS or (accelerator == "auto" and not gpus):
        return 1 if wanted in ("auto", -1) else int(wanted)
    if not gpus:
        remedy = "use trainer=cpu, or trainer=ddp_cpu for several processes"
        raise ConfigError([f"trainer.accelerator: given {accelerator}, but {_why_no_gpu()}; {remedy}"])
    count = gpus if wanted in ("auto", -1) else int(wanted)
    if count > gpus:
        raise ConfigError([f"trainer.devices: given {count}, but torch sees {gpus} GPU(s) on this machine"])
    return count


def count_gpus() -> int:
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def _why_no_gpu() -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"this torch ({torch.__version__}) is built for CPUs only"
    return "torch sees no GPU on this machine"


def refuse_foreign_torchrun() -> None:
    """
    Raises:
        ConfigError: torchrun started this command line: each of its ranks would start a torchrun, or a sweep.
    """
    if under_torchrun():
        raise ConfigError(
            ["train.py starts torchrun itself, one a run: `python train.py trainer=ddp trainer.devices=N`"]
        )


def spread(cfg: DictConfig, devices: int) -> SpreadResult:
    """Trains on so many devices of this machine, a process each; rank 0 keeps the record.

    Raises:
        RankFailed: a rank raised or was killed; run.json says which and why.
        KeyboardInterrupt, SIGTERMException: this process was told to stop; the ranks have saved and ended.
    """
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from gatescope.run import recorded
    from gatescope.tracking.resume import find

    directory = run_dir(cfg)
    kept = recorded(cfg)
    if kept is not None:
        return SpreadResult(directory, kept.summary, kept.monitored)
    if not cfg.force:
        find(directory)  # one process sets a broken checkpoint aside, before all ranks look
    with TemporaryDirectory(prefix="gatescope-") as temporary:
        config, failure = Path(temporary, "config.yaml"), Path(temporary, "failure.json")
        config.write_text(_for_ranks(cfg, devices), encoding="utf-8")
        with _torchrun(cfg, devices, config, failure) as (process, received):
            code = process.wait()
        reason = _reason(failure, code)
    if code and received:
        interrupted = received[0] == signal.SIGINT
        _amend(cfg, "interrupted" if interrupted else "preempted", 128 + received[0], received[0].name)
        raise KeyboardInterrupt if interrupted else SIGTERMException(received[0].name)
    if code:
        _amend(cfg, "failed", 1, reason)
        raise RankFailed(reason)
    return SpreadResult(directory, read_run(directory)["summary"], monitored(directory))


def _for_ranks(cfg: DictConfig, devices: int) -> str:
    """The resolved config: a study's sweep, and files that change meanwhile, are nothing to the ranks."""
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    resolved["trainer"]["devices"] = devices
    resolved["tracking"]["name"] = run_name(cfg)  # the ranks know nothing of the command line
    return OmegaConf.to_yaml(OmegaConf.create(resolved))


@contextmanager
def _torchrun(
    cfg: DictConfig, devices: int, config: Path, failure: Path
) -> Iterator[tuple[subprocess.Popen[bytes], list[signal.Signals]]]:
    """The process, and the signals that this one was sent meanwhile: they are handed on to the ranks."""
    threads = cfg.trainer.threads or max(1, (os.cpu_count() or 1) // devices)
    process = subprocess.Popen(
        [sys.executable, "-m", "gatescope.torchrun", str(devices), str(failure), str(config), *sys.argv],
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TORCHELASTIC_ERROR_FILE": str(failure.with_name("torchrun.json")),  # else torchrun misses it
        },
        start_new_session=True,  # a Ctrl-C reaches the ranks once, through this process
    )
    received: list[signal.Signals] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        # torchrun knows no SIGUSR1; SLURM means by it what SIGTERM means.
        process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    listening = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, hand_on) for number in STOPS} if listening else {}
    try:
        yield process, received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
            process.wait()


def _reason(failure: Path, code: int) -> str:
    """What failed first, as `gatescope.torchrun` wrote it down; shows its traceback where one is needed."""
    if not failure.exists():
        return f"torchrun ended with exit code {code}, without a word from a rank"
    told = json.loads(failure.read_text(encoding="utf-8"))
    if told["traceback"]:
        print(told["traceback"], file=sys.stderr)
    return f"rank {told['rank']}: {told['reason']}"


def _amend(cfg: DictConfig, status: str, exit_code: int, reason: str) -> None:
    """Rank 0 tells of itself only: it may have been stopped because another rank failed, or been killed."""
    run = mend(run_dir(cfg)) or {"run_id": run_id(cfg), "study": cfg.study.name}
    if run.get("status") != status or status == "failed":
        run |= {"status": status, "exit_code": exit_code, "reason": reason}
        write_atomically(run_dir(cfg) / "run.json", json.dumps(run, indent=2) + "\n")
