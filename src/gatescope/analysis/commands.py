"""What the commands in scripts/ share: arguments of the form key=value, and where runs come from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence

from gatescope.analysis.runs import RecordSource, Source

SOURCES = ("records", "wandb")


class UsageError(Exception):
    """A wrong argument; the message names it, what is allowed, and the nearest valid name."""


class CommandFailed(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def defaults(**others: str) -> dict[str, str]:
    """Of the keys that say where runs are, and of a command's `others`."""
    root = os.environ.get("RUNS_DIR", "runs")
    return {"root": root, "source": SOURCES[0], "project": "gatescope", **others}


def parse(words: Sequence[str], known: Mapping[str, str], example: str) -> dict[str, str]:
    """`known` with the values that are given; `study` must be.

    Raises:
        UsageError: an argument is not key=value, a key or source is unknown, or study is missing.
    """
    keys, given = ["study", *known], dict(known)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise UsageError(f"{word!r} is not of the form key=value; keys: {', '.join(keys)}")
        if key not in keys:
            raise UsageError(f"unknown key {key!r} in {word!r}; keys: {', '.join(keys)}{hint(key, keys)}")
        given[key] = value
    if "study" not in given:
        raise UsageError(f"which study? for example: {example}")
    if given["source"] not in SOURCES:
        raise UsageError(f"source={given['source']}: one of {', '.join(SOURCES)}")
    return given


def parse_for_run(
    words: Sequence[str], keys: Sequence[str], given: Mapping[str, str], example: str
) -> dict[str, str]:
    """`given` with the values of `words`, of which `run` must be one.

    Raises:
        UsageError: an argument is not key=value, a key is unknown, or run is missing.
    """
    found = dict(given)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in keys:
            raise UsageError(
                f"{word!r}: arguments are key=value with keys {', '.join(keys)}{hint(key, keys)}"
            )
        found[key] = value
    if not found.get("run"):
        raise UsageError(f"which run? for example: {example}")
    return found


def hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def source(given: Mapping[str, str]) -> Source:
    """The runs of `study` under `root`, or in W&B's `project`."""
    if given["source"] == "records":
        return RecordSource(given["root"], given["study"])
    from gatescope.analysis.wandb_source import WandbSource  # takes a second to import

    return WandbSource(given["project"], given["study"])
