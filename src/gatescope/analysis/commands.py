"""Arguments of the form key=value, and the source of runs, for the commands in `scripts/`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence

from gatescope.analysis.runs import RecordSource, Source

SOURCES = ("records", "wandb")
FREE_TEXT = {"text"}
"""Keys whose values are used exactly as they are typed."""


class UsageError(Exception):
    """An argument is wrong; the message names it, what is allowed, and the most similar valid name."""


class CommandFailed(Exception):
    """A command cannot do its task; the message says why and what to do."""


def defaults(**others: str) -> dict[str, str]:
    """Return the default values of the keys that name a source of runs.

    Args:
        others: Further keys of a command, with their default values.
    """
    root = os.environ.get("RUNS_DIR", "runs")
    return {"root": root, "source": SOURCES[0], "project": "gatescope", **others}


def parse(words: Sequence[str], known: Mapping[str, str], example: str) -> dict[str, str]:
    """Parse the arguments of a command on a study.

    Args:
        words: Arguments `key=value`, with values as Hydra writes them: `a`, `'a b'`, `[a,b]`.
        known: Keys that the command has besides `study`, with their default values.
        example: A correct command line, for the message where `study` is missing.

    Returns:
        The value of each key; the items of a list are joined by commas.

    Raises:
        UsageError: An argument is not key=value, a key or source is unknown, or study is missing.
    """
    keys, values = ["study", *known], dict(known)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise UsageError(f"{word!r} is not of the form key=value; keys: {', '.join(keys)}")
        if key not in keys:
            raise UsageError(f"unknown key {key!r} in {word!r}; keys: {', '.join(keys)}{hint(key, keys)}")
        values[key] = _parse_value(key, value)
    if "study" not in values:
        raise UsageError(f"which study? for example: {example}")
    if values["source"] not in SOURCES:
        raise UsageError(f"source={values['source']}: one of {', '.join(SOURCES)}")
    return values


def parse_for_run(
    words: Sequence[str], keys: Sequence[str], given: Mapping[str, str], example: str
) -> dict[str, str]:
    """Parse the arguments of a command on one run.

    Args:
        words: Arguments `key=value`; see `parse`.
        keys: Keys that the command has.
        given: Default values of keys.
        example: A correct command line, for the message where `run` is missing.

    Returns:
        The value of each key that has one.

    Raises:
        UsageError: An argument is not key=value, a key is unknown, or run is missing.
    """
    values = dict(given)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in keys:
            raise UsageError(
                f"{word!r}: arguments are key=value with the keys {', '.join(keys)}{hint(key, keys)}"
            )
        values[key] = _parse_value(key, value)
    if not values.get("run"):
        raise UsageError(f"which run? for example: {example}")
    return values


def hint(word: str, known: Sequence[str]) -> str:
    """Return "; did you mean …?" with the known word that is most similar; "" if none is."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def source(given: Mapping[str, str]) -> Source:
    """Return the source of the runs of `study`: under `root`, or in the W&B project `project`."""
    if given["source"] == "records":
        return RecordSource(given["root"], given["study"])
    from gatescope.analysis.wandb_source import WandbSource  # its import takes a second

    return WandbSource(given["project"], given["study"])


def _parse_value(key: str, value: str) -> str:
    """Parse a quoted text or a list with Hydra's grammar; return other values as they are typed.

    File names that the grammar excludes, such as those with parentheses, need no quotes.
    """
    if key in FREE_TEXT or not value.startswith(("[", "'", '"')):
        return value
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException as error:
        raise UsageError(f"{key}={value}: {str(error).splitlines()[0]}") from error
    if parsed.is_sweep_override():
        raise UsageError(f"{key}={value}: give several values as a list, {key}=[a,b]")
    content = parsed.value()
    return ",".join(map(str, content)) if isinstance(content, list) else str(content)
