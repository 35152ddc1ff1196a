"""List how far the runs of a study are: gatescope status study=first_light

    study=NAME   a study of conf/study, with any other words of the `gatescope train` that runs it
                 (seed=0,1,2,3,4, root=PATH); or the folder of any other study: all runs that it holds
    --watch      show a progress bar until all runs are finished; Ctrl-C ends it

Lists each run, in the order of the report, as finished, running, stale (killed), failed, preempted,
interrupted or missing, with the reason if it ended early, and estimates the time left. With study=NAME, the
other runs in the folder of the study come last (baselines, other seeds, earlier settings), as the report has
them, too. Exit code: 0, or 2 for wrong arguments.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from gatescope.analysis.style import order
from gatescope.cli import USAGE, flags_parser
from gatescope.commands.arguments import runs_dir
from gatescope.composition import add_config_dir, make_loader, public_options
from gatescope.config import ConfigError
from gatescope.invocation import write
from gatescope.surroundings import prepare
from gatescope.tracking.progress import Job, Progress, jobs, read_progress, recorded_jobs, report, summary
from gatescope.tracking.run_names import split_overrides
from gatescope.tracking.runfile import CONFIG
from gatescope.tracking.variants import natural

EVERY_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope status` and return its exit code."""
    prepare()
    parser = flags_parser()
    parser.add_argument("--watch", action="store_true")
    args = parser.parse_intermixed_args(arguments)
    if args.help:
        write(__doc__)
        return 0
    try:
        words = add_config_dir(args.overrides, args.config_dir)
        listed = in_order(jobs_of(words))
        others = in_order(others_of(words, listed))
    except ConfigError as error:
        print(f"status: {error}", file=sys.stderr)
        return USAGE
    progress = watch(listed) if args.watch else [read_progress(job) for job in listed]
    write(report(progress, [read_progress(job) for job in others]))
    return 0


def jobs_of(words: list[str]) -> list[Job]:
    """Return the runs of a command, or those in the folder of a study that no file describes.

    Raises:
        ConfigError: The words cannot be composed, and there is no such folder.
    """
    given = dict(split_overrides(words))
    loader, name = make_loader(), given.get("study", "")
    if name and given.keys() <= {"study", "root"} and name not in public_options(loader)["study"]:
        root = Path(given.get("root") or runs_dir()).expanduser()
        if found := recorded_jobs(root / name):
            return found
        studies = sorted({path.parent.parent.name for path in root.glob(f"*/*/{CONFIG}")})
        names = f"; studies with runs in {root}: {', '.join(studies)}" if studies else ""
        try:
            return jobs(loader, words)
        except ConfigError as error:
            raise ConfigError([f"{problem}{names}" for problem in error.problems]) from error
    return jobs(loader, words)


def others_of(words: list[str], listed: Sequence[Job]) -> list[Job]:
    """Return the other runs in the folder of the study that the words name."""
    if "study" not in dict(split_overrides(words)):
        return []
    known = {job.directory.resolve() for job in listed}
    folders = dict.fromkeys(job.directory.parent for job in listed)
    recorded = [job for folder in folders for job in recorded_jobs(folder)]
    return [job for job in recorded if job.directory.resolve() not in known]


def in_order(listed: Sequence[Job]) -> list[Job]:
    """Return the runs in the order of the report: by condition, variant and seed."""
    variants = {name: place for place, name in enumerate(order(job.variant for job in listed))}
    return sorted(
        listed, key=lambda job: (natural(job.condition), variants[job.variant], int(job.cfg["seed"]))
    )


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
