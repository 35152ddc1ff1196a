"""Dates in natural notation to ISO 8601: a transduction whose true alignment is known.

"Tuesday, March 3rd, 1987" and "3.3.87" become "1987-03-03", one character at a time. Numbers separated by
dots are day, month, year, those separated by slashes month, day, year; a year of two digits lies in 1950 to
2049. Each of the 36,525 days of that century is in one split only, in all its notations.
"""

from __future__ import annotations

import calendar
import datetime
from collections.abc import Callable, Sequence
from dataclasses import replace
from string import Formatter
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.pairs import Pair, PairEncoding
from gatescope.data.encoding.tokenizers import make_tokenizer
from gatescope.data.examples import Splits
from gatescope.sequences import Batch, Split

FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
FORMS = (
    "{day} {month} {year}",
    "{day} {mon} {year}",
    "{day}{th} of {month} {year}",
    "{day}{th} {mon} '{yy}",
    "the {day}{th} of {month}, {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday}, {month} {day}{th}, {year}",
    "{month} {day}, {year}",
    "{mon} {day}, {year}",
    "{mon} {day}{th} '{yy}",
    "{year}, {month} {day}",
    "{day}.{month_number}.{year}",
    "{dd}.{mm}.{yy}",
    "{dd}-{mon}-{year}",
    "{mm}/{dd}/{year}",
    "{month_number}/{day}/{yy}",
)
PARTS = {"year": "yy", "month": "mon mm month_number", "day": "dd"}
"""The parts of a date, and further names of each in `FORMS`."""
ISO_POSITIONS = {"year": range(0, 4), "month": range(5, 7), "day": range(8, 10)}
"""Positions of each part in the ISO notation."""
CASES: dict[Callable[[str], str], float] = {str: 0.6, str.lower: 0.3, str.upper: 0.1}
"""Conversions of the letters, with their probabilities."""
SHARES: dict[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


class WrittenDate(NamedTuple):
    """A date in one of `FORMS`.

    Attributes:
        text: the notation.
        spans: start and end in `text` of each part of the date.
    """

    text: str
    spans: dict[str, tuple[int, int]]


def write(date: datetime.date, form: str) -> WrittenDate:
    """Write a date in one of `FORMS`."""
    fields = _fields(date)
    text, spans = "", {}
    for literal, name, _, _ in Formatter().parse(form):
        text += literal
        if name is not None:
            part = next((p for p, others in PARTS.items() if name in (p, *others.split())), None)
            if part is not None:
                spans[part] = (len(text), len(text) + len(fields[name]))
            text += fields[name]
    return WrittenDate(text, spans)


def _fields(date: datetime.date) -> dict[str, str]:
    ending = "th" if date.day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
    return {
        "year": str(date.year),
        "yy": f"{date.year % 100:02}",
        "month": calendar.month_name[date.month],
        "mon": calendar.month_abbr[date.month],
        "month_number": str(date.month),
        "mm": f"{date.month:02}",
        "day": str(date.day),
        "dd": f"{date.day:02}",
        "th": ending,
        "weekday": calendar.day_name[date.weekday()],
    }


class Dates(SequenceData):
    """Transduction from the characters of a date to those of its ISO notation.

    Args:
        train: number of train examples.
        validation: number of validation examples.
        test: number of test examples.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        train: Annotated[int, Field(ge=1)] = 20_000,
        validation: Annotated[int, Field(ge=1)] = 1_000,
        test: Annotated[int, Field(ge=1)] = 2_000,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        self.written: dict[Split, list[WrittenDate]] = {}

    def build(self) -> Splits:
        """Draw the dates and their notations."""
        rng = np.random.default_rng(self.seed)
        pairs = {}
        for split, days in self._days(rng).items():
            dates = [FIRST + datetime.timedelta(int(d)) for d in rng.choice(days, self.sizes[split])]
            written = self.written[split] = _write_all(dates, rng)
            pairs[split] = [Pair(w.text, [d.isoformat()]) for w, d in zip(written, dates, strict=True)]
        notes = {"forms": len(FORMS), "days": (LAST - FIRST).days + 1, "splits": "by day"}
        encoding = PairEncoding("character")
        splits = encoding.splits(pairs["train"], pairs["validation"], pairs["test"], notes)
        return replace(splits, task=replace(splits.task, tokenizer=make_tokenizer("code_points").state))

    def tokenize(self, text: str) -> list[str]:
        """Split a text into characters."""
        return list(text)

    def _days(self, rng: np.random.Generator) -> dict[Split, np.ndarray]:
        """Return the days of each split, as numbers of days after `FIRST`."""
        days = rng.permutation((LAST - FIRST).days + 1)
        ends = np.cumsum([round(share * len(days)) for share in SHARES.values()])
        return dict(zip(SHARES, np.split(days, ends[:-1]), strict=True))

    def alignment(self, split: Split, batch: Batch) -> Tensor:
        """Return (B, U, T) bool, true from the digits of a part to the characters that it is written in."""
        known = torch.zeros(*batch.targets.shape, batch.inputs.shape[1], dtype=torch.bool)
        for row, index in enumerate(batch.ids.tolist()):
            for part, (start, end) in self.written[split][index].spans.items():
                positions = ISO_POSITIONS[part]
                known[row, positions.start : positions.stop, start:end] = True
        return known


def _write_all(dates: Sequence[datetime.date], rng: np.random.Generator) -> list[WrittenDate]:
    """Write each date in a form and a case drawn at random."""
    forms = rng.integers(len(FORMS), size=len(dates))
    cases = rng.choice(len(CASES), size=len(dates), p=list(CASES.values()))
    conversions = [list(CASES)[case] for case in cases]
    written = [write(date, FORMS[form]) for date, form in zip(dates, forms, strict=True)]
    return [WrittenDate(convert(w.text), w.spans) for convert, w in zip(conversions, written, strict=True)]
