"""Findings of a study in words, a module each, found by name: `study.findings`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report.numbers import literal
from gatescope.components import import_from_working_directory

log = logging.getLogger(__name__)

DEFAULT = "comparison"


@dataclass(frozen=True)
class Findings:
    """The findings of a study in words.

    Attributes:
        title: heading of the section.
        headline: one line of plain text, for the list of reports.
        paragraphs: the section, in Markdown.
    """

    title: str
    headline: str
    paragraphs: Sequence[str]


class FindingsModule(Protocol):
    """A module that `study.findings` names."""

    def findings(self, comparison: Comparison) -> Findings:
        """Write the findings of a study."""
        ...


def load(name: str) -> FindingsModule:
    """Import a findings module.

    Args:
        name: a module of this package, else a module on the Python path or in the working directory.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    if "." not in name and find_spec(f"{__name__}.{name}"):
        return cast(FindingsModule, import_module(f"{__name__}.{name}"))
    import_from_working_directory()
    return cast(FindingsModule, import_module(name))


def write_findings(comparison: Comparison, module: str | None = None) -> Findings:
    """Write the findings of a study.

    An exception does not prevent the report: its message takes the place of the findings.

    Args:
        comparison: the comparison.
        module: the module that writes them; default: `study.findings`, else `DEFAULT`.
    """
    name = module or str(comparison.study.get("findings") or DEFAULT)
    try:
        return load(name).findings(comparison)
    except Exception as error:
        log.exception("the findings of %s could not be written", name)
        message = f"The findings could not be written: {name} raised {type(error).__name__}: {error}"
        return Findings("Findings", message, [literal(message)])
