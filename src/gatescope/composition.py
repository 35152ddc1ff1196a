"""From a command line to a config, and from what Hydra refuses to a message that helps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gatescope.components import nearest, unknown
from gatescope.config import ConfigError, resolved
from gatescope.tracking import identity  # noqa: F401  registers the resolver run_id

CONFIG = "config"
"""The primary config, conf/config.yaml."""

EXTRAS = {"joblib": "parallel", "ray": "ray", "slurm": "slurm"}
"""The extra of this package that brings a launcher."""


def make_loader(conf: Path) -> ConfigLoader:
    version.setbase("1.3")
    setup_globals()
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf)))


def compose(loader: ConfigLoader, overrides: list[str], sweep: bool = False) -> DictConfig:
    """The config of one job, without its `hydra` node; or with `sweep` that of a whole sweep, with it.

    Raises:
        ConfigError: an override or a file that Hydra cannot compose, explained.
    """
    try:
        cfg = loader.load_configuration(
            CONFIG,
            list(overrides),
            run_mode=RunMode.MULTIRUN if sweep else RunMode.RUN,
            validate_sweep_overrides=not sweep,
        )
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(list(explain(loader, overrides, error))) from error
    return cfg if sweep else OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"])


def grid(loader: ConfigLoader, words: list[str]) -> list[list[str]]:
    """The overrides of every job that these words ask for; of a key given twice, the last counts."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(words)
    jobs: list[list[str]] = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    return jobs


class JobConfigs:
    """The resolved configs of a sweep's jobs, a thousand of them in a second.

    Hydra takes a tenth of a second to compose one. Jobs that differ only in numbers, words, true, false or
    null given to keys that no interpolation reads share one composition.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._parser = OverridesParser.create(config_loader=loader)
        self._values: dict[str, Override | None] = {}
        self._groups: dict[str, bool] = {}
        self._bases: dict[tuple[str, ...], dict[str, Any] | None] = {}
        self._read: dict[tuple[str, ...], frozenset[str]] = {}

    def resolved(self, overrides: Sequence[str]) -> dict[str, Any]:
        """As `resolved(compose(loader, overrides))`. Not to be changed: other jobs' may share parts of it.

        Raises:
            ConfigError: the overrides do not compose.
        """
        values = [value for word in overrides if (value := self._value(word)) is not None]
        rest = tuple(word for word in overrides if self._value(word) is None)
        found = self._base(rest)
        for value in values:
            key = value.key_or_group
            if found is None or self._read[rest] & set(key.split(".")) or _clashes(key, rest):
                found = None
                break
            found = _with(found, key.split("."), value.value())
        return resolved(compose(self._loader, list(overrides))) if found is None else found

    def _value(self, word: str) -> Override | None:
        """The override, when it gives a plain value to a key of the config."""
        if word not in self._values:
            self._values[word] = self._parsed(word)
        return self._values[word]

    def _parsed(self, word: str) -> Override | None:
        try:
            override = self._parser.parse_override(word)
        except HydraException:
            return None
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = _is_group(self._loader, override)
        changes = override.type == OverrideType.CHANGE and not override.is_sweep_override()
        if not changes or key.startswith("hydra.") or self._groups[key]:
            return None
        value = override.value()
        plain = value is None or isinstance(value, int | float | bool | str)
        return override if plain and "${" not in str(value) else None

    def _base(self, rest: tuple[str, ...]) -> dict[str, Any] | None:
        """What the other overrides compose to; None when that lacks a value that is given by a plain one."""
        if rest not in self._bases:
            try:
                cfg = compose(self._loader, list(rest))
                self._bases[rest], self._read[rest] = resolved(cfg), _names_read(cfg)
            except ConfigError:
                self._bases[rest] = None
        return self._bases[rest]


def _with(tree: dict[str, Any], path: list[str], value: Any) -> dict[str, Any] | None:
    """A copy in which the leaf at this path has this value; None when there is no such leaf."""
    name, *deeper = path
    if name not in tree:
        return None
    if not deeper:
        return None if isinstance(tree[name], dict | list) else {**tree, name: value}
    below = _with(tree[name], deeper, value) if isinstance(tree[name], dict) else None
    return None if below is None else {**tree, name: below}


def _clashes(key: str, rest: Sequence[str]) -> bool:
    """Whether another override (added, deleted, a mapping) is about this key, its parent or child."""
    others = [word.split("=")[0].lstrip("+~") for word in rest]
    return any(f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") for other in others)


def _names_read(cfg: DictConfig) -> frozenset[str]:
    """The names that interpolations read: the last part of each path, and all words in a resolver's call."""
    text = json.dumps(OmegaConf.to_container(cfg, resolve=False), default=str)
    inside = re.findall(r"\$\{([^{}]*)\}", text)
    return frozenset(
        name
        for path in inside
        for name in (re.findall(r"\w+", path) if ":" in path else [path.split(".")[-1]])
    )


