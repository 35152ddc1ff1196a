"""The torchrun of one run and its ranks, started by `gatescope.distributed`.

    python -m gatescope.torchrun DEVICES FAILURE CONFIG COMMAND…    the launcher
    python -m gatescope.torchrun CONFIG COMMAND…                    a rank, started by the launcher

FAILURE is the file that receives the first failure. COMMAND is the command of the job, for the record.
"""

from __future__ import annotations

import json
import logging
import os
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
    ranks = ["--standalone", f"--nproc-per-node={devices}", "--module", "gatescope.torchrun"]
    try:
        torchrun.main([*ranks, *rank_arguments])
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
    from gatescope.run import run

    sys.argv = list(command)
    logging.basicConfig(
        level=logging.WARNING if rank() else logging.INFO, format="%(message)s", stream=sys.stdout
    )
    try:
        run(DictConfig(OmegaConf.load(config)))
    except SIGTERMException:
        return PREEMPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        write_failure(error)
        return 1
    return 0


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
