"""Values that no key of a config can have: what is no text, too large for libraries, or refused by torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gatescope.components import locate

LARGEST_COUNT = 10**12
"""Above any number of examples, steps, units or parameters; below what overflows in a product."""
LARGEST_NUMBER = 3.4e38
"""The largest number of float32."""
INSTRUCTIONS = ("_partial_", "_recursive_")
"""Instructions of Hydra that are true or false."""
TORCH = ("torch.optim.",)
"""Classes that check their own arguments, but only when they are called."""


def limit_problems(node: Any, key: str = "") -> Iterator[str]:
    """Yield the values of a resolved config, at any depth, that no key can have.

    Args:
        node: A value of the config.
        key: Its dotted key.
    """
    if isinstance(node, Mapping):
        for name, child in node.items():
            at = f"{key}.{name}" if key else str(name)
            if name in INSTRUCTIONS and not isinstance(child, bool):
                yield f"{at}: given {child!r}, allowed: true or false"
            else:
                yield from limit_problems(child, at)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from limit_problems(child, f"{key}.{index}")
    elif isinstance(node, str):
        if not_text(node):
            yield f"{key}: given {node!a}, which contains a character that is no text"
    elif isinstance(node, int) and not isinstance(node, bool) and abs(node) > LARGEST_COUNT:
        yield f"{key}: given {_short(node)}, allowed: at most {LARGEST_COUNT:.0e}"
    elif isinstance(node, float) and abs(node) > LARGEST_NUMBER:  # nan is no such number
        yield f"{key}: given {node}, allowed: at most {LARGEST_NUMBER}, the largest number of float32"


def not_text(value: str) -> bool:
    """Return whether a string has a null character, or bytes that are not UTF-8 (lone surrogates)."""
    return "\0" in value or any("\ud800" <= character <= "\udfff" for character in value)


def optimizer_problems(plain: Mapping[str, Any]) -> Iterator[str]:
    """Yield what torch's optimizer and schedule say of their arguments, which they check only when called."""
    optimizer, schedule = plain["optimizer"], plain.get("scheduler") or {}
    for name in ("eps", "momentum"):
        if isinstance(value := optimizer.get(name), float | int) and value < 0:
            yield f"optimizer.{name}: given {value}, allowed: from 0"
            return
    if not str(optimizer.get("_target_", "")).startswith(TORCH):
        return
    import torch

    try:
        made = locate(optimizer["_target_"])([torch.nn.Parameter(torch.zeros(1))], **_arguments(optimizer))
    except (ValueError, TypeError, RuntimeError) as error:
        yield _message("optimizer", optimizer, error)
        return
    if str(schedule.get("_target_", "")).startswith(TORCH):
        yield from _plateau_problems(schedule)
        try:
            locate(schedule["_target_"])(made, **_arguments(schedule))
        except (ValueError, TypeError, RuntimeError) as error:
            yield _message("scheduler", schedule, error)


def _plateau_problems(schedule: Mapping[str, Any]) -> Iterator[str]:
    """Yield arguments of a schedule that torch accepts and that make no sense: negative ones."""
    for name in ("factor", "patience", "min_lr", "eta_min", "cooldown", "gamma"):
        if isinstance(value := schedule.get(name), float | int) and value < 0:
            yield f"scheduler.{name}: given {value}, allowed: from 0"


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if not (name[0] == "_" and name[-1] == "_")}


def _message(section: str, node: Mapping[str, Any], error: Exception) -> str:
    """Return the message of torch with the key that it is about, where it names one."""
    text = str(error).strip().splitlines()[0]
    named = [
        name
        for name in _arguments(node)
        if name.rstrip("s").replace("_", " ") in text.lower().replace("_", " ")
    ]
    key = f"{section}.{named[0]}" if named else section
    return f"{key}: given {node[named[0]]}, {text}" if named else f"{key}: {text}"


def _short(value: int) -> str:
    text = str(value) if abs(value) < 10**30 else f"a number of {len(f'{abs(value):x}') * 4} bits"
    return text
