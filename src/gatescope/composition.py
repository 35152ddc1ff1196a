"""Compose configs with Hydra, and explain what Hydra refuses.

Only Hydra's documented interfaces are used: `initialize_config_dir`, the `ConfigLoader` that Hydra also hands
to a sweeper, and the parser of overrides in `hydra.core`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gatescope.components import nearest, unknown_key
from gatescope.config import ConfigError, resolved
from gatescope.overrides import needs_multirun, quoted, unparsable
from gatescope.tracking import identity  # noqa: F401  registers the resolver run_id

CONFIG = "config"
"""Name of the primary config, conf/config.yaml."""

SEARCH_PATH = "hydra.searchpath"
"""Hydra's key for further config directories."""

REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError, AssertionError)
"""What Hydra raises for overrides that it cannot compose; the last three for options that are no names."""

EXTRAS = {"joblib": "parallel", "ray": "ray", "slurm": "slurm"}
"""The extra of this package that installs a launcher."""


def config_dir() -> Path:
    """Return the directory of the configs: inside an installed package, or `conf/` of a checkout.

    Raises:
        FileNotFoundError: Neither exists.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / f"{CONFIG}.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no configs in {package / 'conf'}: install gatescope again")


def make_loader(conf: Path | None = None) -> ConfigLoader:
    """Return Hydra's loader of the configs in `conf`, by default those of Gatescope."""
    with initialize_config_dir(str(conf or config_dir()), version_base="1.3"):
        return GlobalHydra.instance().config_loader()


def add_config_dir(overrides: Sequence[str], folder: str | None) -> list[str]:
    """Return overrides that also search `folder`, which must be a directory, as `--config-dir` does.

    Raises:
        ConfigError: There is no such directory.
    """
    if folder is None:
        return list(overrides)
    path = Path(folder).absolute()
    if not path.is_dir():
        raise ConfigError([f"--config-dir {folder}: no such directory"])
    others = [word for word in overrides if not word.startswith(f"{SEARCH_PATH}=")]
    given: list[Any] = [_parse(word).value() for word in overrides if word not in others]
    paths = ",".join(quoted(one) for one in [f"file://{path}", *itertools.chain(*given)])
    return [f"{SEARCH_PATH}=[{paths}]", *others]


def compose(loader: ConfigLoader, overrides: Sequence[str], sweep: bool = False) -> DictConfig:
    """Compose a config.

    Args:
        loader: Hydra's loader, from `make_loader` or from a sweeper's `HydraContext`.
        overrides: As on the command line.
        sweep: Whether to compose the config of a whole sweep, which ignores swept keys and keeps the node
            `hydra`, and not that of one job, which has no such node.

    Raises:
        ConfigError: Hydra cannot compose an override or a file; the message explains it.
    """
    try:
        cfg = loader.load_configuration(
            CONFIG,
            list(overrides),
            run_mode=RunMode.MULTIRUN if sweep else RunMode.RUN,
            validate_sweep_overrides=not sweep,
        )
    except REFUSALS as error:
        raise ConfigError(list(explain(loader, overrides, error, sweep))) from error
    return cfg if sweep else OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"])


def job_config(loader: ConfigLoader, overrides: Sequence[str], sweep: DictConfig) -> DictConfig:
    """Return what `compose(loader, overrides)` returns, taken from `sweep` if no override is swept."""
    if any(
        override.is_sweep_override() for override in OverridesParser.create().parse_overrides(list(overrides))
    ):
        return compose(loader, overrides)
    return OmegaConf.masked_copy(sweep, [str(k) for k in sweep if k != "hydra"])


