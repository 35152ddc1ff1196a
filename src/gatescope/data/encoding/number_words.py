"""Sentences with numbers, in words: in British English, and digits in Mandarin."""

from __future__ import annotations

import calendar
import datetime

import numpy as np

BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
MULTIPLES_OF_TEN = "twenty thirty forty fifty sixty seventy eighty ninety"
ONES, TENS = BELOW_TWENTY.split(), MULTIPLES_OF_TEN.split()
LAST_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth"}
LAST_ORDINALS |= {"nine": "ninth", "twelve": "twelfth"}
FIRST_DAY, LAST_DAY = datetime.date(1700, 1, 1), datetime.date(2099, 12, 31)


MANDARIN = "零一二三四五六七八九"


def cardinal(number: int) -> str:
    """Return a number from 0 to 999,999 in words: 205 is "two hundred and five"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = number % 100
        return f"{ONES[number // 100]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    rest = number % 1000
    joint = " and " if rest < 100 else " "
    return f"{cardinal(number // 1000)} thousand" + (f"{joint}{cardinal(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """Return an ordinal number in words: 21 is "twenty first"."""
    rest, _, last = cardinal(number).rpartition(" ")
    word = LAST_ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return f"{rest} {word}".strip()


def year(number: int) -> str:
    """Return a year from 1100 to 2099 as it is said: 1987 is "nineteen eighty seven"."""
    century, rest = divmod(number, 100)
    if century == 20 and rest < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def draw_sentence(rng: np.random.Generator) -> str:
    """Return a cardinal, a date, a time, an amount of money or a row of digits, each as often."""
    kind = rng.integers(5)
    if kind == 0:
        return cardinal(int(rng.integers(10 ** int(rng.integers(1, 7)))))
    if kind == 1:
        return _date(rng)
    if kind == 2:
        return _time(rng)
    if kind == 3:
        pounds, pence = (cardinal(int(rng.integers(2, limit))) for limit in (1000, 100))
        return f"{pounds} pounds" + (f" and {pence} pence" if rng.random() < 0.7 else "")
    return " ".join(ONES[digit] for digit in rng.integers(10, size=rng.integers(3, 8)))


def draw_mandarin_digits(rng: np.random.Generator) -> str:
    """Return three to seven digits in Mandarin, with spaces between them."""
    return " ".join(MANDARIN[digit] for digit in rng.integers(10, size=rng.integers(3, 8)))


def _date(rng: np.random.Generator) -> str:
    """Return a day from 1700 to 2099, with its weekday or without."""
    day = FIRST_DAY + datetime.timedelta(int(rng.integers((LAST_DAY - FIRST_DAY).days + 1)))
    number, month = ordinal(day.day), calendar.month_name[day.month]
    said = f"the {number} of {month}" if rng.random() < 0.5 else f"{month} the {number}"
    weekday = f"{calendar.day_name[day.weekday()]} " if rng.random() < 0.3 else ""
    return f"{weekday}{said} {year(day.year)}".lower()


def _time(rng: np.random.Generator) -> str:
    """Return a time of day."""
    hour, minute = int(rng.integers(1, 13)), int(rng.integers(60))
    if minute % 15 == 0:
        said = {0: "{} o'clock", 15: "a quarter past {}", 30: "half past {}", 45: "a quarter to {}"}[minute]
        return said.format(cardinal(hour))
    if rng.random() < 0.5:
        return f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    return f"{cardinal(minute)} minutes past {cardinal(hour)}" if minute > 1 else f"{cardinal(hour)} oh one"
