"""Arguments of the commands: Hydra's grammar of overrides, checked against the signature of a function.

Keys are the parameters of the function. A value has the form that it has on the command line of `gatescope
train`: numbers, `true`, `false`, `null`, lists (`[a,b]` or `a,b`) and quoted strings. The value of a
parameter annotated as a string is taken literally unless it is quoted, so that texts and paths need no second
pair of quotes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from pydantic import Field

from gatescope.analysis.commands import CommandFailed, UsageError
from gatescope.analysis.runs import NoRuns
from gatescope.cli import FAILED, USAGE, has_user_message
from gatescope.components import argument_problems
from gatescope.invocation import write
from gatescope.surroundings import prepare

Text = Annotated[str, Field(min_length=1)]
"""A value that is not empty."""

HELP = frozenset({"-h", "--help"})
PATHS = frozenset({"run", "file", "out", "root"})
"""Arguments in which `~` is the home directory."""
YES_OR_NO = {"yes": True, "no": False}
"""Further forms of `true` and `false`."""


def runs_dir() -> str:
    """Return the directory of the records: the environment variable RUNS_DIR, else `runs`."""
    return os.environ.get("RUNS_DIR", "runs")


def execute(
    function: Callable[..., object],
    text: str | None,
    arguments: Sequence[str] | None,
    positional: int = 0,
    groups: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Call a function with the arguments of a command line, print its result, report errors.

    A result of None is not printed.

    Args:
        function: The command. Its name begins every message.
        text: The help text.
        arguments: The words after the name of the command; by default those of this process.
        positional: How many words before `key=value` the command takes at most.
        groups: Prefixes of keys ("study.") whose words one parameter takes as a list, and its name.

    Returns:
        The exit code: 0, 1 if the command failed, 2 if the arguments are wrong.
    """
    prepare()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if HELP & set(words):
        write(text or "")
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    keywords: dict[str, Any] = {}
    try:
        names, keywords = parse(words, function, positional, groups)
        result = function(*names, **keywords)
        if result is not None:
            write(str(result))
    except UsageError as error:
        return _report(function, error, USAGE)
    except (NoRuns, CommandFailed) as error:
        return _report(function, error, FAILED)
    except OSError as error:
        return _report(function, _file_error(error, keywords.get("out")), FAILED)
    except Exception as error:
        if not has_user_message(error):
            raise
        return _report(function, error, FAILED)
    return 0


def _file_error(error: OSError, out: str | None) -> Exception:
    """Return the system's error on a file as a sentence without its number."""
    if error.filename is None or error.strerror is None:
        return error
    remedy = f"; out={out} must be a place that can be written" if out and _below(error.filename, out) else ""
    return CommandFailed(f"{error.filename}: {error.strerror}{remedy}")


def _below(path: str, folder: str) -> bool:
    return Path(path).absolute().is_relative_to(Path(folder).absolute())


def _report(function: Callable[..., object], error: Exception, code: int) -> int:
    print(f"{function.__name__}: {error}", file=sys.stderr)
    return code


def parse(
    words: Sequence[str],
    function: Callable[..., object],
    positional: int = 0,
    groups: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[str], dict[str, Any]]:
    """Return the positional and the keyword arguments of a function.

    Raises:
        UsageError: A key is unknown or missing, or a value has the wrong form; the message has one line.
    """
    hints = get_type_hints(function)
    names: list[str] = []
    keywords: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if len(names) < positional and (not equals or os.path.exists(word)):
            names.append(word)
        elif not equals:
            raise UsageError(f"{word!r} is not of the form key=value")
        elif group := next((groups[start] for start in groups if key.startswith(start)), None):
            keywords.setdefault(group, []).append(word)
        else:
            text = os.path.expanduser(text) if key in PATHS else text  # the shell does not, within a word
            keywords[key] = parse_value(key, text, hints.get(key))
    problems = list(argument_problems(function, keywords, "", bool(positional), but=groups.values()))
    if problems:
        raise UsageError(problems[0])
    return names, keywords


def parse_value(key: str, text: str, annotation: Any) -> Any:
    """Return the value of an argument, in the form that the annotation of its parameter needs.

    Raises:
        UsageError: It is no value of Hydra's grammar.
    """
    forms = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    literal = str in forms
    if literal and text[:1] not in ("'", '"'):
        return text
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
    except HydraException as error:
        if literal:
            return text
        raise UsageError(f"{key}={text}: {str(error).splitlines()[0]}") from error
    value = list(override.sweep_string_iterator()) if override.is_sweep_override() else override.value()
    if literal:
        return value if isinstance(value, str) else text
    if any(get_origin(form) is list for form in forms):
        return [str(one) for one in (value if isinstance(value, list) else [value])]
    return YES_OR_NO.get(value, value) if bool in forms and isinstance(value, str) else value
