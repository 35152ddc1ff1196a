"""Sources of runs: where the tables of a study come from."""

from __future__ import annotations

from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Protocol

from gatescope.analysis.record_files import NoRuns, read_records
from gatescope.analysis.record_tables import build_tables
from gatescope.analysis.tables import Tables, summary_names
from gatescope.components import nearest
from gatescope.invocation import command

__all__ = ["NoRuns", "RecordSource", "RunSource", "Source", "Tables", "summary_names"]


class Source(Protocol):
    """Where tables come from."""

    def tables(self) -> Tables:
        """Return the tables of the runs."""
        ...


@dataclass(frozen=True)
class RecordSource:
    """The records of a study on disk, `<root>/<study>/<run id>/`: run.json, config.yaml and two .jsonl files.

    Lines that were not written to their end are skipped, with a note that names file and line. Steps that a
    resumed run repeated are recorded twice; the last values count. Of runs of the same config and seed the
    one that finished last counts; runs that differ in anything that defines a result all count.

    Args:
        root: Folder of all studies.
        study: Name of the study.
    """

    root: str | Path
    study: str

    def tables(self) -> Tables:
        """Read the records and return their tables.

        Raises:
            NoRuns: There is no run of this study under `root`.
        """
        folder = Path(self.root) / self.study
        notes: list[str] = []
        records = read_records(folder, notes)
        if not records:
            raise NoRuns(f"no runs in {folder}{_what_to_do(Path(self.root), self.study)}")
        return build_tables(self.study, records, notes)


@dataclass(frozen=True)
class RunSource:
    """The record of one run, whether or not another run of its study supersedes it.

    Args:
        directory: Directory of the run.
    """

    directory: str | Path

    def tables(self) -> Tables:
        """Read the record and return its tables, with one row in `runs`.

        Raises:
            NoRuns: The directory holds no readable run.json.
        """
        directory, notes = Path(self.directory), list[str]()
        records = read_records(directory.parent, notes, escape(directory.name))
        if not records:
            raise NoRuns("; ".join(notes) or f"no run.json in {directory}")
        return build_tables(str(records[0].run.get("study") or directory.parent.name), records, notes)


def _what_to_do(root: Path, study: str) -> str:
    """Return the end of the message that there are no runs of a study: how to get them, or other names."""
    from gatescope.composition import config_dir  # loads Hydra

    place = "root=/path (or the environment variable RUNS_DIR) names another place"
    if (config_dir() / "study" / f"{study}.yaml").is_file():
        return f": start them with `{command('train')} study={study}`; {place}"
    names = sorted({path.parent.parent.name for path in root.glob("*/*/run.json")})
    if not names:
        return f", and no other study has runs there: `{command('train')} study=…` starts them; {place}"
    close = nearest(study, names)
    hint = f": did you mean study={close}?" if close else ":"
    return f"{hint} Studies with runs there: {', '.join(names)}; {place}"
