"""A run on several devices: the job starts one torchrun, whose ranks train the same config together.

Lightning must not start the ranks itself: under Hydra it would run the whole command line again, so that
rank 1 repeats a sweep in step with rank 0. torch is imported inside functions, because a sweep whose runs are
all finished does not need it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gatescope.config import ConfigError
from gatescope.invocation import command
from gatescope.ranks import under_torchrun
from gatescope.tracking.directory import write_atomically
from gatescope.tracking.identity import run_dir, run_id
from gatescope.tracking.outcomes import monitored_value
from gatescope.tracking.run_names import run_name
from gatescope.tracking.runfile import read_run, repair_run

FORWARDED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class RankFailed(RuntimeError):
    """A rank failed, and with it its run; the message contains the rank and the reason."""


@dataclass(frozen=True)
class SpreadResult:
    """The recorded part of a `RunResult`; module and data exist in the ranks only.

    Attributes:
        directory: Directory of the record.
        summary: Final values.
        monitored: Best validation value of the task's metric.
    """

    directory: Path
    summary: dict[str, float]
    monitored: float


def refuse_foreign_torchrun() -> None:
    """Raise if torchrun started this command: each of its ranks would start a torchrun, or a sweep.

    Raises:
        ConfigError: This process is a rank.
    """
    if under_torchrun():
        raise ConfigError(
            [
                "the command starts torchrun itself, once per run: use "
                f"`{command('train')} trainer=ddp trainer.devices=N`"
            ]
        )


def spread(cfg: DictConfig, devices: int) -> SpreadResult:
    """Train on several devices of this machine, with a process each; rank 0 writes the record.

    Args:
        cfg: Config of the run.
        devices: Number of devices.

    Raises:
        RankFailed: A rank raised or was killed; run.json contains which one and why.
        KeyboardInterrupt, SIGTERMException: This process received a signal; the ranks have saved and ended.
    """
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from gatescope.run import recorded_result
    from gatescope.tracking.checkpoint_files import find_checkpoint

    directory = run_dir(cfg)
    result = recorded_result(cfg)
    if result is not None:
        return SpreadResult(directory, result.summary, result.monitored)
    if not cfg.force:
        find_checkpoint(directory)  # renames a broken checkpoint before all ranks read it
    with TemporaryDirectory(prefix="gatescope-") as temporary:
        config, failure = Path(temporary, "config.yaml"), Path(temporary, "failure.json")
        config.write_text(_config_of_ranks(cfg, devices), encoding="utf-8")
        with _torchrun(cfg, devices, config, failure) as (process, received):
            code = process.wait()
        reason = _failure_reason(failure, code)
    if code and received:
        is_interrupt = received[0] == signal.SIGINT
        status = "interrupted" if is_interrupt else "preempted"
        _correct_status(cfg, status, 128 + received[0], received[0].name)
        raise KeyboardInterrupt if is_interrupt else SIGTERMException(received[0].name)
    if code:
        _correct_status(cfg, "failed", 1, reason)
        raise RankFailed(reason)
    return SpreadResult(directory, read_run(directory)["summary"], monitored_value(directory))


def _config_of_ranks(cfg: DictConfig, devices: int) -> str:
    """Return the resolved config as YAML, so that the ranks depend neither on conf/ nor on the command."""
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    resolved["trainer"]["devices"] = devices
    resolved["tracking"]["name"] = run_name(cfg)
    return OmegaConf.to_yaml(OmegaConf.create(resolved))


@contextmanager
def _torchrun(
    cfg: DictConfig, devices: int, config: Path, failure: Path
) -> Iterator[tuple[subprocess.Popen[bytes], list[signal.Signals]]]:
    """Start torchrun; yield its process and the signals received meanwhile, which it is sent as well."""
    threads = cfg.trainer.threads or max(1, (os.cpu_count() or 1) // devices)
    process = subprocess.Popen(
        [sys.executable, "-m", "gatescope.torchrun", str(devices), str(failure), str(config), *sys.argv],
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TORCHELASTIC_ERROR_FILE": str(failure.with_name("torchrun.json")),  # torchrun requires it
        },
        start_new_session=True,  # a Ctrl-C reaches the ranks once, through this process
    )
    received: list[signal.Signals] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        # torchrun does not handle SIGUSR1, which SLURM sends in the place of SIGTERM.
        process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    is_main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, forward) for number in FORWARDED_SIGNALS} if is_main else {}
    try:
        yield process, received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
            process.wait()


def _failure_reason(failure: Path, code: int) -> str:
    """Return the first failure, which `gatescope.torchrun` wrote, and print its traceback if it has one."""
    if not failure.exists():
        return f"torchrun ended with exit code {code}; no rank reported a reason"
    details = json.loads(failure.read_text(encoding="utf-8"))
    if details["traceback"]:
        print(details["traceback"], file=sys.stderr)
    return f"rank {details['rank']}: {details['reason']}"


def _correct_status(cfg: DictConfig, status: str, exit_code: int, reason: str) -> None:
    """Write the status of the whole run to run.json, in which rank 0 has written its own at most.

    Rank 0 may have been stopped because another rank failed, or have been killed.
    """
    content = repair_run(run_dir(cfg)) or {"run_id": run_id(cfg), "study": cfg.study.name}
    if content.get("status") != status or status == "failed":
        content |= {"status": status, "exit_code": exit_code, "reason": reason}
        write_atomically(run_dir(cfg) / "run.json", json.dumps(content, indent=2) + "\n")
