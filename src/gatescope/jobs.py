"""A job of a sweep."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Job:
    """A job of a sweep.

    Attributes:
        overrides: Its overrides, as on the command line.
        cfg: Its resolved config.
        finished: Whether its run is finished.
    """

    overrides: list[str]
    cfg: dict[str, Any]
    finished: bool
