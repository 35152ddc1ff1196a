"""The stages of a tuned sweep: trials of every variant, then the best setting of each on other seeds."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from gatescope.config import ConfigError
from gatescope.jobs import Job
from gatescope.tracking.identity import digest, result_config, run_dir
from gatescope.tracking.outcomes import first_line, monitored, monitored_value
from gatescope.tracking.runfile import read_run
from gatescope.tracking.variants import labels_of, leaves, value_text
from gatescope.tuning import halving
from gatescope.tuning.space import overrides
from gatescope.tuning.trials import Trial, Trials

log = logging.getLogger(__name__)

FOLDER = "tune"
"""Folder of the journals, in the folder of the study."""


Check = Callable[[list[list[str]]], Sequence[Job]]
"""Returns the checked jobs of these overrides, one for each run."""
Run = Callable[[Sequence[Job]], Iterable[tuple[Job, BaseException | None]]]
"""Runs jobs that are not finished, and yields each with its error."""


class TrialsFailed(RuntimeError):
    """Trials failed for a reason that another try may not have."""


@dataclass
class Arm:
    """A variant under one condition, with its trials.

    Attributes:
        name: Its label, such as "gru-none data=tweets".
        words: Its overrides, without the seed.
        trials: Its trials.
        cfg: Config of one of its runs without tuning.
    """

    name: str
    words: list[str]
    trials: Trials
    cfg: Mapping[str, Any]


def tuned(jobs: Sequence[Job], tune: Mapping[str, Any], check: Check, run: Run) -> list[list[str]]:
    """Run the trials of every variant, and return the overrides of the final runs.

    Args:
        jobs: The jobs of the sweep without tuning. Those that differ in their seeds alone are one variant.
        tune: The config group `tune`.
        check: Checks overrides and returns jobs.
        run: Runs jobs.

    Raises:
        ConfigError: The space does not fit the sweep; no job was started.
        TrialsFailed: Trials failed. The same command runs them again.
    """
    _check_seeds(jobs, tune)
    arms = _arms(jobs, tune)
    log.info("tuning: %d variants, %d trials each (%s)", len(arms), tune["trials"], tune["sampler"])
    selected = _halved(list(arms.values()), tune, check, run) if tune["halving"] else None
    while batch := [
        (arm, trial)
        for arm in arms.values()
        for trial in arm.trials.open(tune["parallel"])
        if selected is None or trial.number in selected[arm.name]
    ]:
        _run_batch(batch, tune, check, run)
    for arm in arms.values():
        log.info("%s: %s", arm.name, _chosen(arm, tune))
    return [_final(job, arms.get(_arm_key(job.overrides))) for job in jobs]


def _check_seeds(jobs: Sequence[Job], tune: Mapping[str, Any]) -> None:
    if shared := sorted({job.cfg["seed"] for job in jobs} & set(tune["seeds"])):
        raise ConfigError(
            [f"tune.seeds: given {shared[0]}, a seed of the final runs; give seeds that they lack"]
        )


def _arm_key(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in words if not word.startswith("seed="))


def _arms(jobs: Sequence[Job], tune: Mapping[str, Any]) -> dict[tuple[str, ...], Arm]:
    """Return the variants that are tuned, by their overrides; a baseline has nothing to tune."""
    by_key: dict[tuple[str, ...], Job] = {}
    for job in jobs:
        if "baseline" not in job.cfg["model"]:
            by_key.setdefault(_arm_key(job.overrides), job)
    labels = labels_of([job.cfg for job in by_key.values()])
    arms = {}
    for (key, job), label in zip(by_key.items(), labels, strict=True):
        space = _space_of(job, tune, label.text)
        folder = run_dir(job.cfg).parent / FOLDER
        arms[key] = Arm(label.text, list(key), _trials(job, tune, space, folder), job.cfg)
    return arms


def _space_of(job: Job, tune: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the part of the space whose keys this variant has."""
    space = {key: domain for key, domain in tune["space"].items() if domain is not None}
    swept = {word.split("=", 1)[0] for word in job.overrides}
    if both := sorted(swept & set(space)):
        raise ConfigError(
            [f"tune.space: {both[0]} is also given on the command line or by the study; leave one out"]
        )
    known = {key for key, _ in leaves(job.cfg)}
    own = {key: domain for key, domain in space.items() if key in known}
    if not own:
        raise ConfigError([f"tune.space: {name} has none of the keys {', '.join(space)}"])
    if left_out := [key for key in space if key not in own]:
        log.info("tuning: %s has no %s, which is left out", name, ", ".join(left_out))
    return own


def _trials(job: Job, tune: Mapping[str, Any], space: Mapping[str, Any], folder: Path) -> Trials:
    """Return the trials of a variant; another space, sampler or config has other trials."""
    result = {key: value for key, value in result_config(job.cfg).items() if key != "seed"}
    options = {key: tune[key] for key in ("sampler", "seeds", "seed")}
    name = digest(options | {"space": space, "result": result})
    return Trials(folder / f"{name}.journal", name, tune["sampler"], tune["trials"], space, tune["seed"])


