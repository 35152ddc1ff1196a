"""`study.*` on the command line of a report: what it declares in place of the study of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from gatescope.analysis import study
from gatescope.analysis.commands import UsageError
from gatescope.analysis.runs import summary_names
from gatescope.analysis.tables import Tables
from gatescope.components import nearest, unknown_key, value_problems
from gatescope.config import StudyConfig

NOT_DECLARED = ("name", "parameters")
"""Keys that say how runs were made."""


def declared(words: Sequence[str]) -> dict[str, Any]:
    """Return the keys of `study` that words such as `study.primary=validation/loss` declare.

    Raises:
        UsageError: A key is unknown, or a value has the wrong form.
    """
    result: dict[str, Any] = {}
    hints = get_type_hints(StudyConfig, include_extras=True)
    allowed = [one.name for one in fields(StudyConfig) if one.name not in NOT_DECLARED]
    for word in words:
        key, _, text = word.partition("=")
        name, *inner = key.removeprefix("study.").split(".")
        if name not in allowed or (inner and name not in ("select", "solved")):
            raise UsageError(unknown_key(key, allowed))
        value = text if name == "question" else _value(word)
        if inner:
            result.setdefault(name, {})[".".join(inner)] = value
        else:
            result[name] = value
    for name, value in result.items():
        for problem in value_problems(hints[name], value, f"study.{name}"):
            raise UsageError(problem)
    return result


def _value(word: str) -> Any:
    try:
        return OverridesParser.create().parse_override(word).value()
    except HydraException as error:
        raise UsageError(f"{word}: {str(error).splitlines()[0]}") from error


def check(tables: Tables, given: dict[str, Any]) -> dict[str, Any]:
    """Check that the metrics and variants that a report declares exist.

    Returns:
        What was given, and the direction of a primary metric, which follows from its name.

    Raises:
        UsageError: One does not exist; the message names those that do.
    """
    runs = tables.finished()
    if runs.runs.empty:
        return given
    variants = sorted(runs.runs.variant.unique())
    if (metric := given.get("primary")) is not None:
        numbers = {*runs.metrics.name, *runs.runs.select_dtypes("number")}
        logged = [name for name in summary_names(runs, "") if "/" in name and name in numbers]
        _require("study.primary", metric, [m for m in logged if runs.final(m).value.notna().any()])
        lower = any(word in metric for word in study.LOW_IS_GOOD)
        given = {"direction": "min" if lower else "max"} | given
    if (variant := given.get("reference")) is not None:
        _require("study.reference", variant, variants)
    for variant in (name for pair in given.get("contrasts") or [] for name in pair):
        _require("study.contrasts", variant, variants)
    return given


def _require(key: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name in known:
        return
    close = nearest(name, known)
    hint = f", did you mean {close}?" if close else "."
    raise UsageError(f"{key}: no finished run has {name}{hint} There are: {', '.join(known)}")
