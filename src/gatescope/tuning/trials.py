"""The trials of one variant: Optuna's ask and tell, kept in a journal on disk."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from gatescope.tuning.space import distributions, rounded

optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("optuna").propagate = False

NUMBER = "trial"
"""User attribute of a trial of Optuna: its number in the budget, from 0."""


@dataclass(frozen=True)
class Trial:
    """A setting that is tried.

    Attributes:
        number: Its number in the budget of the variant, from 0.
        params: Values by dotted key.
    """

    number: int
    params: dict[str, Any]


class Trials:
    """The trials of one variant.

    The journal holds what was proposed and what came out, so that a command that was stopped goes on with the
    same proposals, and two commands share them. Random proposals depend on `seed` alone: every variant gets
    the same ones, and a larger budget adds to them.

    Args:
        path: The journal; it is made if it does not exist.
        name: Name of the variant's trials in it.
        sampler: "random" or "tpe" (tree-structured Parzen estimator).
        budget: Number of trials.
        space: `tune.space`, by dotted key.
        seed: Seed of the proposals.
    """

    def __init__(
        self, path: Path, name: str, sampler: str, budget: int, space: Mapping[str, Any], seed: int
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.sampler, self.budget, self.seed = sampler, budget, seed
        self.space = distributions(space)
        self._lock = FileLock(path.with_suffix(".asking"))  # Optuna locks {path}.lock itself
        with warnings.catch_warnings(), self._lock:
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(path)))
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )

    def open(self, most: int) -> list[Trial]:
        """Return the trials that have no result yet, and propose new ones within the budget.

        Args:
            most: With the sampler "tpe", which learns from results, the largest number of open trials.
        """
        with self._lock:
            return self._propose() if self.sampler == "random" else self._ask(most)

    def all(self) -> list[Trial]:
        """Return all trials of a random search within the budget, with or without a result."""
        with self._lock:
            self._propose()
            found = self._study.get_trials(deepcopy=False)
        trials = [Trial(one.user_attrs[NUMBER], rounded(one.params, self.space)) for one in found]
        return sorted((one for one in trials if one.number < self.budget), key=lambda one: one.number)

    def tell(self, number: int, value: float | None) -> None:
        """Record the result of a trial, unless it has one.

        Args:
            number: Number of the trial.
            value: The result, larger is better; None for a trial without a result, such as a divergence.
        """
        with self._lock:
            for one in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if one.user_attrs[NUMBER] == number:
                    state = TrialState.FAIL if value is None else None
                    self._study.tell(one.number, value, state=state, skip_if_finished=True)

    @property
    def best(self) -> Trial | None:
        """The trial with the best result, the first of equal ones; None if no trial has one."""
        done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        done = [one for one in done if one.user_attrs[NUMBER] < self.budget]
        if not done:
            return None
        best = min(done, key=lambda one: (-float(one.value or 0.0), one.user_attrs[NUMBER]))
        return Trial(best.user_attrs[NUMBER], rounded(best.params, self.space))

    @property
    def results(self) -> int:
        """Number of trials within the budget that have a result or none."""
        states = (TrialState.COMPLETE, TrialState.FAIL)
        done = self._study.get_trials(deepcopy=False, states=states)
        return sum(one.user_attrs[NUMBER] < self.budget for one in done)

    def _propose(self) -> list[Trial]:
        known = {one.user_attrs[NUMBER] for one in self._study.get_trials(deepcopy=False)}
        source = optuna.create_study(sampler=RandomSampler(seed=self.seed))
        for number in range(self.budget):
            params = rounded(source.ask(self.space).params, self.space)
            if number not in known:
                self._start(params, number)
        return self._open()

    def _ask(self, most: int) -> list[Trial]:
        known = self._study.get_trials(deepcopy=False)
        running = [one for one in known if one.state == TrialState.RUNNING]
        for number in range(len(known), min(self.budget, len(known) + most - len(running))):
            self._study.sampler = self._tpe(number)
            self._start(None, number)
        return self._open()

    def _tpe(self, number: int) -> BaseSampler:
        # Seeded anew for each trial: what is proposed depends on the results alone, not on when it is asked.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            startup = max(4, self.budget // 4)
            return TPESampler(seed=self.seed + number, n_startup_trials=startup, constant_liar=True)

    def _start(self, params: dict[str, Any] | None, number: int) -> None:
        if params is not None:
            self._study.enqueue_trial(params)
        self._study.ask(self.space).set_user_attr(NUMBER, number)

    def _open(self) -> list[Trial]:
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trials = [Trial(one.user_attrs[NUMBER], rounded(one.params, self.space)) for one in running]
        return sorted((one for one in trials if one.number < self.budget), key=lambda one: one.number)
