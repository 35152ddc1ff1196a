"""A sweep that checks every job before the first starts, runs only what is missing, and ends with a table.

Annotations are not postponed here: Hydra executes a plugin before the module is in sys.modules, where
dataclasses would look up postponed ones.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus

from gatescope.composition import JobConfigs, grid
from gatescope.config import ConfigError, check, check_structure
from gatescope.distributed import device_count
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import SweepFailed, finished, one_line, table
from gatescope.tracking.variants import check_sweep, labels_of

log = logging.getLogger(__name__)


@dataclass
class SweeperConfig:
    _target_: str = "hydra_plugins.gatescope_sweeper.sweeper.StudySweeper"
    params: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store("gatescope", SweeperConfig, group="hydra/sweeper", provider="gatescope")


@dataclass
class Job:
    overrides: list[str]
    cfg: dict[str, Any]
    finished: bool


class StudySweeper(BasicSweeper):
    """The grid of all comma-separated values, those of a study file and those of the command line.

    Args:
        params: swept values by key, as a study file gives them; the same key on the command line wins.
    """

    def __init__(self, params: dict[str, str]) -> None:
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Runs the jobs that are not finished yet.

        Raises:
            ConfigError: a job's config is wrong; none was started.
            SweepFailed: a job failed; all others were run.
        """
        assert self.launcher is not None
        jobs = self.check(self.expand(arguments))
        missing = [job for job in jobs if not job.finished]
        log.info("%d runs, %d finished already, %d to run", len(jobs), len(jobs) - len(missing), len(missing))
        reasons: dict[str, str] = {}
        returns: Sequence[JobReturn] = []
        try:
            if missing:
                returns = self.launcher.launch(named(jobs, missing), initial_job_idx=0)
                reasons = {
                    str(run_dir(job.cfg)): one_line(result._return_value)
                    for job, result in zip(missing, returns, strict=True)
                    if result.status == JobStatus.FAILED
                }
        except Exception as error:  # not a job's, which is in its return: a worker died, say
            raise SweepFailed(
                f"the sweep was cut short, {type(error).__name__}: {one_line(error)}; "
                "the same command runs what is missing"
            ) from error
        finally:  # an interrupted sweep shows what it reached
            print(table([job.cfg for job in jobs], reasons))
        if reasons:
            raise SweepFailed(
                f"{len(reasons)} of {len(missing)} runs failed; the same command runs them again"
            )
        return list(returns)

    @property
    def runs_here(self) -> bool:
        """Whether jobs see the hardware that the sweep sees."""
        assert self.config is not None
        return str(self.config.hydra.launcher._target_).endswith(("BasicLauncher", "JoblibLauncher"))

    def expand(self, arguments: list[str]) -> list[list[str]]:
        """The overrides of every job, in the order of the grid."""
        assert self.hydra_context is not None
        return grid(self.hydra_context.config_loader, [*self._parse_config(), *arguments])

    def check(self, jobs: list[list[str]]) -> list[Job]:
        """Composes every job; the config of a finished one was checked when it ran.

        Raises:
            ConfigError: jobs are wrong, or a key is swept that cannot change a result.
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
                done = finished(cfg)
                if not done:
                    check(cfg)
                    if self.runs_here:
                        device_count(cfg)
                configs.append(cfg)
                checked.setdefault(str(run_dir(cfg)), Job(overrides, cfg, done))
            except ConfigError as error:
                for problem in error.problems:
                    problems.setdefault(problem, []).append(" ".join(overrides))
        if problems:
            bad = {job for jobs_with_it in problems.values() for job in jobs_with_it}
            raise ConfigError(
                [f"{len(bad)} of {len(jobs)} jobs are invalid, none started:", *_told(problems)]
            )
        check_sweep(configs, jobs)
        return list(checked.values())


def named(jobs: Sequence[Job], missing: Sequence[Job]) -> list[list[str]]:
    """The overrides of the jobs to run, and the name on W&B of each that was given none.

    It is what tells the job apart in this sweep, and its seed: "gru-none lr=0.01 s0".
    """
    labels = {id(job): label for job, label in zip(jobs, labels_of([job.cfg for job in jobs]), strict=True)}
    found = []
    for job in missing:
        name = quoted(f"{labels[id(job)].text} s{job.cfg['seed']}")
        found.append(
            job.overrides if job.cfg["tracking"]["name"] else [*job.overrides, f"tracking.name={name}"]
        )
    return found


def quoted(text: str) -> str:
    """Text as one value of an override, whatever is in it."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", text).replace("${", "$ {") + "'"


def _told(problems: dict[str, list[str]]) -> list[Any]:
    return [
        f"  {problem} ({jobs[0]}{f', and {len(jobs) - 1} more' if len(jobs) > 1 else ''})"
        for problem, jobs in problems.items()
    ]
