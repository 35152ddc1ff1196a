"""The command line of train.py: check before anything runs, one message for each failure, right exit codes.

    0 done    1 a run failed    2 the command, a config or the data are wrong    130 Ctrl-C    143 preempted

A run that another process is at is waited for: a command ends when all its runs have ended, whoever ran
them.

torch is imported by a job, or where a component must be checked, never before: help, `--cfg` and a sweep
whose runs are all finished answer within a second.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gatescope.components import import_from_working_directory
from gatescope.composition import compose, make_loader
from gatescope.config import ConfigError, check, check_structure
from gatescope.distributed import device_count, refuse_foreign_torchrun, spread
from gatescope.processes import die_with_sweep
from gatescope.tracking.directory import held, make_writable
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import UNDER_WAY, SweepFailed, finished, monitored

log = logging.getLogger(__name__)

FAILED, USAGE, INTERRUPTED, PREEMPTED = 1, 2, 130, 143
EXPECTED = (ValueError, OSError, RuntimeError)
"""Families whose messages are written for the reader; anything else is a fault of ours, shown in full."""


def main(train: Callable[[], Any], conf: Path) -> None:
    """Runs the decorated task function with the command line's arguments; leaves with the exit code."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands errors on instead of printing them
    import_from_working_directory()
    try:
        check_command_line(conf)
        train()
    except SystemExit:  # argparse's own, and preemption
        raise
    except BaseException as error:
        sys.exit(tell(error))


def check_command_line(conf: Path) -> None:
    """Composes what the arguments ask for, and checks it where they ask for one run.

    A sweep's jobs are checked by the sweeper. Help, completion and information are left to Hydra.

    Raises:
        ConfigError: nothing may be run; the output directory has not been touched.
        RecordError: the output directory cannot be written.
    """
    args = get_args_parser().parse_intermixed_args()
    flags = [word for word in sys.argv[1:] if word not in args.overrides]
    sys.argv[1:] = [*flags, *args.overrides]  # Hydra itself takes no override after a flag
    if args.help or args.hydra_help or args.shell_completion or args.info is not None:
        return
    refuse_foreign_torchrun()
    loader = make_loader(conf)
    sweep = compose(loader, args.overrides, sweep=True)
    if args.cfg is None and (args.multirun or sweep.hydra.mode == RunMode.MULTIRUN):
        make_writable(Path(sweep.hydra.sweep.dir))
        return
    cfg = compose(loader, args.overrides)
    if args.cfg is None:
        check_structure(cfg)
        if not finished(cfg):
            check(cfg)
            device_count(cfg)
            make_writable(run_dir(cfg))


def job(cfg: DictConfig) -> float | str:
    """One run, unless it is finished already; returns the monitored metric, as it is or as it was recorded.

    A run that another process is at is waited for, and then done if that process did not finish it. In our
    own sweeps the sweeper waits, so that other runs go first: what it gets meanwhile is `UNDER_WAY`.
    """
    die_with_sweep()
    directory = run_dir(cfg)
    if not finished(cfg):  # else nothing is written, so that a finished study may be read-only
        with held(directory) as mine:
            if mine:
                return _unless_finished(cfg)
        if _sweeper_waits():
            return UNDER_WAY
        log.info("another process is at it: waiting until it ends (Ctrl-C stops waiting): %s", directory)
        with held(directory, wait=True):
            return _unless_finished(cfg)
    return _finished_already(cfg)


def _unless_finished(cfg: DictConfig) -> float:
    """For the process that holds the run: the one who held it until now may have finished it."""
    if finished(cfg):
        return _finished_already(cfg)
    log.info("run: %s", run_dir(cfg))
    return _run(cfg)


def _finished_already(cfg: DictConfig) -> float:
    log.info("finished already: %s (force=true runs it again)", run_dir(cfg))
    return monitored(run_dir(cfg))


def _sweeper_waits() -> bool:
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return str(HydraConfig.get().sweeper.get("_target_")).endswith(".StudySweeper")


def _run(cfg: DictConfig) -> float:
    """Tells a failure at once; in a sweep it is raised for the sweeper to count, else it ends the process."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    from gatescope.run import run

    try:
        devices = device_count(cfg)
        result = spread(cfg, devices) if devices > 1 else run(cfg)
    except SIGTERMException as error:  # a SystemExit without a code
        print("preempted; the record keeps what was measured", file=sys.stderr)
        raise SystemExit(PREEMPTED) from error
    except Exception as error:
        code = tell(error)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        raise SystemExit(code) from error  # raised as it is, Hydra would add a message of its own
    shown = [f"{name} {value:.4g}" for name, value in result.summary.items() if name.startswith("test/")]
    log.info("finished: %s  %s", result.directory, "  ".join(shown))
    return result.monitored


def tell(error: BaseException) -> int:
    """Writes what went wrong to stderr; returns the exit code. The one place where errors become messages."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted; the record keeps what was measured", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, ConfigError | HydraException | OmegaConfBaseException):
        print(f"{error}\n(python train.py --help explains the command)", file=sys.stderr)
        return USAGE
    if isinstance(error, SweepFailed) or is_written_for_the_reader(error):
        print(error, file=sys.stderr)
        return getattr(error, "exit_code", FAILED)
    traceback.print_exception(error)
    return FAILED


def is_written_for_the_reader(error: BaseException) -> bool:
    """Whether a message suffices: an error that this package raised, or the system's about a file."""
    if isinstance(error, OSError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    ours = bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
    return ours and isinstance(error, EXPECTED)
