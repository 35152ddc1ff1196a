"""A sweeper that checks every job before the first one starts, and runs only the jobs that are not finished.

Annotations are not postponed in this module: Hydra executes a plugin before the module is in `sys.modules`,
where dataclasses look up postponed annotations.
"""

import contextlib
import io
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gatescope.composition import JobConfigs, grid
from gatescope.config import ConfigError, check, check_files, check_structure
from gatescope.devices import device_count
from gatescope.jobs import Job
from gatescope.machine import check_machine
from gatescope.overrides import quoted
from gatescope.processes import die_with_sweep
from gatescope.startup import import_libraries
from gatescope.sweep_data import SweepData
from gatescope.tracking.closing import lines_of_sweep
from gatescope.tracking.directory import is_locked
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import (
    RUNNING_ELSEWHERE,
    SweepFailed,
    first_line,
    is_finished,
    monitored_value,
    sweep_table,
)
from gatescope.tracking.sweep_checks import check_sweep
from gatescope.tracking.sweep_progress import SweepProgress
from gatescope.tracking.variants import labels_of

log = logging.getLogger(__name__)


def _is_for_users(record: logging.LogRecord) -> bool:
    """Return whether to log a line of the joblib launcher, which has one for each job beside our progress."""
    return record.levelno > logging.INFO


WAIT_SECONDS = 0.5
"""Seconds between two checks of runs that another process executes."""


@dataclass
class SweeperConfig:
    """The node `hydra.sweeper`: a study file sets `params`."""

    _target_: str = "hydra_plugins.gatescope_sweeper.sweeper.StudySweeper"
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store("gatescope", SweeperConfig, group="hydra/sweeper", provider="gatescope")


