"""The command line of `gatescope train` and train.py: checks before anything runs, messages, exit codes.

    0 done    1 a run failed    2 the command, a config or the data are wrong    130 Ctrl-C    143 preempted

A run that another process executes is waited for: a command ends when all its runs have ended, whichever
process executed them.

torch is imported by a job, or when a component is checked, not before: `--help`, `--cfg` and a sweep whose
runs are all finished answer within a second.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gatescope.components import import_from_working_directory
from gatescope.composition import (
    CONFIG,
    add_config_dir,
    compose,
    config_dir,
    job_config,
    make_loader,
    public_options,
)
from gatescope.config import ConfigError, check, check_files, check_structure
from gatescope.conflicts import unused
from gatescope.devices import device_count
from gatescope.distributed import refuse_foreign_torchrun, spread
from gatescope.invocation import command, write
from gatescope.machine import check_machine
from gatescope.overrides import with_quoted_paths
from gatescope.processes import die_with_sweep
from gatescope.run_options import with_options_of_start
from gatescope.startup import import_libraries, imports_uncollected
from gatescope.surroundings import prepare
from gatescope.tracking.closing import lines_of_run
from gatescope.tracking.directory import ensure_writable, run_lock
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import RUNNING_ELSEWHERE, SweepFailed, is_finished, monitored_value

log = logging.getLogger(__name__)

FAILED, USAGE, INTERRUPTED, PREEMPTED = 1, 2, 130, 143
OF_100 = frozenset({"test/bleu", "test/chrf"})
"""Metrics from 0 to 100; all others that have a scale are from 0 to 1."""
EXPECTED = (ValueError, OSError, RuntimeError)
"""Types of errors that this package raises with a message for the user; others show a traceback."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `gatescope train` and exit with its exit code.

    Args:
        arguments: The words after the name of the command; by default those of this process.
    """
    prepare()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them
    if arguments is not None:
        sys.argv[1:] = arguments
    import_from_working_directory()
    try:
        sys.argv[1:] = with_options_of_start(sys.argv[1:])
        with imports_uncollected():
            check_command_line()
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=CONFIG)(job)()
    except SystemExit:  # of argparse, or after preemption
        raise
    except BaseException as error:
        sys.exit(report_error(error))


def check_command_line() -> None:
    """Compose the config of the command line, and check it if the command runs one job.

    The jobs of a sweep are checked by the sweeper. `--help` is printed; completion and information are left
    to Hydra.

    Raises:
        ConfigError: Nothing can be run; the output directory has not been changed.
        RecordError: The output directory cannot be written.
    """
    parser = flags_parser()
    args = parser.parse_intermixed_args()
    modes = (args.run, args.multirun, args.cfg, args.info, args.shell_completion)
    if sum(map(bool, modes)) > 1:
        parser.error("only one of --run, --multirun, --cfg, --info and --shell-completion can be given")
    if args.resolve and not (args.cfg or args.help):
        parser.error("--resolve can only be given with --cfg or --help")
    flags = [word for word in sys.argv[1:] if with_quoted_paths(word) not in args.overrides]
    sys.argv[1:] = [*flags, *args.overrides]  # Hydra accepts no override after a flag
    if args.help:
        write(help_text(args.config_dir))
        sys.exit()
    if args.hydra_help or args.version or args.shell_completion or args.info is not None:
        return
    refuse_foreign_torchrun()
    loader = make_loader()
    overrides = add_config_dir(args.overrides, args.config_dir)
    sweep = compose(loader, overrides, sweep=True)
    if args.cfg is None and (args.multirun or sweep.hydra.mode == RunMode.MULTIRUN):
        ensure_writable(Path(sweep.hydra.sweep.dir))
        return
    cfg = job_config(loader, overrides, sweep)
    if args.cfg is None:
        check_structure(cfg)
        if problems := list(unused(cfg, overrides)):
            raise ConfigError(problems)
        if not is_finished(cfg):
            import_libraries(cfg)
            check(cfg)
            check_files(cfg)
            check_machine(cfg)
            device_count(cfg)
            ensure_writable(run_dir(cfg))


def help_text(folder: str | None = None) -> str:
    """Return what `--help` prints: Hydra's template, with the options that can be chosen.

    Args:
        folder: A further directory of configs, whose options are listed too.
    """
    loader = make_loader()
    search = add_config_dir([], folder)
    template = compose(loader, search, sweep=True).hydra.help.template
    options = [f"{group}: {', '.join(names)}" for group, names in public_options(loader, search).items()]
    text = str(template).replace("$APP_CONFIG_GROUPS", "\n".join(options) + "\n")
    return text.replace("python train.py", command("train"))


def flags_parser() -> argparse.ArgumentParser:
    """Return a parser of the flags that Hydra documents, and of overrides anywhere between them."""
    parser = argparse.ArgumentParser(add_help=False, usage="%(prog)s [--help] [--multirun] [key=value ...]")
    for flag in ("--help -h", "--hydra-help", "--version", "--resolve", "--run -r", "--multirun -m"):
        parser.add_argument(*flag.split(), action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", const="all", nargs="?")
    for flag in ("--package -p", "--config-path -cp", "--config-name -cn", "--config-dir -cd"):
        parser.add_argument(*flag.split())
    parser.add_argument("--experimental-rerun")
    parser.add_argument("overrides", nargs="*", type=with_quoted_paths)
    return parser


def job(cfg: DictConfig) -> float | str:
    """Execute one run unless it is finished, and return its monitored metric, measured or as recorded.

    A run that another process executes is waited for, and then executed if that process did not finish it. In
    a sweep of `StudySweeper` the sweeper waits, so that other runs go first; the job then returns
    `RUNNING_ELSEWHERE`.
    """
    die_with_sweep()
    directory = run_dir(cfg)
    if not is_finished(cfg):  # of a finished run nothing is written, so that its study can be read-only
        with run_lock(directory) as locked:
            if locked:
                return _run_unless_finished(cfg)
        if _sweeper_waits():
            return RUNNING_ELSEWHERE
        log.info(
            "another process executes this run: waiting until it ends (Ctrl-C stops waiting): %s", directory
        )
        with run_lock(directory, wait=True):
            return _run_unless_finished(cfg)
    return _recorded_metric(cfg)


def _run_unless_finished(cfg: DictConfig) -> float:
    """Execute the run whose lock this process has, unless another process finished it before."""
    if is_finished(cfg):
        return _recorded_metric(cfg)
    log.info("run: %s", run_dir(cfg))
    return _run(cfg)


def _recorded_metric(cfg: DictConfig) -> float:
    log.info("finished already: %s (force=true runs it again)", run_dir(cfg))
    return monitored_value(run_dir(cfg))


def _is_sweep() -> bool:
    """Return whether this job is one of a sweep; a job that is called from Python is none."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _sweeper_waits() -> bool:
    return _is_sweep() and str(HydraConfig.get().sweeper.get("_target_")).endswith(".StudySweeper")


