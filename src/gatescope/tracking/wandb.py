"""W&B: offline by default, the same values under the same names as the record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger

from gatescope.instruments.readings import Curve, Heatmap, Histogram, Points, Reading, Readings, Scalar
from gatescope.tracking.identity import run_dir, run_id, tags


class CredentialsError(RuntimeError):
    """Online tracking was asked for and no W&B account is configured."""


def make_logger(cfg: DictConfig, resumes: bool = False) -> WandbLogger | None:
    """The W&B logger of a run, or None for `tracking=off`; `resumes` continues the W&B run of the same id.

    Raises:
        CredentialsError: `tracking=online` without an API key.
    """
    mode = cfg.tracking.mode
    if mode == "disabled":
        return None
    if mode == "online":
        require_credentials()
    identity = run_id(cfg)
    directory = Path(cfg.root) / cfg.study.name
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    # Not through WandbLogger's own arguments: it passes `anonymous`, at which wandb prints a warning.
    run = wandb.init(
        name=identity,
        id=identity,
        resume="allow" if resumes else None,
        project=cfg.tracking.project,
        entity=cfg.tracking.entity,
        dir=directory,
        mode=mode,
        group=cfg.study.name,
        job_type="train",
        tags=[f"{name}:{value}" for name, value in tags(cfg).items()],
        config=config | {"run_dir": str(run_dir(cfg))},
        # Without the flush interval a run killed in its first ten seconds left 7 bytes.
        settings=wandb.Settings(x_transaction_log_flush_interval=1, silent=True, console="off"),
    )
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=run, log_model=False)


def require_credentials() -> None:
    if not wandb.api.api_key:
        raise CredentialsError(
            "tracking=online needs a W&B account and none is configured: run `wandb login`, or set "
            "WANDB_API_KEY, or use tracking=offline (the default) and `wandb sync` the run later"
        )


def log_readings(logger: WandbLogger, readings: Readings, step: int, epoch: int) -> None:
    """Scalars under their names, histograms pre-binned, curves as line charts, points as histograms."""
    row: dict[str, Any] = {}
    for name, reading in readings.items():
        row |= to_wandb(name, reading)
    if row:
        logger.experiment.log(row | {"trainer/global_step": step, "epoch": epoch})


def to_wandb(name: str, reading: Reading) -> dict[str, Any]:
    """A reading as W&B draws it, by name; nothing for an undefined one."""
    match reading:
        case Scalar(value):
            return {name: value}
        case Histogram(edges, counts):
            return {name: wandb.Histogram(np_histogram=(np.asarray(counts), np.asarray(edges)))}
        case Curve():
            return {name: _line_chart(name, reading)}
        case Points(columns):
            # A scatter chart is a table, a file and an artifact a look: the record and the report have it.
            return {f"{name}/{column}": _binned(values) for column, values in columns.items() if values}
        case Heatmap(values, x, y):
            rows: Any = [[b, a, values[i][j]] for i, b in enumerate(y) for j, a in enumerate(x)]
            return {name: wandb.Table([reading.y_label, reading.x_label, "value"], rows)}
        case _:
            return {}


def _binned(values: list[float]) -> wandb.Histogram:
    finite = np.asarray([v for v in values if v is not None and math.isfinite(v)], dtype=float)
    return wandb.Histogram(np_histogram=np.histogram(finite, bins=32))


def _line_chart(name: str, curve: Curve) -> Any:
    series = {curve.y_label: curve.y, "low": curve.low, "high": curve.high}
    drawn = {key: ys for key, ys in series.items() if ys is not None}
    finite = {key: [y if math.isfinite(y) else None for y in ys] for key, ys in drawn.items()}
    return wandb.plot.line_series(
        curve.x, list(finite.values()), keys=list(finite), title=name, xname=curve.x_label
    )
