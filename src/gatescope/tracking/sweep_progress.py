"""What a sweep says while its runs go on: which one, how many of them, and the time left.

It is read from the records, so that it is the same for runs in this process and in others. This module does
not import torch.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatescope.tracking.identity import run_dir
from gatescope.tracking.progress import Job, Progress, clock, read_progress, seconds_left
from gatescope.tracking.variants import labels_of

log = logging.getLogger(__name__)

READ_SECONDS = 10.0
"""Seconds after which the records of all runs are read again, which other processes may have written."""
POLL_SECONDS = 2.0
"""Seconds between two looks at the records of runs that other processes execute."""


class SweepProgress:
    """The progress of the runs of a sweep.

    Args:
        configs: Configs of all runs, finished ones included.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]]) -> None:
        labels = labels_of(configs)
        self._jobs = {
            run_dir(cfg): Job(label.text, cfg, run_dir(cfg))
            for cfg, label in zip(configs, labels, strict=True)
        }
        self._progress: dict[Path, Progress] = {}
        self._ended: set[Path] = set()
        self._read_at = -math.inf

    def say_start(self, cfg: Mapping[str, Any]) -> None:
        """Log the place, variant and seed of a run that starts now, and the time left."""
        if time.monotonic() - self._read_at > READ_SECONDS:
            self._read()
        directory = run_dir(cfg)
        place = len(self._ended | self._finished()) + 1
        log.info("run %d of %d: %s%s", place, len(self._jobs), _name(self._jobs[directory]), self._left())

    def say_end(self, cfg: Mapping[str, Any]) -> None:
        """Note that a run has ended, finished or failed."""
        directory = run_dir(cfg)
        self._ended.add(directory)
        self._progress[directory] = read_progress(self._jobs[directory])

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Log a line whenever runs have ended within the block, which other processes execute."""
        self._read()
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _watch(self, stop: threading.Event) -> None:
        count = len(self._finished())
        while not stop.wait(POLL_SECONDS):
            self._read()
            if len(self._finished()) > count:
                count = len(self._finished())
                log.info(
                    "%d of %d runs are finished%s%s", count, len(self._jobs), self._running(), self._left()
                )

    def _running(self) -> str:
        names = [_name(one.job) for one in self._progress.values() if one.status == "running"]
        return f"; running: {'; '.join(names)}" if names else ""

    def _left(self) -> str:
        left = seconds_left(list(self._progress.values()))
        return f" (about {clock(left)} left)" if left else ""

    def _finished(self) -> set[Path]:
        return {path for path, one in self._progress.items() if one.status == "finished"}

    def _read(self) -> None:
        """Read the records of runs that were not finished before."""
        finished, self._read_at = self._finished(), time.monotonic()
        self._progress |= {
            path: read_progress(job) for path, job in self._jobs.items() if path not in finished
        }


def _name(job: Job) -> str:
    return f"{job.label} s{job.cfg['seed']}"
