"""List how far the runs of a study are: gatescope status study=first_light

    study=NAME   and any other words of the `gatescope train` that runs it (seed=0,1,2,3,4, root=PATH)
    --watch      show a progress bar until all runs are finished; Ctrl-C ends it

Lists each run as finished, running, stale (killed), failed, preempted, interrupted or missing, with the
reason if it ended early, and estimates the time left. Exit code: 0, or 2 for wrong arguments.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from gatescope.cli import USAGE, flags_parser
from gatescope.composition import add_config_dir, make_loader
from gatescope.config import ConfigError
from gatescope.invocation import write
from gatescope.tracking.progress import Job, Progress, jobs, read_progress, report, summary

EVERY_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope status` and return its exit code."""
    parser = flags_parser()
    parser.add_argument("--watch", action="store_true")
    args = parser.parse_intermixed_args(arguments)
    if args.help:
        write(__doc__)
        return 0
    try:
        listed = jobs(make_loader(), add_config_dir(args.overrides, args.config_dir))
    except ConfigError as error:
        print(f"status: {error}", file=sys.stderr)
        return USAGE
    write(report(watch(listed) if args.watch else [read_progress(job) for job in listed]))
    return 0


def watch(listed: Sequence[Job]) -> list[Progress]:
    """Show a progress bar until all runs are finished or Ctrl-C, and return the progress of each job."""
    progress = [read_progress(job) for job in listed]
    with tqdm(total=len(listed), unit="run", bar_format="{n_fmt}/{total_fmt} |{bar:30}| {desc}") as bar:
        try:
            while True:
                bar.n = sum(one.status == "finished" for one in progress)
                bar.set_description_str(summary(progress))
                if bar.n == len(listed):
                    return progress
                time.sleep(EVERY_SECONDS)
                progress = [read_progress(job) for job in listed]
        except KeyboardInterrupt:
            return progress
