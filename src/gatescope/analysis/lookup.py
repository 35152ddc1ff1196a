"""Figures and findings are found by name: a module of the package, or a dotted path of your own."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pkgutil import iter_modules
from typing import Any

from gatescope.components import import_from_working_directory


class UnknownName(LookupError):
    """A name is not that of a figure or of a findings module; the message lists the names that there are."""


@dataclass(frozen=True)
class Found:
    """What was found under a name.

    Attributes:
        name: The name.
        module: The module or object; None where there is an error.
        error: What its import raised, or `UnknownName`.
    """

    name: str
    module: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class Lookup:
    """Finds modules of one kind by their names.

    Attributes:
        noun: What one of them is called in messages.
        package: The package whose modules have short names.
        required: Attributes that each of them has.
        shared: Modules of the package that are none of them.
    """

    noun: str
    package: str
    required: tuple[str, ...]
    shared: tuple[str, ...] = ()

    def load(self, name: str, own: bool = True) -> Any:
        """Return the module or object of a name.

        Args:
            name: A module of the package ("pareto"), or the dotted path of a module ("my_figure",
                "my_package.my_figure") or of an object in a module. Paths outside the package are looked up
                as Python imports them, and last in the working directory.
            own: Whether a path outside the package may be imported, which runs it.

        Raises:
            UnknownName: There is none of this name (or none in the package, if `own` is false), or it lacks a
                required attribute.
        """
        module = None
        if is_dotted_path(name):
            module = self._import(f"{self.package}.{name}")
            if module is None and not own:
                raise UnknownName(
                    f"{name} is no {self.noun} of this package, and a report does not run what its records "
                    f"name: give trust=true if you know who made them. {self._allowed()}"
                )
            if module is None:
                import_from_working_directory()
                module = self._import(name)
        if module is None:
            near = get_close_matches(name, self.names(), n=1)
            hint = f", did you mean {near[0]}?" if near else "."
            raise UnknownName(f"there is no {self.noun} {name!r}{hint} {self._allowed()}")
        if missing := [attribute for attribute in self.required if not hasattr(module, attribute)]:
            raise UnknownName(
                f"{name} is not a {self.noun}, it lacks {', '.join(missing)}. {self._allowed()}"
            )
        return module

    def find(self, name: str, own: bool = True) -> Found:
        """Return the module of a name, or the error that prevents its import; see `load`."""
        try:
            return Found(name, self.load(name, own))
        except Exception as error:
            return Found(name, error=error)

    def names(self) -> list[str]:
        """Return the names of the modules of the package."""
        package = importlib.import_module(self.package)
        return sorted({module.name for module in iter_modules(package.__path__)} - set(self.shared))

    def _allowed(self) -> str:
        return f"Allowed: {', '.join(self.names())}, or the dotted path of your own."

    def _import(self, path: str) -> Any:
        """Import a module, or an object in a module; return None where there is none."""
        parent, _, attribute = path.rpartition(".")
        try:
            return importlib.import_module(path)
        except ModuleNotFoundError as error:
            if not _names_part_of(path, error.name):
                raise
        if not parent or parent == self.package:
            return None
        try:
            return getattr(importlib.import_module(parent), attribute, None)
        except ModuleNotFoundError as error:
            if not _names_part_of(parent, error.name):
                raise
            return None


def require_known(argument: str, found: Iterable[Found]) -> None:
    """Check that all names exist; other errors are reported where the figure or the findings stand.

    Args:
        argument: Name of the argument, for the message.
        found: What was looked up.

    Raises:
        UnknownName: One of them does not exist.
    """
    for one in found:
        if isinstance(one.error, UnknownName):
            raise UnknownName(f"{argument}: {one.error}")


def is_dotted_path(name: str) -> bool:
    """Return whether `name` consists of Python identifiers joined by dots."""
    return all(part.isidentifier() for part in name.split("."))


def _names_part_of(path: str, module: str | None) -> bool:
    """Return whether `module` is `path` or a package that contains it."""
    return module is not None and f"{path}.".startswith(f"{module}.")
