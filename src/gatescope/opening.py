"""What a record may name when it is opened: the config of a record can come from a stranger.

Hydra calls whatever a `_target_` names. A record is therefore opened only if every part that is built of it
is a class of this package, or if the user trusts it: `trust=true`, or a training command that names the part.

This module imports neither Lightning nor the datasets.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gatescope.components import component_problems, import_from_working_directory, locate
from gatescope.moved import current_targets

BUILT = {
    "data": "gatescope.data",
    "model": "gatescope.cells",
    "attention": "gatescope.models",
    "decoder": "gatescope.models",
    "front": "gatescope.models",
}
"""The sections of a config that are built when a record is opened, each with the package that it may name."""
RESOLVER = re.compile(r"\$\{[^${}]*:")
"""An interpolation that calls a function, such as ${oc.env:HOME}; a record is saved with its values."""


class NotTrusted(ValueError):
    """A record names something outside this package; the message says what, and how to open it anyway."""


def opened_config(
    config: Mapping[str, Any], name: str, trust: bool = False, named: Collection[str] = ()
) -> dict[str, Any]:
    """Return the config of a record with plain values, if what is built of it may be built.

    Args:
        config: Content of config.yaml, or the sections of it that are needed.
        name: Name of the record, for messages.
        trust: Whether it may name anything; then modules are also found in the working directory.
        named: Dotted paths that the user has named, which are allowed as well.

    Raises:
        NotTrusted: It names something outside this package, or calls a function by an interpolation.
        ValueError: A value is not one that the named class takes.
    """
    if not trust and (calls := RESOLVER.search(str(config))):
        raise NotTrusted(
            f"{name}: its config contains {calls.group()}…}}, which would be run; {_remedy(name)}"
        )
    try:
        plain: Any = OmegaConf.to_container(OmegaConf.create(current_targets(config)), resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{name}: config.yaml: {str(error).splitlines()[0]}") from error
    if trust or named:
        import_from_working_directory()
    if not trust:
        for section, package in BUILT.items():
            for key, target in targets(plain.get(section), section):
                if target not in named and not is_own_class(target, package):
                    raise NotTrusted(
                        f"{name}: {key} is {target}, which is no class of {package}: opening the record "
                        f"would run it; {_remedy(name)}"
                    )
    for section in BUILT:
        if section != "data":  # its file has changed since, which the dataset reports
            for problem in component_problems(plain.get(section), section):
                raise ValueError(f"config.yaml: {problem}")
    return dict(plain)


def _remedy(name: str) -> str:
    return f"open {name} with trust=true only if you know who made it"


def targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the key and the value of every `_target_` in a config, at any depth."""
    if isinstance(node, Mapping):
        if node.get("_target_") is not None:
            yield f"{key}._target_", str(node["_target_"])
        for name, child in node.items():
            yield from targets(child, f"{key}.{name}")
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from targets(child, f"{key}.{index}")


def is_own_class(path: str, package: str) -> bool:
    """Return whether a dotted path is a public class of a package, and defined there.

    `gatescope.distributed.subprocess.Popen` can be reached through this package and is none of its classes.
    """
    module, _, attribute = path.rpartition(".")
    if not f"{module}.".startswith(f"{package}.") or not attribute[:1].isupper():
        return False
    if not all(part.isidentifier() and not part.startswith("_") for part in path.split(".")):
        return False
    try:
        if package == BUILT["data"]:  # its import needs Lightning, which a prediction does not
            spec = find_spec(module)
            source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
            return re.search(rf"^class {attribute}\b", source, re.MULTILINE) is not None
        found = locate(path)
    except ImportError:
        return package != BUILT["data"]  # a class of another version; the check of arguments refuses it
    return inspect.isclass(found) and f"{found.__module__}.".startswith(f"{package}.")