def explain(loader: ConfigLoader, overrides: list[str], error: Exception) -> Iterator[str]:
    """Sentences on why these overrides do not compose; Hydra's own words where we know no better."""
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as wrong:
        yield f"{wrong.override}: {str(wrong).splitlines()[0]}; write key=value"
        return
    groups = [o for o in parsed if _is_group(loader, o)]
    problems = [p for o in groups for p in _option_problems(loader, o)]
    if not problems:
        problems = list(_key_problems(loader, groups, [o for o in parsed if o not in groups]))
    yield from problems or _lacking_extras(groups, error) or [_plain(error)]


def _lacking_extras(groups: list[Override], error: Exception) -> list[str]:
    """A sentence on a launcher whose plugin is not installed."""
    if "Could not find 'hydra/launcher/" not in str(error):
        return []
    return [
        f"launcher={value}: not installed; pip install -c constraints.txt -e '.[{EXTRAS[value]}]'"
        for override in groups
        for value in _values(override)
        if override.key_or_group == "launcher" and value in EXTRAS
    ]


def _is_group(loader: ConfigLoader, override: Override) -> bool:
    return bool(loader.get_group_options(override.key_or_group))


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    return [str(override.value())]


def _option_problems(loader: ConfigLoader, override: Override) -> Iterator[str]:
    group = override.key_or_group
    options = [name for name in loader.get_group_options(group) if not name.startswith("_")]
    for value in _values(override):
        if value not in (*options, "None"):
            close = nearest(value, options)
            hint = f", did you mean {group}={close}?" if close else ";"
            yield f"{group}={value}: unknown option{hint} Allowed: {', '.join(sorted(options))}"


def _key_problems(loader: ConfigLoader, groups: list[Override], others: list[Override]) -> Iterator[str]:
    chosen = [o.input_line for o in groups if o.input_line and not o.is_sweep_override()]
    swept = {o.key_or_group for o in groups if o.is_sweep_override()}
    try:
        base = loader.load_configuration(CONFIG, chosen, run_mode=RunMode.MULTIRUN)
    except (HydraException, OmegaConfBaseException, YAMLError):
        return
    for override in others:
        if override.is_add() or override.is_force_add():
            continue
        group = override.key_or_group.split(".")[0]
        problem = _missing(base, override.key_or_group)
        if problem and group in swept:
            problem += f"; if only some options of {group} have it, write ++{override.input_line}"
        if problem:
            yield problem


def _missing(base: DictConfig, key: str) -> str | None:
    """A sentence on the first part of a dotted key that the config does not have."""
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return None
        if part not in node:
            return unknown(".".join(parts[: depth + 1]), [str(k) for k in node if k != "hydra"])
        node = node._get_node(part)
    return None


def _plain(error: Exception) -> str:
    """The words of an error and of its cause, without what Hydra adds on how to debug."""
    texts = [str(e).strip() for e in (error, error.__cause__) if e is not None]
    return "\n".join(text for text in texts if text) or type(error).__name__