def _halved(
    arms: Sequence[Arm], tune: Mapping[str, Any], check: Check, run: Run
) -> dict[str, Collection[int]]:
    """Run short trainings by successive halving, and return the numbers of the trials that go on, by arm.

    All trials of the budget are compared, also those that have a result in full: a command that was stopped
    goes on with the same ones.
    """
    if (why := halving.problem(tune, [arm.cfg for arm in arms])) is not None:
        raise ConfigError([why])
    left = {arm.name: {trial.number: trial for trial in arm.trials.all()} for arm in arms}
    for share in halving.shares(tune["trials"], tune["halving"]):
        batch = [(arm, trial) for arm in arms for trial in left[arm.name].values()]
        values = _run_batch(batch, tune, check, run, share)
        for arm in arms:
            scores = {number: values[arm.name, number] for number in left[arm.name]}
            left[arm.name] = {
                number: left[arm.name][number] for number in halving.kept(scores, tune["halving"])
            }
            log.info("%s: of %d trials %d go on", arm.name, len(scores), len(left[arm.name]))
    return {name: set(trials) for name, trials in left.items()}


def _run_batch(
    batch: Sequence[tuple[Arm, Trial]],
    tune: Mapping[str, Any],
    check: Check,
    run: Run,
    share: float | None = None,
) -> dict[tuple[str, int], float | None]:
    """Run trials of all variants and return their results, by arm and number.

    Args:
        batch: Arms and their trials.
        tune: The config group `tune`.
        check: Checks overrides and returns jobs.
        run: Runs jobs.
        share: Share of the length of training that is run; None for trials in full, whose results are kept in
            their journals.

    Raises:
        TrialsFailed: Runs failed for a reason that another try may not have.
    """
    numbers: dict[tuple[str, ...], int] = {}  # equal settings are one run, which has the first number
    short = {arm.name: [] if share is None else halving.shortened(arm.cfg, share) for arm, _ in batch}
    settings = [(*arm.words, *short[arm.name], *overrides(trial.params)) for arm, trial in batch]
    stage = "tune.stage=trial" if share is None else "tune.stage=rung"
    words = [
        [
            (*own, f"seed={seed}", stage, f"tune.number={numbers.setdefault(own, trial.number)}")
            for seed in tune["seeds"]
        ]
        for own, (_, trial) in zip(settings, batch, strict=True)
    ]
    jobs = check([list(one) for of_trial in words for one in of_trial])
    paths = {tuple(job.overrides): run_dir(job.cfg) for job in jobs}
    missing = [job for job in jobs if not job.finished]
    log.info("trials: %d runs, %d finished already", len(jobs), len(jobs) - len(missing))
    errors = {run_dir(job.cfg): error for job, error in run(missing)}
    failed: list[str] = []
    values: dict[tuple[str, int], float | None] = {}
    for (arm, trial), of_trial in zip(batch, words, strict=True):
        own_paths = [paths[one] for one in of_trial]
        lost = [
            error for path in own_paths if (error := errors.get(path)) is not None and not _diverged(error)
        ]
        if lost:
            failed.append(f"{arm.name}, trial {trial.number}: {first_line(lost[0])}")
            continue
        values[arm.name, trial.number] = _value(own_paths)
        if share is None:
            arm.trials.tell(trial.number, values[arm.name, trial.number])
    if failed:
        raise TrialsFailed(
            f"{len(failed)} trials failed; the same command runs them again\n" + "\n".join(failed)
        )
    return values


def _diverged(error: BaseException) -> bool:
    return type(error).__name__ == "NonFiniteLoss"


def _value(paths: Sequence[Path]) -> float | None:
    """Return the mean over seeds of the monitored metric, larger is better; None where one has none."""
    values = [_signed(path) for path in paths]
    return fmean(values) if all(map(math.isfinite, values)) else None


def _signed(path: Path) -> float:
    record = read_run(path)
    if record.get("status") != "finished":
        return math.nan
    value = monitored_value(path)
    return -value if monitored(record["task"])[1] == "min" else value


def _chosen(arm: Arm, tune: Mapping[str, Any]) -> str:
    """Return a sentence on the setting that was chosen."""
    if (best := arm.trials.best) is None:
        raise TrialsFailed(f"{arm.name}: none of {tune['trials']} trials has a result on validation")
    settings = ", ".join(f"{key}={value_text(value)}" for key, value in best.params.items())
    trials = f"{arm.trials.results} trials"
    if tune["halving"]:
        trials = f"{tune['trials']} trials, {arm.trials.results} of them in full,"
    return f"best of {trials} is number {best.number}: {settings}"


def _final(job: Job, arm: Arm | None) -> list[str]:
    """Return the overrides of a final run; a baseline keeps its own."""
    best = None if arm is None else arm.trials.best
    if best is None:
        return job.overrides
    return [*job.overrides, *overrides(best.params), "tune.stage=final", f"tune.number={best.number}"]
