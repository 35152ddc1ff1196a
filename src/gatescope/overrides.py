"""Words of the command line that Hydra's grammar does not read as they are meant: paths, names, commas.

Hydra refuses a value with `~`, `=`, an accent or a bracket unless it stands between quotes, and the shell
takes one pair away. A value that starts with `~`, or is the path of an existing file or folder, and names of
columns in any script are therefore quoted here; of any other value a message shows the quotes.
"""

from __future__ import annotations

import os
import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

ASSIGNMENT = re.compile(r"([+]{0,2}[A-Za-z_][\w./@:-]*)=(.+)", re.DOTALL)

NAMES = re.compile(r"(\[?)([^\W\d]\w*(?:,[^\W\d]\w*)*)(\]?)")
"""Names in any script, one or several, in brackets or not."""


def quoted(text: str) -> str:
    """Return text as one value of an override, whatever characters it has."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)  # backslashes are doubled before a quote only
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped).replace("${", "$ {") + "'"


def with_quoted_paths(word: str) -> str:
    """Return a word `key=value` with a quoted value if this is a path or a name, or several with commas.

    A path starts with `~`, which is replaced by the home directory, or exists. A name is one word of letters
    in any script; several may be in brackets. A word that Hydra reads as one value already is returned
    unchanged.
    """
    match = ASSIGNMENT.fullmatch(word)
    parsed = _parse(word)
    if match is None or (parsed is not None and not parsed.is_sweep_override()):
        return word
    key, value = match.groups()
    parts = [value] if _exists(os.path.expanduser(value)) else value.split(",")
    paths = [os.path.expanduser(part) for part in parts]
    if all(path != part or _exists(path) for path, part in zip(paths, parts, strict=True)):
        return f"{key}={','.join(map(quoted, paths))}"
    names = NAMES.fullmatch(value) if parsed is None else None
    if names is not None and bool(names[1]) == bool(names[3]):
        return f"{key}={names[1]}{','.join(map(quoted, names[2].split(',')))}{names[3]}"
    return word


def unparsable(word: str, reason: str) -> str:
    """Return the message on a word that is not in Hydra's grammar: how to quote its value, if that is enough.

    Args:
        word: The word.
        reason: Hydra's message.
    """
    match = ASSIGNMENT.fullmatch(word)
    if match is None or _parse(f"{match[1]}={quoted(match[2])}") is None:
        return f"{word}: {reason}; write key=value"
    return f"{word}: {reason}; write key=value, with such characters {in_shell(*match.groups())}"


def needs_multirun(word: str) -> str:
    """Return the message on a word with several values in a command that is no sweep."""
    key, _, value = word.partition("=")
    remedies = "add -m (--multirun) to sweep over them"
    if re.fullmatch(r"[^()\[\]{}'\"]*", value):  # neither quoted nor choice(…), range(…) and the like
        one_list = shlex.quote(f"{key}=[{value}]")
        remedies += f", or write one list as {one_list}, one text as {in_shell(key, value)}"
    return f"{word}: several values; {remedies}"


def in_shell(key: str, value: str) -> str:
    """Return `key=value` as it is written in a shell, with the value between quotes of Hydra's grammar."""
    simple = not re.search(r'["\\$]', value)
    if simple and re.fullmatch(r"\[[^][{}]+\]", value):  # a list: its elements
        elements = ",".join(f'"{one.strip()}"' for one in value[1:-1].split(","))
        return shlex.quote(f"{key}=[{elements}]")
    return shlex.quote(f'{key}="{value}"' if simple else f"{key}={quoted(value)}")


def _parse(word: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _exists(path: str) -> bool:
    try:
        return os.path.exists(path)
    except ValueError:  # a null byte
        return False
