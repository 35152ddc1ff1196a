"""Dates: the standard library parses every form, and the alignment matches each digit."""

from __future__ import annotations

import datetime
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.generated.dates import FIRST, FORMS, ISO_POSITIONS, LAST, Dates, write
from gatescope.sequences import END, IGNORE

DIRECTIVES = {
    "{day}": "%d",
    "{dd}": "%d",
    "{month}": "%B",
    "{mon}": "%b",
    "{month_number}": "%m",
    "{mm}": "%m",
    "{year}": "%Y",
    "{yy}": "%y",
    "{weekday}": "%A",
    "{th}": "",
}
dates = st.dates(FIRST, LAST)


@pytest.fixture(scope="module")
def data() -> Dates:
    datamodule = Dates(train=400, validation=100, test=100)
    datamodule.setup()
    return datamodule


def read(text: str, form: str) -> datetime.date:
    """Parse a date with `strptime`, with the century of two digits of the module's docstring."""
    for name, directive in DIRECTIVES.items():
        form = form.replace(name, directive)
    found = datetime.datetime.strptime(re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", text), form).date()
    if "%y" not in form:
        return found
    century = 1900 if found.year % 100 >= 50 else 2000
    return found.replace(year=century + found.year % 100)


@given(date=dates, form=st.sampled_from(FORMS))
@settings(deadline=None, max_examples=200)
def test_a_written_date_is_read_back(date: datetime.date, form: str) -> None:
    text, spans = write(date, form)
    assert read(text, form) == date
    parts = {name: text[start:end] for name, (start, end) in spans.items()}
    assert int(parts["day"]) == date.day
    assert parts["year"] == str(date.year)[-len(parts["year"]) :]
    month = parts["month"]
    assert month.isdigit() == ("/" in form or "." in form)
    assert int(month) == date.month if month.isdigit() else date.strftime("%B").startswith(month)


@given(date=dates)
@settings(deadline=None, max_examples=30)
def test_endings_of_days(date: datetime.date) -> None:
    ending = write(date, "the {day}{th} of {month}, {year}").text.split()[1].lstrip("0123456789")
    tens, ones = divmod(date.day, 10)
    assert ending == ("th" if tens == 1 else {1: "st", 2: "nd", 3: "rd"}.get(ones, "th"))


def test_no_day_is_in_two_splits(data: Dates) -> None:
    days = []
    for split in ("train", "validation", "test"):
        batch = data.batch(split, range(len(getattr(data.splits, split))))  # type: ignore[arg-type]
        assert (batch.targets[:, -1] == END).all()
        days.append({tuple(row) for row in batch.targets.tolist()})
    assert days[0].isdisjoint(days[1] | days[2])
    assert days[1].isdisjoint(days[2])


def test_the_alignment_points_at_the_parts(data: Dates) -> None:
    batch = data.batch("test", [5, 2, 40])
    known = data.alignment("test", batch)
    assert known.shape == (*batch.targets.shape, batch.inputs.shape[1])
    vocabulary, words = data.task.target_vocabulary, data.tokens(batch)
    for row in range(3):
        iso = "".join(vocabulary[i] for i in batch.targets[row, :-1])
        date = datetime.date.fromisoformat(iso)
        for part, positions in ISO_POSITIONS.items():
            for place in positions:
                source = "".join(words[row][t] for t in known[row, place].nonzero()[:, 0])
                assert source
                if source.isdigit():
                    assert getattr(date, part) % 100 == int(source) % 100
                else:
                    assert date.strftime("%B").lower().startswith(source.lower())
        assert not known[row, [4, 7, 10]].any()  # two hyphens and the end come from nowhere


def test_the_seed_decides_everything(data: Dates) -> None:
    same, other = Dates(400, 100, 100), Dates(400, 100, 100, seed=1)
    same.setup()
    other.setup()
    assert torch.equal(same.splits.train.inputs.flat, data.splits.train.inputs.flat)
    assert not torch.equal(other.splits.test.targets.flat, data.splits.test.targets.flat)
    assert IGNORE not in data.splits.train.targets.flat