class StudySweeper(Sweeper):
    """A sweep over the grid of all comma-separated values of a study file and of the command line.

    Args:
        params: Swept values by key, as a study file gives them. A key of the command line replaces them.
    """

    def __init__(self, params: dict[str, str]) -> None:
        self.params = params
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.data = SweepData()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what Hydra hands to a sweeper, and make the launcher."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the jobs that are not finished yet, and wait for those that another process executes.

        Returns:
            The result of each job, in the order of the grid. For a job that was finished before, its return
            value is the recorded metric.

        Raises:
            ConfigError: A job's config is wrong; no job was started.
            SweepFailed: A job failed; all others were run.
        """
        words = self.expand(arguments)
        assert self.config is not None
        if self.config.tune.sampler is not None:
            words = self.tuned(words)
        jobs = self.check(words)
        missing = [job for job in jobs if not job.finished]
        log.info("%d runs, %d finished already, %d to run", len(jobs), len(jobs) - len(missing), len(missing))
        returns: dict[str, JobReturn] = {}
        reasons: dict[str, str] = {}
        try:
            for job, result in self.launch(missing, jobs):
                returns[str(run_dir(job.cfg))] = result
                if (error := error_of(result)) is not None:
                    reasons[str(run_dir(job.cfg))] = first_line(error)
        except (
            Exception
        ) as error:  # not an error of a job, which is in its result: a worker died, for example
            raise SweepFailed(
                f"the sweep was cut short, {type(error).__name__}: {first_line(error)}; "
                "the same command runs what is missing"
            ) from error
        finally:  # also when the sweep is interrupted
            print(sweep_table([job.cfg for job in jobs], reasons))
            print(*lines_of_sweep([job.cfg for job in jobs]), sep="\n")
        if reasons:
            raise SweepFailed(
                f"{len(reasons)} of {len(missing)} runs failed; the same command runs them again"
            )
        return [returns.get(str(run_dir(job.cfg))) or recorded(job) for job in jobs]

    def tuned(self, words: list[list[str]]) -> list[list[str]]:
        """Run the trials of `tune`, and return the overrides of the final runs with the chosen settings.

        Args:
            words: Overrides of the jobs without tuning.

        Raises:
            ConfigError: A job or the space is wrong; no job was started.
            SweepFailed: Trials failed.
        """
        try:
            from gatescope.tuning.stage import TrialsFailed, tuned
        except ModuleNotFoundError as error:
            raise ConfigError(
                [f"tune: needs {error.name}; pip install -c constraints.txt -e '.[tune]'"]
            ) from error
        assert self.config is not None
        tune: Any = OmegaConf.to_container(self.config.tune, resolve=True)

        def run(jobs: Sequence[Job]) -> Iterator[tuple[Job, BaseException | None]]:
            return ((job, error_of(result)) for job, result in self.launch(list(jobs), jobs))

        try:
            return tuned(self.check(words), tune, self.check, run)
        except TrialsFailed as error:
            raise SweepFailed(str(error)) from error

    def launch(self, pending: list[Job], jobs: Sequence[Job]) -> Iterator[tuple[Job, JobReturn]]:
        """Run jobs and yield their results.

        A run that another process executes is tried again when that process has ended.

        Args:
            pending: The jobs to run.
            jobs: All jobs of the sweep; the names of runs on W&B differ from each other among these.
        """
        if not pending:
            return
        assert self.launcher is not None
        if isinstance(options := getattr(self.launcher, "joblib", None), dict):
            options["initializer"] = die_with_sweep  # also for workers that never get a job
            logging.getLogger("hydra_plugins.hydra_joblib_launcher._core").addFilter(_is_for_users)
        words = dict(zip(map(id, pending), named(jobs, pending), strict=True))
        progress = SweepProgress([job.cfg for job in jobs])
        logged = False
        while pending:
            free = [job for job in pending if not is_locked(run_dir(job.cfg))]
            for job, result in self.launch_free(free, words, progress):
                if not _is_under_way(result):
                    pending = [other for other in pending if other is not job]
                    yield job, result
            if pending:
                if not logged:
                    log.info("%d runs are under way in another process: waiting until they end", len(pending))
                    logged = True
                time.sleep(WAIT_SECONDS)
                ended = [job for job in pending if is_finished(job.cfg)]
                yield from ((job, recorded(job)) for job in ended)
                pending = [job for job in pending if all(job is not other for other in ended)]

    def launch_free(
        self, free: list[Job], words: dict[int, list[str]], progress: SweepProgress
    ) -> Iterator[tuple[Job, JobReturn]]:
        """Run jobs, one after another or all by a launcher of several processes, and yield their results.

        Args:
            free: Jobs that no other process executes.
            words: Overrides by the id of the job.
            progress: Says which run starts, or how many have ended.
        """
        assert self.launcher is not None
        assert self.config is not None
        if not str(self.config.hydra.launcher._target_).endswith("BasicLauncher"):
            if free:
                with progress.watched():
                    results = self.launcher.launch([words[id(job)] for job in free], initial_job_idx=0)
                yield from zip(free, results, strict=True)
            return
        for place, job in enumerate(free):
            progress.say_start(job.cfg)
            (result,) = self.launcher.launch([words[id(job)]], initial_job_idx=place)
            progress.say_end(job.cfg)
            yield job, result

    @property
    def runs_here(self) -> bool:
        """Whether jobs run on the machine of the sweep, so that its devices can be checked."""
        assert self.config is not None
        return str(self.config.hydra.launcher._target_).endswith(("BasicLauncher", "JoblibLauncher"))

    def expand(self, arguments: list[str]) -> list[list[str]]:
        """Return the overrides of every job, in the order of the grid."""
        assert self.hydra_context is not None
        swept = [f"{key}={values}" for key, values in self.params.items()]
        return grid(self.hydra_context.config_loader, [*swept, *arguments])

    def check(self, jobs: list[list[str]]) -> list[Job]:
        """Compose and check every job; the config of a finished run was checked when it ran.

        Returns:
            The jobs, one for each run: overrides that give the same run are one job.

        Raises:
            ConfigError: Jobs are wrong, a swept key cannot change a result, or the data have fewer folds.
        """
        assert self.hydra_context is not None
        assert self.config is not None
        fixed = list(self.config.hydra.overrides.hydra)
        composed = JobConfigs(self.hydra_context.config_loader)
        checked: dict[str, Job] = {}
        problems: dict[str, list[str]] = {}
        configs: list[dict[str, Any]] = []
        for overrides in jobs:
            try:
                cfg = composed.resolved([*fixed, *overrides])
                check_structure(cfg)
                done = is_finished(cfg)
                if not done:
                    import_libraries(cfg)
                    check(cfg)
                    check_files(cfg)
                    if self.runs_here:
                        check_machine(cfg)
                        device_count(cfg)
                configs.append(cfg)
                checked.setdefault(str(run_dir(cfg)), Job(overrides, cfg, done))
            except ConfigError as error:
                for problem in error.problems:
                    problems.setdefault(problem, []).append(" ".join(overrides))
        if problems:
            bad = {job for jobs_with_it in problems.values() for job in jobs_with_it}
            raise ConfigError(
                [f"{len(bad)} of {len(jobs)} jobs are invalid, none started:", *_format_problems(problems)]
            )
        check_sweep(configs, jobs)
        self.data.check([job.cfg for job in checked.values() if not job.finished])
        return list(checked.values())


def named(jobs: Sequence[Job], missing: Sequence[Job]) -> list[list[str]]:
    """Return the overrides of the jobs to run, each with a name for W&B unless the command sets one.

    The name is the label of the job in this sweep and its seed, such as "gru-none lr=0.01 s0".
    """
    labels = {id(job): label for job, label in zip(jobs, labels_of([job.cfg for job in jobs]), strict=True)}
    words = []
    for job in missing:
        name = quoted(f"{labels[id(job)].text} s{job.cfg['seed']}")
        words.append(
            job.overrides if job.cfg["tracking"]["name"] else [*job.overrides, f"tracking.name={name}"]
        )
    return words


def error_of(result: JobReturn) -> BaseException | None:
    """Return the error of a failed job, else None."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # Hydra prints the overrides of a failed job
            _ = result.return_value
    except Exception as error:
        return error
    return None


def recorded(job: Job) -> JobReturn:
    """Return the result of a job that was finished before the sweep, from its record.

    It has no `cfg`: the config of a thousand jobs as DictConfig takes half of the time of the command.
    """
    result = JobReturn(
        overrides=job.overrides,
        working_dir=os.getcwd(),
        status=JobStatus.COMPLETED,
    )
    result.return_value = monitored_value(run_dir(job.cfg))
    return result


def _is_under_way(result: JobReturn) -> bool:
    return result.status == JobStatus.COMPLETED and result.return_value == RUNNING_ELSEWHERE


def _format_problems(problems: dict[str, list[str]]) -> list[str]:
    return [
        f"  {problem} ({jobs[0]}{f', and {len(jobs) - 1} more' if len(jobs) > 1 else ''})"
        for problem, jobs in problems.items()
    ]
