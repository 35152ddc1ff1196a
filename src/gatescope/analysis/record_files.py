"""Reading of records: the directories of runs and the files in them. A damaged file becomes a note."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatescope.tracking.runfile import CONFIG, NAME, numbered_rows, read_config, read_valid_run, rebuild_run

RECORD = (NAME, "metrics.jsonl", CONFIG)
"""Files of a record; any one of them shows that a directory is that of a run."""


class NoRuns(Exception):
    """There are no runs to use; the message says where they were looked for and what to do."""


@dataclass(frozen=True)
class RunRecord:
    """The record of one run.

    Attributes:
        directory: Directory of the run.
        run: Content of run.json, or what could be rebuilt of it.
        config: Resolved config; empty where config.yaml is missing or damaged.
    """

    directory: Path
    run: dict[str, Any]
    config: dict[str, Any]

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return str(self.run["run_id"])

    @property
    def finished(self) -> bool:
        """Whether the run has finished."""
        return self.run.get("status") == "finished"

    @property
    def started(self) -> str:
        """Time at which the run started, in ISO format; "" where it is unknown."""
        return str(self.run.get("started") or "")

    def rows(self, name: str, notes: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the rows of a .jsonl file of the record; a damaged line is skipped, with a note.

        Args:
            name: Name of the file; a file that does not exist has no rows.
            notes: Notes are appended to it.
        """
        path = self.directory / name
        for number, row in numbered_rows(path):
            if row is None:
                notes.append(f"{path} line {number} is damaged and was skipped")
            else:
                yield row


def read_records(folder: Path, notes: list[str], name: str = "*") -> list[RunRecord]:
    """Read the records of the runs in a folder, in the order of their directories.

    Args:
        folder: The folder of a study.
        notes: Notes on damaged files are appended to it.
        name: Glob pattern of the names of directories.
    """
    directories = {path.parent for file in RECORD for path in folder.glob(f"{name}/{file}")}
    runs = [(directory, _read_run(directory, notes)) for directory in sorted(directories)]
    return [
        RunRecord(directory, {"run_id": directory.name} | run, _read_config(directory, notes))
        for directory, run in runs
        if run
    ]


def find_run(root: str | Path, name: str) -> Path:
    """Return the directory of a run.

    Args:
        root: The folder of all studies: runs are in `<root>/<study>/<run id>/`.
        name: The id of the run, or the path of its directory or of a file in it.

    Raises:
        NoRuns: There is no such run (the message names the nearest ids), or several studies have one.
    """
    for path in (Path(name), Path(name).parent):
        if any((path / file).is_file() for file in RECORD):
            return path.resolve()
    directories = {path.parent for file in RECORD for path in Path(root).glob(f"*/*/{file}")}
    matching = sorted(directory for directory in directories if directory.name == name)
    if len(matching) > 1:
        raise NoRuns(f"{name} is in several studies, give a path: {', '.join(map(str, matching))}")
    if matching:
        return matching[0]
    ids = sorted({directory.name for directory in directories})
    near = difflib.get_close_matches(name, ids, n=5, cutoff=0.3)
    if near:
        hint = f"nearest: {', '.join(near)}"
    elif ids:
        hint = f"none of the {len(ids)} runs there has a similar id"
    else:
        hint = "there are no runs; root=PATH names another place"
    raise NoRuns(f"no run {name!r} under {root}; {hint}")


def _read_run(directory: Path, notes: list[str]) -> dict[str, Any]:
    run = read_valid_run(directory)
    if run is not None:
        return run
    run, path = rebuild_run(directory), directory / NAME
    problem = "damaged" if path.exists() else "missing"
    result = "the run is shown from the rest of its record" if run else "the run is left out"
    notes.append(f"{path} is {problem}: {result}; running the command of the run again rebuilds the file")
    return run


def _read_config(directory: Path, notes: list[str]) -> dict[str, Any]:
    config = read_config(directory)
    if not config:
        path = directory / CONFIG
        notes.append(f"{path} is {'empty or damaged' if path.exists() else 'missing'}")
    return config
