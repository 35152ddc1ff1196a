"""How far a study is, from its records: python scripts/status.py study=first_light

    study=NAME   and any other words of the `python train.py` that runs it (seed=0,1,2,3,4, root=PATH)
    --watch      a progress bar until all runs are finished; Ctrl-C ends it

Lists each run as finished, running, stale (killed), failed, preempted, interrupted or missing, with the
reason where one ended early, and estimates the time left. Exit code 0, or 2 for wrong words.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from gatescope.composition import make_loader
from gatescope.config import ConfigError
from gatescope.tracking.progress import Job, Progress, jobs, read_progress, report, summary

CONF = Path(__file__).resolve().parents[1] / "conf"
EVERY_SECONDS = 2.0
FLAGS = ("--watch", "-m", "--multirun")


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    try:
        asked = jobs(make_loader(CONF), [word for word in words if word not in FLAGS])
    except ConfigError as error:
        print(f"status: {error}", file=sys.stderr)
        return 2
    found = watch(asked) if "--watch" in words else [read_progress(job) for job in asked]
    print(report(found))
    return 0


def watch(asked: Sequence[Job]) -> list[Progress]:
    """Shows a bar until all runs are finished or Ctrl-C; returns how far they were at the end."""
    found = [read_progress(job) for job in asked]
    with tqdm(total=len(asked), unit="run", bar_format="{n_fmt}/{total_fmt} |{bar:30}| {desc}") as bar:
        try:
            while True:
                bar.n = sum(one.status == "finished" for one in found)
                bar.set_description_str(summary(found))
                if bar.n == len(asked):
                    return found
                time.sleep(EVERY_SECONDS)
                found = [read_progress(job) for job in asked]
        except KeyboardInterrupt:
            return found


if __name__ == "__main__":
    sys.exit(main())
