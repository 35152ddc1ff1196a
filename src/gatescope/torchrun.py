"""torchrun for one run, and each of its ranks: started by `gatescope.distributed`, never by hand.

    python -m gatescope.torchrun DEVICES FAILURE CONFIG COMMAND…    the launcher
    python -m gatescope.torchrun CONFIG COMMAND…                    a rank, started by the launcher

FAILURE is the file where it is written what failed first, COMMAND the job's own, for the record.
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
from gatescope.tracking.ranks import rank, under_torchrun

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure


def launch(devices: str, failure: str, *rank_arguments: str) -> int:
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable()  # the job tells what failed
    ranks = ["--standalone", f"--nproc-per-node={devices}", "--module", "gatescope.torchrun"]
    try:
        torchrun.main([*ranks, *rank_arguments])
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as error:
        # torch itself compares whole seconds, in which the rank that lost its peer may come first.
        culprit, first = min(error.failures.items(), key=lambda found: _failed_at(found[1]))
        told = _told(first) or {"reason": first.message, "traceback": None}
        Path(failure).write_text(json.dumps({"rank": culprit, **told}), encoding="utf-8")
        return 1
    return 0


def _failed_at(failure: ProcessFailure) -> float:
    """Seconds; a rank that was killed comes before those that raised, as they did for the lack of it."""
    return 0 if failure.exitcode < 0 else float(_told(failure).get("failed_at", failure.timestamp))


def _told(failure: ProcessFailure) -> dict[str, Any]:
    """What `report` wrote; empty when the rank was killed before."""
    message = failure.error_file_data.get("message")
    return dict(message["extraInfo"]) if isinstance(message, dict) else {}


def train(config: str, *command: str) -> int:
    """One rank; what it fails of goes to torchrun, which finds out which rank failed first."""
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
        report(error)
        return 1
    return 0


def report(error: Exception) -> None:
    """In the form that torchrun reads; a traceback where a message does not suffice."""
    from gatescope.cli import has_user_message

    reason, now = f"{type(error).__name__}: {error}", time.time()
    extra = {
        "timestamp": str(int(now)),
        "failed_at": now,
        "reason": reason,
        "traceback": None if has_user_message(error) else traceback.format_exc(),
    }
    content = {"message": {"message": reason, "extraInfo": extra}}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    die_with_parent()  # else a rank writes on beside the job that repeats a killed one
    sys.exit(train(*sys.argv[1:]) if under_torchrun() else launch(*sys.argv[1:]))
