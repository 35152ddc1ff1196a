"""Lists of recordings with their transcripts: tables, and folders in the layout of LibriSpeech."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gatescope.data.errors import DataError, Problems
from gatescope.data.files.labels import label_text, shorten
from gatescope.data.files.table_reader import Table

AUDIO = ("path", "file", "audio", "audio_filepath", "wav")
TRANSCRIPT = ("sentence", "transcript", "text", "transcription")
SPEAKER = ("speaker", "client_id", "speaker_id")
"""Names of columns that are looked for, those of Common Voice and NeMo among them."""
TRANS = "*.trans.txt"
"""Transcripts of LibriSpeech: lines of an id and its transcript, beside the recordings."""
SUFFIXES = (".flac", ".wav", ".mp3", ".ogg", ".opus")


PUNCTUATION = '.,;:!?"“”„«»()…'
"""Characters that are not spoken."""


def plain(text: str, lower: bool = True, remove: str = PUNCTUATION) -> str:
    """Return a transcript as it is learnt.

    Args:
        text: the transcript.
        lower: whether it becomes lower case.
        remove: characters that are removed.
    """
    kept = text.translate(dict.fromkeys(map(ord, remove)))
    return " ".join((kept.lower() if lower else kept).split())


class Transcribed(NamedTuple):
    """A recording with its transcript.

    Attributes:
        path: of the recording.
        text: the transcript.
        speaker: "" where it is not known.
        where: place in the list.
    """

    path: Path
    text: str
    speaker: str
    where: str


@dataclass(frozen=True)
class Columns:
    """The columns of a table; None looks for the usual names.

    Attributes:
        audio: column of the paths of the recordings.
        transcript: column of the transcripts.
        speaker: column of the speakers.
        folder: that paths are relative to; None for the folder of the table, or its folder `clips`.
    """

    audio: str | None = None
    transcript: str | None = None
    speaker: str | None = None
    folder: Path | None = None

    def folder_for(self, table: Path) -> Path:
        """Return the folder that the paths of a table are relative to."""
        clips = table.parent / "clips"
        return self.folder or (clips if clips.is_dir() else table.parent)


def read_transcripts(path: Path, columns: Columns, by_speaker: bool) -> list[Transcribed]:
    """Return the recordings of a table, or of a folder in the layout of LibriSpeech.

    Args:
        path: of the table or folder.
        columns: of the table.
        by_speaker: whether each recording needs a speaker.

    Raises:
        DataError: there is no such list, a row is incomplete, or a recording does not exist.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    problems = Problems(path)
    rows = _libri_rows(path) if path.is_dir() else _table_rows(path, columns, by_speaker, problems)
    found = []
    for row in rows:
        if not row.text:
            problems.add(row.where, "the transcript is missing")
        elif not row.path.is_file():
            problems.add(row.where, f"no recording {shorten(str(row.path))}")
        elif by_speaker and not row.speaker:
            problems.add(row.where, "the speaker is missing, and splits are by speaker")
        else:
            found.append(row)
    problems.check()
    if not found:
        raise DataError(f"{path}: no recording with a transcript")
    return found


def _table_rows(path: Path, columns: Columns, by_speaker: bool, problems: Problems) -> Iterator[Transcribed]:
    names = Table(path).names()
    audio = find_column(path, "data.audio", columns.audio, AUDIO, names)
    transcript = find_column(path, "data.transcript", columns.transcript, TRANSCRIPT, names)
    chosen = [audio, transcript]
    if by_speaker:
        chosen.append(find_column(path, "data.speaker", columns.speaker, SPEAKER, names))
    for row in Table(path, tuple(chosen), distinct=(audio, transcript)).rows(problems):
        file, text, speaker = [*map(_text, row.values), ""][:3]
        yield Transcribed(columns.folder_for(path) / file, " ".join(text.split()), speaker, row.where)


def find_column(path: Path, key: str, given: str | None, usual: Sequence[str], names: Sequence[str]) -> str:
    """Return the name of a column: the given one, else the first of the usual ones that the table has.

    Args:
        path: of the table.
        key: that chooses the column, for the message.
        given: the given name.
        usual: the usual names.
        names: those of the table.

    Raises:
        DataError: the table has none of them.
    """
    if given is not None:
        return given
    found = [name for name in usual if name in names]
    if not found:
        raise DataError(
            f"{path}: no column {' or '.join(usual)}; it has {', '.join(names[:20])}: choose by {key}=NAME"
        )
    return found[0]


def _text(value: object) -> str:
    return "" if value is None else label_text(value).strip()


def _libri_rows(folder: Path) -> Iterator[Transcribed]:
    """Yield the recordings that the transcripts below a folder list; an id is SPEAKER-CHAPTER-NUMBER."""
    for file in sorted(folder.rglob(TRANS)):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            name, _, text = line.strip().partition(" ")
            if name:
                paths = [file.parent / f"{name}{suffix}" for suffix in SUFFIXES]
                path = next((one for one in paths if one.is_file()), paths[0])
                where = f"{file.relative_to(folder)}, line {number}"
                yield Transcribed(path, " ".join(text.split()), name.partition("-")[0], where)
