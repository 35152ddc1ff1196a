"""Types of the fields of run.json; unknown fields are allowed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["running", "finished", "failed", "preempted", "interrupted"]

Value = Annotated[float, Field(allow_inf_nan=True)]
"""A result, which is NaN or infinite if training diverged."""


class Part(BaseModel):
    """A mapping whose known fields have strict types."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Tags(Part):
    """Names by which tables group runs."""

    cell: str = ""
    attention: str = ""
    data: str = ""
    variant: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Task(Part):
    """The task of the data."""

    kind: str = ""
    metric: str = ""
    direction: str = ""
    labels: list[Any] = []
    notes: dict[str, Any] = {}


class Git(Part):
    """Commit of the source."""

    commit: str | None = None
    dirty: bool | None = None


class Resumed(Part):
    """A resume from a checkpoint."""

    step: int
    at: str


class WandbRun(Part):
    """The run on W&B."""

    id: str | None = None
    dir: str | None = None
    url: str | None = None
    closed: bool | None = None


class RunFile(Part):
    """The whole file."""

    status: Status
    run_id: str = ""
    study: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    started: str | None = None
    ended: str | None = None
    seconds: Annotated[float, Field(ge=0, lt=1e9)] | None = None
    resumed: list[Resumed] = []
    tags: Tags = Tags()
    task: Task = Task()
    parameters: dict[str, int | float | str | bool | None] = {}
    kernel: str | None = None
    summary: dict[str, Value | str | bool | None] = {}
    command: list[str] = []
    host: str | None = None
    pid: int | None = None
    git: Git = Git()
    versions: dict[str, str] = {}
    wandb: WandbRun = WandbRun()
