"""What the article says, against the numbers: each verdict follows from the numbers by a stated rule."""

from __future__ import annotations

from typing import Any, Literal

from gatescope.analysis.statistics import AHEAD

Verdict = Literal["holds", "partly", "fails", "open"]

LITTLE = 0.01
"""A gradient of which less than this is left is taken as gone."""
SOLVED = 0.9
"""Test accuracy from which a task counts as learned, as in the studies."""


def verdicts(numbers: dict[str, Any]) -> dict[str, Verdict]:
    """Return the verdict on each claim.

    - `rnn`: the gradient of an RNN vanishes: less than `LITTLE` is left over every lag, before and after
      training.
    - `solves`: a GRU solves this: at every lag the trained GRU keeps more than `LITTLE` and learns the task.
      Partly, if it does so at some lag only.
    - `explodes`: some curve of the RNN grows beyond its start, and none of the GRU at any step of training.
      Open, if the gradient of neither grows.
    - `update`: with z = 0 no word has any effect.
    - `reset`: with r = 0, and with r = 1, at every step the network is less accurate than with the r it has
      learned.
    - `fewer`: the GRU has fewer parameters than the LSTM.
    - `better`: it is ahead of an LSTM of equal size.
    - `attention`: the weights of the article's GRU pass every test. Open with too few seeds.
    """
    tests = set(numbers["faithfulness"]["tests"].get("gru_article-additive", {}).values())
    accuracy = numbers["accuracy"]
    levels = numbers["levels"]
    held = [accuracy["reset"][levels.index(level)] for level in (0.0, 1.0)]
    parameters = numbers["cells"]["parameters"]
    passed: Verdict = "holds" if tests == {AHEAD} else "partly" if AHEAD in tests else "fails"
    return {
        "rnn": "holds" if max(_left(numbers, "rnn-none")) < LITTLE else "partly",
        "solves": _solves(numbers),
        "explodes": _explodes(numbers),
        "update": "holds" if effect_at_zero(numbers) == 0 else "fails",
        "reset": "holds" if max(held) < accuracy["reset"][0] else "partly",
        "fewer": "holds" if parameters["gru"] < parameters["lstm"] else "fails",
        "better": "holds" if numbers["compared"]["verdict"] == AHEAD else "open",
        "attention": "open" if "not enough seeds" in tests or not tests else passed,
    }


def _left(numbers: dict[str, Any], variant: str) -> list[float]:
    """Return what is left over the lag of each task, before and after training."""
    return [
        at_lag(one, variant, step)
        for one in numbers["fading"].values()
        if variant in one["curves"]
        for step in (0, -1)
    ]


def at_lag(condition: dict[str, Any], variant: str, step: int) -> float:
    """Return what is left over the lag of the task; 0 where it is too small for a number."""
    value = condition["curves"][variant][step][-1]
    return 0.0 if value is None else float(value)


def _solves(numbers: dict[str, Any]) -> Verdict:
    found = [
        at_lag(one, "gru-none", -1) > LITTLE and one["accuracy"]["gru-none"]["mean"] >= SOLVED
        for one in numbers["fading"].values()
        if "gru-none" in one["curves"]
    ]
    return "holds" if all(found) else "partly" if any(found) else "fails"


def _explodes(numbers: dict[str, Any]) -> Verdict:
    if largest(numbers, "gru-none") > 1:
        return "fails"
    return "holds" if largest(numbers, "rnn-none") > 1 else "open"


def largest(numbers: dict[str, Any], variant: str) -> float:
    """Return the largest norm relative to lag 0 of any curve of a variant, at any step of training."""
    return max(
        value
        for one in numbers["fading"].values()
        for curve in one["curves"].get(variant, [])
        for value in curve
        if value is not None
    )


def effect_at_zero(numbers: dict[str, Any]) -> float:
    """Return the largest effect of any word on the last state where z is held at 0."""
    zero = numbers["levels"].index(0.0)
    return max(value for one in numbers["sentences"] for left in one["held"]["left"][zero] for value in left)