def grid(loader: ConfigLoader, words: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every job of a sweep, in the order of the grid.

    Args:
        loader: Hydra's loader, which `glob()` takes the options of a group from.
        words: Overrides with swept values. If a key is given twice, the last one counts.

    Raises:
        ConfigError: A key is swept over an interval, which has no grid.
    """
    values: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(words)):
        key = override.get_key_element()
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigError(
                [f"{override.input_line}: an interval is not swept; write {key}=choice(…) or {key}=range(…)"]
            )
    return [list(job) for job in itertools.product(*values.values())]


@dataclass(frozen=True)
class _Template:
    """A composed config, its plain values, and its sections that have interpolations."""

    cfg: DictConfig
    plain: dict[str, Any]
    interpolated: frozenset[str]

    @classmethod
    def of(cls, cfg: DictConfig) -> _Template:
        unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
        interpolated = {name for name, node in unresolved.items() if "${" in json.dumps(node, default=str)}
        return cls(cfg, resolved(cfg), frozenset(interpolated))


class JobConfigs:
    """The resolved configs of a sweep's jobs.

    Hydra takes a tenth of a second to compose one config. Jobs that set the same keys of the config to
    numbers, strings, booleans or null, and that otherwise have the same overrides, share one composed config,
    in which these keys are set for each job as Hydra sets them.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._values: dict[str, Override | None] = {}
        self._groups: dict[str, bool] = {}
        self._templates: dict[tuple[str, ...], _Template] = {}

    def resolved(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return what `resolved(compose(loader, overrides))` returns.

        The configs of several jobs share sections that are equal, so that they must not be changed.

        Raises:
            ConfigError: The overrides do not compose.
        """
        values = [value for word in overrides if (value := self._value(word)) is not None]
        keys = [value.key_or_group for value in values]
        shared = (*(word for word in overrides if self._value(word) is None), "", *keys)
        if shared not in self._templates:
            self._templates[shared] = _Template.of(compose(self._loader, overrides))
        template = self._templates[shared]
        for key, value in zip(keys, values, strict=True):
            OmegaConf.update(template.cfg, key, value.value(), merge=True)
        changed = template.interpolated | {key.split(".")[0] for key in keys}
        return template.plain | resolved({name: template.cfg[name] for name in changed})

    def _value(self, word: str) -> Override | None:
        """Return the override if it sets a key of the config to a scalar, else None."""
        if word not in self._values:
            self._values[word] = self._parse_value(word)
        return self._values[word]

    def _parse_value(self, word: str) -> Override | None:
        try:
            override = _parse(word)
        except HydraException:
            return None
        key = override.key_or_group
        changes = override.type == OverrideType.CHANGE and not override.is_sweep_override()
        if key not in self._groups:
            self._groups[key] = _is_group(self._loader, override)
        if not changes or key.split(".")[0] == "hydra" or self._groups[key]:
            return None
        value = override.value()
        return override if value is None or isinstance(value, int | float | bool | str) else None


def explain(
    loader: ConfigLoader, overrides: Sequence[str], error: Exception, sweep: bool = False
) -> Iterator[str]:
    """Yield sentences on why these overrides do not compose; Hydra's own message if no reason is known.

    Args:
        loader: Hydra's loader.
        overrides: The overrides.
        error: Hydra's error.
        sweep: Whether values may be swept.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as wrong:
        yield unparsable(str(wrong.override), str(wrong).splitlines()[0])
        return
    if "in defaults" in str(error):  # Hydra's error for a list of defaults names no file
        selected = ", ".join(overrides) or "none"
        yield (
            f"the list `defaults` of a file that is selected ({selected}): {error}; "
            'YAML reads off, on, yes and no as true or false: write "off" in quotes'
        )
        return
    if unnamed := [str(o.input_line) for o in parsed if not o.key_or_group]:
        yield from (f"{word}: no key before =; write key=value" for word in unnamed)
        return
    search = [word for word in overrides if word.startswith(f"{SEARCH_PATH}=")]
    groups = [o for o in parsed if _is_group(loader, o, search)]
    problems = [p for o in groups for p in _option_problems(loader, o, search)]
    if not problems:
        others = [o for o in parsed if o not in groups]
        problems = list(_key_problems(loader, groups, others, search))
    if not problems and not sweep:
        problems = [needs_multirun(str(o.input_line)) for o in parsed if o.is_sweep_override()]
    yield from problems or _missing_extras(groups, error) or [_plain(error)]


def _parse(word: str) -> Override:
    return OverridesParser.create().parse_override(word)


def _missing_extras(groups: list[Override], error: Exception) -> list[str]:
    """Return a sentence on each launcher whose plugin is not installed."""
    if "Could not find 'hydra/launcher/" not in str(error):
        return []
    return [
        f"launcher={value}: not installed; pip install -c constraints.txt -e '.[{EXTRAS[value]}]'"
        for override in groups
        for value in _values(override)
        if override.key_or_group == "launcher" and value in EXTRAS
    ]


def _options(loader: ConfigLoader, group: str, search: Sequence[str] = ()) -> list[str]:
    return loader.get_group_options(group, config_name=CONFIG if search else None, overrides=list(search))


def public_options(loader: ConfigLoader, search: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the options of every group that can be chosen on the command line.

    Files whose name starts with `_` are parts of others, and `sweeps` holds files of W&B.

    Args:
        loader: Hydra's loader.
        search: An override of `hydra.searchpath`, or none.
    """
    groups = loader.get_group_options(
        "", ObjectType.GROUP, config_name=CONFIG if search else None, overrides=list(search)
    )
    return {
        group: [name for name in sorted(_options(loader, group, search)) if not name.startswith("_")]
        for group in sorted(groups)
        if group not in ("hydra", "sweeps")
    }


def _is_group(loader: ConfigLoader, override: Override, search: Sequence[str] = ()) -> bool:
    return bool(_options(loader, override.key_or_group, search))


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    return [str(override.value())]


def _option_problems(loader: ConfigLoader, override: Override, search: Sequence[str]) -> Iterator[str]:
    group = override.key_or_group
    options = [name for name in _options(loader, group, search) if not name.startswith("_")]
    if override.value() is None and not override.is_delete():
        yield f"{group}=null: leave {group} out, or choose one; Allowed: {', '.join(sorted(options))}"
        return
    for value in _values(override):
        if value not in (*options, "None"):
            close = nearest(value, options)
            hint = f", did you mean {group}={close}?" if close else ";"
            yield f"{group}={value}: unknown option{hint} Allowed: {', '.join(sorted(options))}"


def _key_problems(
    loader: ConfigLoader, groups: list[Override], others: list[Override], search: Sequence[str]
) -> Iterator[str]:
    selected = [o.input_line for o in groups if o.input_line and not o.is_sweep_override()]
    swept = {o.key_or_group for o in groups if o.is_sweep_override()}
    try:
        base = loader.load_configuration(CONFIG, [*search, *selected], run_mode=RunMode.MULTIRUN)
    except REFUSALS:
        return
    for override in others:
        if override.is_add() or override.is_force_add():
            continue
        group = override.key_or_group.split(".")[0]
        problem = _missing(base, override.key_or_group)
        if problem and group in swept:
            problem += f"; if only some options of {group} have it, write ++{override.input_line}"
        elif problem and group == "trainer":
            problem += f"; an argument of Lightning's Trainer is added by +{override.input_line}"
        if problem:
            yield problem


def _missing(base: DictConfig, key: str) -> str | None:
    """Return a sentence on the first part of a dotted key that the config does not have."""
    node: Any = base
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return None
        if part not in list(node):  # `part in node` is false for a key that needs a value, ???
            return unknown_key(".".join(parts[: depth + 1]), [str(k) for k in node if k != "hydra"])
        if OmegaConf.is_missing(node, part) or OmegaConf.is_interpolation(node, part):
            return None
        node = node[part]
    return None


def _plain(error: Exception) -> str:
    """Return the messages of an error and of its cause, without Hydra's advice on debugging."""
    texts = [str(e).strip() for e in (error, error.__cause__) if e is not None]
    return "\n".join(text for text in texts if text) or type(error).__name__