def _run(cfg: DictConfig) -> float:
    """Execute a run and report an error at once.

    In a sweep the error is raised again for the sweeper to count; otherwise it ends the process.
    """
    with imports_uncollected():
        import_libraries(cfg)
        from pytorch_lightning.utilities.exceptions import SIGTERMException

        from gatescope.run import run

    try:
        devices = device_count(cfg)
        result = spread(cfg, devices) if devices > 1 else run(cfg)
    except SIGTERMException as error:  # a SystemExit without a code
        print("preempted; the record keeps what was measured", file=sys.stderr)
        raise SystemExit(PREEMPTED) from error
    except Exception as error:
        code = report_error(error)
        if _is_sweep():
            raise
        raise SystemExit(code) from error  # Hydra adds a message of its own to any other exception
    metrics = [
        f"{name} {value:.4g}{' of 100' if name in OF_100 else ''}"
        for name, value in result.summary.items()
        if name.startswith("test/")
    ]
    log.info("finished: %s  %s", result.directory, "  ".join(metrics))
    if not _is_sweep():
        for line in lines_of_run(cfg):
            log.info("%s", line)
    return result.monitored


def report_error(error: BaseException) -> int:
    """Print an error to stderr, as a message or as a traceback, and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted; the record keeps what was measured", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, ConfigError | HydraException | OmegaConfBaseException):
        print(error, file=sys.stderr)
        return USAGE
    if isinstance(error, SweepFailed) or has_user_message(error):
        print(error, file=sys.stderr)
        return getattr(error, "exit_code", FAILED)
    traceback.print_exception(error)
    return FAILED


def has_user_message(error: BaseException) -> bool:
    """Return whether the message alone is enough: this package raised the error, or the system for a file."""
    if isinstance(error, OSError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    ours = bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
    return ours and isinstance(error, EXPECTED)
