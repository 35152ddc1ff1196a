"""From a command line to a config, and from what Hydra refuses to a message that helps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gatescope.components import nearest, unknown
from gatescope.config import ConfigError
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
