"""The torchrun of one run and its ranks, started by `gatescope.distributed`.

    python -m gatescope.torchrun DEVICES FAILURE CONFIG COMMAND…    the launcher
    python -m gatescope.torchrun CONFIG COMMAND…                    a rank, started by the launcher

FAILURE is the file that receives the first failure. COMMAND is the command of the job, for the record.

Nothing listens on an interface that other machines reach: launcher and ranks meet in files of a folder that
only this user can read, and the ranks exchange gradients over the loopback interface. torch's stores over TCP
(those of `--standalone`, for example) listen on all interfaces, and trust whoever connects.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatescope.processes import die_with_parent
from gatescope.ranks import rank, under_torchrun

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure


def launch(devices: str, failure: str, *rank_arguments: str) -> int:
    """Run torchrun and return its exit code.

    Args:
        devices: Number of ranks.
        failure: Path of the file that receives the first failure.
        rank_arguments: Arguments of each rank.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable()  # the job prints the failure
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else a TCP store is started beside the file
    meeting = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", "--rdzv-id=gatescope"]
    meeting += [f"--rdzv-endpoint={Path(failure).with_name('meeting')}", "--local-addr=127.0.0.1"]
    ranks = ["--nnodes=1", f"--nproc-per-node={devices}", "--module", "gatescope.torchrun"]
    try:
        torchrun.main([*meeting, *ranks, *rank_arguments])
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        # torch compares whole seconds, so that a rank which only lost its peer may come first.
        failed_rank, first = min(error.failures.items(), key=lambda item: _failed_at(item[1]))
        details = _failure_details(first) or {"reason": first.message, "traceback": None}
        Path(failure).write_text(json.dumps({"rank": failed_rank, **details}), encoding="utf-8")
        return 1
    return 0


def _failed_at(failure: ProcessFailure) -> float:
    """Return the time of a failure; killed ranks come first, because the others fail without them."""
    if failure.exitcode < 0:
        return 0
    return float(_failure_details(failure).get("failed_at", failure.timestamp))


def _failure_details(failure: ProcessFailure) -> dict[str, Any]:
    """Return what `write_failure` wrote; empty if the rank was killed."""
    message = failure.error_file_data.get("message")
    return dict(message["extraInfo"]) if isinstance(message, dict) else {}


def train(config: str, *command: str) -> int:
    """Run one rank and return its exit code.

    Args:
        config: Path of the resolved config.
        command: Command of the job.
    """
    from omegaconf import DictConfig, OmegaConf
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from gatescope.cli import INTERRUPTED, PREEMPTED
    from gatescope.devices import accelerator_of
    from gatescope.run import run

    sys.argv = list(command)
    logging.basicConfig(
        level=logging.WARNING if rank() else logging.INFO, format="%(message)s", stream=sys.stdout
    )
    try:
        cfg = DictConfig(OmegaConf.load(config))
        join_ranks(Path(config).with_name("ranks"), accelerator_of(cfg) == "cuda")
        run(cfg)
    except SIGTERMException:
        return PREEMPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        write_failure(error)
        return 1
    return 0


def join_ranks(path: Path, on_gpu: bool) -> None:
    """Make the process group of the ranks, which Lightning then uses instead of one over TCP.

    Args:
        path: File in which they meet.
        on_gpu: Whether they train on GPUs.
    """
    from torch import distributed

    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None:
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, loopback)
    ranks = int(os.environ["WORLD_SIZE"])
    store = distributed.FileStore(str(path), ranks)
    distributed.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank(), world_size=ranks)
    if on_gpu:
        atexit.register(distributed.destroy_process_group)  # as Lightning does; torch warns otherwise


def write_failure(error: Exception) -> None:
    """Write an error to the file that torchrun reads, with a traceback if its message is not enough."""
    from gatescope.cli import has_user_message

    reason, now = f"{type(error).__name__}: {error}", time.time()
    details = {
        "timestamp": str(int(now)),
        "failed_at": now,
        "reason": reason,
        "traceback": None if has_user_message(error) else traceback.format_exc(),
    }
    content = {"message": {"message": reason, "extraInfo": details}}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    die_with_parent()  # else a rank would continue to write next to the job that repeats a killed one
    sys.exit(train(*sys.argv[1:]) if under_torchrun() else launch(*sys.argv[1:]))
