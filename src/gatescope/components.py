"""Check a config node with `_target_` against the signature of the class or function, before it is called."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

from hydra.utils import get_object
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from gatescope.moved import MOVED

INSTRUCTIONS = frozenset({"_target_", "_partial_", "_convert_", "_recursive_", "_args_"})
"""Keys that Hydra reads itself."""

NEEDS_PYTHON_OBJECT = "needs_python_object"
"""pydantic's error for a branch of a union that accepts only a Python object (a Tensor, for example)."""


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Return the option most similar to `name`, or None if there is no similar one."""
    return next(iter(difflib.get_close_matches(name, list(options), n=1, cutoff=0.5)), None)


def unknown_key(key: str, options: Iterable[str]) -> str:
    """Return the message on a dotted key that does not exist: the nearest key and all allowed keys."""
    parent, _, name = key.rpartition(".")
    options = sorted(options)
    close = nearest(name, options)
    hint = f", did you mean {parent + '.' if parent else ''}{close}?" if close else ";"
    where = f" in {parent}" if parent else ""
    return f"{key}: unknown key{hint} Allowed{where}: {', '.join(options) or 'nothing'}"


def component_problems(node: Any, key: str) -> Iterator[str]:
    """Yield what is wrong with all components in a resolved config node, at any depth.

    Args:
        node: A value of the config.
        key: Its dotted key.
    """
    if isinstance(node, Mapping):
        if node.get("_target_") is not None:
            yield from _target_problems(node, key)
        for name, child in node.items():
            yield from component_problems(child, f"{key}.{name}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from component_problems(child, f"{key}.{index}")


def _target_problems(node: Mapping[str, Any], key: str) -> Iterator[str]:
    if str(node["_target_"]) in MOVED:
        yield f"{key}._target_: {node['_target_']} has moved, write {MOVED[node['_target_']]}"
        return
    try:
        target = locate(str(node["_target_"]))
    except ImportError as error:
        yield f"{key}._target_: given {node['_target_']!r}, {error}"
        return
    arguments = {name: value for name, value in node.items() if name not in INSTRUCTIONS}
    partial = bool(node.get("_partial_")) or "_args_" in node
    yield from argument_problems(target, arguments, key, partial)


def import_from_working_directory() -> None:
    """Let Python import modules in the working directory, after those that are installed.

    `python train.py` and the console command have the folder of the script on the path instead.
    """
    importlib.invalidate_caches()  # the file may be newer than the last import
    folder = os.getcwd()
    if not {"", folder} & set(sys.path):
        sys.path.append(folder)


@cache
def locate(path: str) -> Any:
    """Return the object of a dotted path.

    Raises:
        ImportError: The object does not exist; the message says which part of the path does not.
    """
    module_name, _, attribute = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise ImportError("which is not a dotted path to a class or function")
    try:
        module = importlib.import_module(module_name)
    except ValueError as error:
        raise ImportError("which is not a dotted path to a class or function") from error
    except ImportError as error:
        try:
            return get_object(path)  # a nested class, or a class method
        except Exception:
            raise ImportError(f"which cannot be imported: {error}") from error
    if not hasattr(module, attribute):
        close = nearest(attribute, (name for name in vars(module) if not name.startswith("_")))
        hint = f"; did you mean {module_name}.{close}?" if close else ""
        raise ImportError(f"but {module_name} has no {attribute}{hint}")
    return getattr(module, attribute)


def argument_problems(
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    key: str,
    partial: bool,
    also: Iterable[str] = (),
    but: Iterable[str] = (),
) -> Iterator[str]:
    """Yield what is wrong with calling `target(**arguments)`: unknown, missing and wrongly typed arguments.

    A value that is itself a component is not checked here.

    Args:
        target: A class or function.
        arguments: Its keyword arguments.
        key: Dotted key of the node that holds the arguments; "" for the root.
        partial: Whether arguments may be missing.
        also: Names that a message offers besides those of the signature.
        but: Names of the signature that a message does not offer.
    """
    prefix = f"{key}." if key else ""
    parameters, hints = _signature(target)
    named = {
        name
        for name, p in parameters.items()
        if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for name, value in arguments.items():
        if name in named:
            if not _holds_component(value):
                yield from value_problems(hints.get(name, Any), value, f"{prefix}{name}")
        elif not takes_any:
            later = {n for n in named if partial and parameters[n].default is inspect.Parameter.empty}
            yield unknown_key(f"{prefix}{name}", {*named, *also} - later - {*but})
    if not partial:
        for name in parameters:
            if name in named - arguments.keys() and parameters[name].default is inspect.Parameter.empty:
                hint = "" if key else f": give {name}=…"
                yield f"{prefix}{name}: missing, {_name(target)} needs it{hint}"


@cache
def _signature(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    parameters = dict(inspect.signature(target).parameters)
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return parameters, get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        return parameters, {}


def _name(target: Any) -> str:
    return getattr(target, "__name__", str(target))


def _holds_component(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_holds_component(child) for child in value.values())
    return isinstance(value, list) and any(_holds_component(child) for child in value)


def value_problems(annotation: Any, value: Any, key: str) -> Iterator[str]:
    """Yield what is wrong with a value. Types are strict, except that a list is accepted as a tuple."""
    adapter = _adapter(annotation)
    try:
        adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        yield disallowed(key, value, error.errors())


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(
            annotation, config=ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
        )
    except PydanticUserError:  # a type with a config of its own, or one that pydantic has no schema for
        try:
            return TypeAdapter(annotation)
        except PydanticUserError:
            return TypeAdapter(Any)


def disallowed(key: str, value: Any, errors: Iterable[Any]) -> str:
    """Return one message from all of pydantic's errors on one value."""
    errors = list(errors)
    shown = [e for e in errors if e["type"] != NEEDS_PYTHON_OBJECT] or errors
    allowed = list(dict.fromkeys(_allowed(e) for e in shown))
    hint = ""
    if isinstance(value, str):
        expected = " ".join(str(e.get("ctx", {}).get("expected", "")) for e in shown)
        close = nearest(value, re.findall(r"'([^']*)'", expected))
        hint = f"; did you mean {close}?" if close else ""
    return f"{key}: given {json.dumps(value)}, allowed: {' or '.join(allowed)}{hint}"


def _allowed(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    if error["type"] == NEEDS_PYTHON_OBJECT:
        return "a component with _target_"
    if error["type"] == "dataclass_type":
        return "a mapping"
    return {
        "a valid integer": "an integer",
        "a valid string": "a string",
        "a valid number": "a number",
        "a valid boolean": "true or false",
        "an object": "a mapping",
        "a valid dictionary": "a mapping",
        "a valid array": "a list",
        "None": "null",
    }.get(message, message)
