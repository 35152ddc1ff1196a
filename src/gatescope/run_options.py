"""Options of a recorded run as words of a command line: `gatescope train from=RUN` takes over data and model.

This module does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gatescope.analysis.record_files import NoRuns, find_run
from gatescope.composition import compose, config_dir, make_loader, quoted
from gatescope.config import ConfigError
from gatescope.moved import current_targets
from gatescope.tracking.identity import NEUTRAL
from gatescope.tracking.runfile import read_config, read_run

GROUPS = ("data", "front", "model", "attention", "decoder")
NOT_TAKEN = ("loss", "metric", "monitor", "monitor_direction")
"""Sections and keys that say what is learnt and compared, which a new run chooses anew."""
CHOOSE_GROUPS = ("experiment", "study")
"""Groups whose options choose options of the others."""
OF_RECIPE = ("bidirectional", "dropout")
"""Keys of a model whose defaults are those of the recipe."""


def with_options_of_start(words: Sequence[str]) -> list[str]:
    """Return the words of a command with those of the run that `from=` names before them.

    A group that the command chooses itself is left to it, and so are all with an experiment or a study. What
    is taken over is printed, and that loss and monitor are not where the run set them.

    Raises:
        ConfigError: There is no such run.
    """
    given = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    run = given.get("from", "null")
    if run in ("null", "") or "," in run or any(group in given for group in CHOOSE_GROUPS):
        return list(words)
    try:
        root = given.get("root") or os.environ.get("RUNS_DIR", "runs")
        directory = find_run(root, os.path.expanduser(run))
    except NoRuns as error:
        raise ConfigError([f"from={run}: {error}"]) from error
    added = [
        word
        for word in options_of(directory, [group for group in GROUPS if group not in given])
        if word.partition("=")[0] not in given
    ]
    if added:
        print(f"from={run}: {' '.join(added)}")
    if left := left_out(directory, given):
        print(f"from={run}: not taken over, give again what is to stay: {' '.join(left)}")
    return [*added, *words]


def left_out(directory: Path, given: Collection[str]) -> list[str]:
    """Return the words of a run's loss, metric and monitor, as far as it set them and a command does not.

    They belong to what is learnt from the new data, and so are not taken over.

    Args:
        directory: Directory of the record.
        given: Keys of the command.
    """
    saved = read_config(directory)
    values, defaults = (
        dict(_leaves({name: part.get(name) for name in NOT_TAKEN}, "")) for part in (saved, NEUTRAL)
    )
    return [
        f"{key}={_value(value)}"
        for key, value in values.items()
        if value not in (None, {}, defaults.get(key)) and key not in given
    ]


def options_of(directory: Path, groups: Sequence[str]) -> list[str]:
    """Return the words that choose and set these groups as a run has them.

    Args:
        directory: Directory of the record.
        groups: Names of groups. One that no option matches is left out.
    """
    saved: Any = current_targets(read_config(directory))
    for key, source in (read_run(directory).get("data", {}).get("sources") or {}).items():
        section, _, name = key.partition(".")
        if name in saved.get(section, {}):
            saved[section][name] = source["path"]  # the config has it as it was typed, perhaps elsewhere
    loader, words = make_loader(), []
    for group in groups:
        wanted, best = saved.get(group) or {}, None
        if not wanted:
            continue
        for option in _candidates(group, wanted):
            found = compose(loader, [f"{group}={option}"])[group]
            if (differences := _differences(wanted, _plain(found))) is None:
                continue
            if best is None or len(differences) < len(best[1]):
                best = (option, differences)
        if best is not None and group == "model":  # their defaults follow from the data, which may be others
            best[1].update({key: _value(wanted[key]) for key in OF_RECIPE if key in wanted})
        if best is not None:
            words += [f"{group}={best[0]}", *(f"{group}.{key}={value}" for key, value in best[1].items())]
    return words


def _candidates(group: str, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options whose file names the same class and the same name, as far as it names any."""
    for path in sorted((config_dir() / group).glob("[!_]*.yaml")):
        content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        if all(content.get(key) in (None, wanted.get(key)) for key in ("_target_", "name")):
            yield path.stem


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the values to set so that an option becomes what is wanted; None if it is another class."""
    there, here = dict(_leaves(wanted, "")), dict(_leaves(found, ""))
    targets = [key for key in {*there, *here} if key.rpartition(".")[2] in ("_target_", "name")]
    if any(there.get(key) != here.get(key) and here.get(key) is not None for key in targets):
        return None
    return {key: _value(value) for key, value in there.items() if key in here and value != here[key]}


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value, value))}]"
    return quoted(value) if isinstance(value, str) else str(value)
