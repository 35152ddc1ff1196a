"""Findings of a study in words, a module each, found by name: `study.findings`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gatescope.analysis import data_variance
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.lookup import Found, Lookup, UnknownName
from gatescope.analysis.report.numbers import literal

log = logging.getLogger(__name__)

DEFAULT = "comparison"


@dataclass(frozen=True)
class Findings:
    """The findings of a study in words.

    Attributes:
        title: the finding in a sentence without a full stop, in plain text; the title of page and README.
        headline: about three sentences with numbers, in plain text; under the title, and in the list of
            reports.
        paragraphs: the findings in detail, in Markdown.
        figure: the figure that shows the finding; "" or one that is not drawn: the first that is.
    """

    title: str
    headline: str
    paragraphs: Sequence[str]
    figure: str = ""


class FindingsModule(Protocol):
    """A module that `study.findings` names."""

    def findings(self, comparison: Comparison) -> Findings:
        """Write the findings of a study."""
        ...


LOOKUP = Lookup(
    "findings module", __name__, required=("findings",), shared=("headline", "headline_conditions")
)
"""Finds findings modules by their names."""


def write_findings(comparison: Comparison, found: Found) -> Findings:
    """Write the findings of a study.

    An exception does not prevent the report: its message takes the place of the findings.

    Args:
        comparison: the comparison.
        found: the module that writes them, looked up by its name.
    """
    name = found.name
    try:
        if found.error is not None:
            raise found.error
        module: FindingsModule = found.module
        written = module.findings(comparison)
        data = data_variance.sentence(comparison.contenders)
        return replace(written, paragraphs=[*written.paragraphs, data]) if data else written
    except UnknownName as error:
        log.warning("findings: %s", error)
        message = f"The findings could not be written: {error}"
    except Exception as error:
        log.exception("the findings of %s could not be written", name)
        message = f"The findings could not be written: {name} raised {type(error).__name__}: {error}"
    return Findings("A report without findings", message, [literal(message)])
