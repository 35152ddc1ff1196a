"""W&B: offline by default, the same values under the same names as the record.

A run that goes on gives W&B first what it lacks of the record: all of it into a new offline file, which
takes the place of those of earlier tries; or what a server has not got yet. Every call that logs makes one
row there, in the order of the record, so that the number of rows says which are missing. What a server has
got from beyond the checkpoint is not sent again, since the run repeats it to the last bit.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from gatescope.data.datamodule import SequenceData
from gatescope.instruments.measurements import (
    Curve,
    Heatmap,
    Histogram,
    Measurement,
    Measurements,
    Points,
    Scalar,
    chart_of,
    from_json,
)
from gatescope.tracking import predictions
from gatescope.tracking.identity import run_dir, run_id, tags
from gatescope.tracking.record import Record, calls, finite
from gatescope.tracking.runfile import ROW_KEYS
from gatescope.tracking.steps import CountsUpdates
from gatescope.tracking.variants import run_name

log = logging.getLogger(__name__)

INIT_SECONDS, FINISH_SECONDS = 20.0, 60.0
"""How long W&B's server may take to answer a new run, and to take the rest of one that has ended."""

STEP = "trainer/global_step"
RECORD_KEY, READING_MARK, READINGS = "record", "_reading", "readings.jsonl"
"""In W&B: the key of the config that holds run.json, the mark of the history's rows that hold readings, and
the file of them all, which goes along since W&B has curves and points only as drawings. From these
`gatescope.analysis.wandb_source` restores a record."""


MOST_CLASSES, WORST = 50, 20
"""Classes of which W&B draws a confusion matrix (at 50, and 12,000 examples, 0.9 s at the end of a run; at
100 the table has W&B's most rows, 10,000), and rows of its table of the worst errors."""

PIXELS = 4
"""Along either side of a value of a heatmap."""


class CredentialsError(RuntimeError):
    """Online tracking was asked for and no W&B account is configured."""


class TolerantLogger(CountsUpdates, WandbLogger):
    """W&B's logger, of which a run is independent: when its service dies, one warning, and no more of it.

    Args:
        has: rows of this run that W&B has already: so many are not sent again.
    """

    def __init__(self, run: wandb.Run, has: int = 0) -> None:
        super().__init__(experiment=run, log_model=False)
        self.lost = False
        self.rows, self.has = 0, has
        self._when: float | None = None

    def attempt(self, act: Callable[[], Any]) -> None:
        if self.lost:
            return
        try:
            act()
        except Exception as error:  # whatever a broken connection makes wandb raise
            self.lost = True
            log.warning("W&B failed (%s: %s); the run goes on, its record is whole", _kind(error), error)
            with suppress(Exception):
                wandb.teardown()  # so that the next run of this process starts a service of its own

    def put(self, row: dict[str, Any]) -> None:
        """Logs the next row of the run, unless W&B has it."""
        self.rows += 1
        if self.rows > self.has:
            when = {} if self._when is None else {"_timestamp": self._when}
            self.attempt(lambda: self.experiment.log(row | when))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.put({**metrics, STEP: self.step_of(step)})

    def replay(self, record: Record) -> None:
        """Logs all that stands in the record, at the times at which it was recorded."""
        started = _seconds(record.run.get("started"))
        for rows in calls(record.directory):
            step, epoch = rows[0]["step"], rows[0].get("epoch")
            self._when = started + (rows[0].get("time") or (self._when or started) - started)
            if "kind" in rows[0]:
                log_measurements(self, {str(row["name"]): from_json(row) for row in rows}, step, epoch)
                continue
            values = {n: math.nan if v is None else v for n, v in rows[0].items() if n not in ROW_KEYS}
            self.log_metrics(values if epoch is None else values | {"epoch": epoch}, step)
        self._when = None

    def remove_earlier(self) -> None:
        """Removes the local files of earlier tries of this run: synced later, they would overwrite it."""
        if self.lost:
            return
        own = Path(self.experiment.dir).parent
        pattern = re.compile(rf"(offline-)?run-\d{{8}}_\d{{6}}-{re.escape(self.experiment.id)}")
        for folder in own.parent.iterdir():
            if pattern.fullmatch(folder.name) and folder.name != own.name:
                shutil.rmtree(folder, ignore_errors=True)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.attempt(lambda: super(TolerantLogger, self).finalize(status))

    def describe(self, record: Record) -> None:
        """Puts run.json, as it stands now, into the config of the W&B run."""
        known = {RECORD_KEY: finite(record.run)}
        self.attempt(lambda: self.experiment.config.update(known, allow_val_change=True))

    def hand_over(self, record: Record) -> None:
        """At the end of a run: run.json as it has become, the readings and the predictions as recorded."""
        self.describe(record)
        for path in (record.directory / name for name in (READINGS, *predictions.FILES)):
            if path.exists():
                self.attempt(lambda path=path: self._save(path))  # type: ignore[misc]

    def _save(self, path: Path) -> None:
        folder = self.experiment.dir
        copy = shutil.copy(path, folder)  # `wandb sync` then needs no other directory
        self.experiment.save(copy, base_path=folder, policy="now")

    def close(self, summary: Mapping[str, float], exit_code: int) -> None:
        """Plain finish() after an exception would record a failed run as exit 0."""
        self.attempt(lambda: self.experiment.summary.update(summary))
        self.attempt(lambda: wandb.finish(exit_code=exit_code))


def _kind(error: Exception) -> str:
    return type(error).__name__


def _seconds(time: str | None) -> float:
    """Of the epoch, now where the record does not tell."""
    try:
        return datetime.fromisoformat(time or "").timestamp()
    except ValueError:
        return datetime.now().timestamp()


def make_logger(cfg: DictConfig, resumes: bool = False) -> TolerantLogger | None:
    """The W&B logger of a run, or None for `tracking=off`; `resumes` continues what a server has of the run.

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
    run = _init(
        name=run_name(cfg),
        id=identity,
        resume="allow" if resumes and mode == "online" else None,
        project=cfg.tracking.project,
        entity=cfg.tracking.entity,
        dir=directory,
        mode=mode,
        group=cfg.study.name,
        job_type="train",
        tags=[f"{name}:{value}" for name, value in tags(cfg).items()],
        config=config | {"run_dir": str(run_dir(cfg))},
        # Without the flush interval a run killed in its first ten seconds left 7 bytes.
        settings=wandb.Settings(
            x_transaction_log_flush_interval=1,
            silent=True,
            console="off",
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
        ),
    )
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    return TolerantLogger(run, has=0 if run.offline else run.starting_step)


def _init(mode: Any, **arguments: Any) -> wandb.Run:
    """wandb.init, recording on disk what cannot be sent."""
    try:
        return wandb.init(mode=mode, **arguments)
    except wandb.errors.CommError as error:
        if mode != "online" or isinstance(error, wandb.errors.AuthenticationError):
            raise
        reason = str(error).splitlines()[0]
        log.warning("W&B cannot be reached (%s); recorded offline, `wandb sync` sends it later", reason)
    wandb.teardown()  # its service keeps the id of the run that could not begin
    return wandb.init(mode="offline", **arguments | {"resume": None})


def require_credentials() -> None:
    if not wandb.api.api_key:
        raise CredentialsError(
            "tracking=online needs a W&B account and none is configured: run `wandb login`, or set "
            "WANDB_API_KEY, or use tracking=offline (the default) and `wandb sync` the run later"
        )


def log_measurements(
    logger: TolerantLogger, measurements: Measurements, step: int, epoch: int | None
) -> None:
    """Scalars under their names, histograms pre-binned, curves as the lines of charts, points as histograms,
    heatmaps as pictures."""
    row: dict[str, Any] = {}
    charts: dict[str, dict[str, Curve]] = {}
    for name, measurement in measurements.items():
        if isinstance(measurement, Curve):
            charts.setdefault(chart_of(name, measurement.x_label), {})[name.rpartition("/")[2]] = measurement
        else:
            row |= to_wandb(name, measurement)
    row |= {name: line_chart(name, curves) for name, curves in charts.items()}
    if row:
        logger.put(row | {STEP: step, "epoch": epoch, READING_MARK: 1})


def to_wandb(name: str, measurement: Measurement) -> dict[str, Any]:
    """A reading as W&B draws it, by name; nothing for an undefined one, nor for curves: they share charts."""
    match measurement:
        case Scalar(value):
            return {name: value}
        case Histogram(edges, counts):
            return {name: wandb.Histogram(np_histogram=(np.asarray(counts), np.asarray(edges)))}
        case Points(columns):
            # A scatter chart is a table, a file and an artifact a look: the record and the report have it.
            return {f"{name}/{column}": _binned(values) for column, values in columns.items() if values}
        case Heatmap():
            return {name: _picture(measurement)}
        case _:
            return {}


def log_predictions(
    logger: TolerantLogger, columns: predictions.Columns, data: SequenceData, step: int
) -> None:
    """The confusion matrix of a classification, and a table of the worst errors with their texts."""
    if logger.lost:
        return
    try:
        row: dict[str, Any] = {"test/worst_errors": worst_errors(columns, data)}
        names = predictions.classes(columns)
        if 0 < len(names) <= MOST_CLASSES:
            row["test/confusion_matrix"] = confusion_matrix(columns, names)
    except Exception as error:  # a table is worth neither the run nor the rest of what W&B is given
        log.warning("W&B gets no table of the errors (%s: %s); the record has them", _kind(error), error)
        return
    row |= {STEP: step, READING_MARK: 1}
    logger.attempt(lambda: logger.experiment.log(row))


def confusion_matrix(columns: predictions.Columns, names: list[str]) -> Any:
    """W&B's own chart."""
    places = {name: i for i, name in enumerate(names)}
    true, said = ([places[name] for name in columns[part]] for part in ("target", "prediction"))
    title = "Confusion matrix of the test split"
    return wandb.plot.confusion_matrix(y_true=true, preds=said, class_names=names, title=title)


def worst_errors(columns: predictions.Columns, data: SequenceData) -> wandb.Table:
    """A row an error, the worst first."""
    rows = predictions.shown(columns, predictions.worst(columns, WORST))
    texts = data.texts("test", [int(row["id"]) for row in rows])
    names = [name for name in columns if not name.startswith("p(") and name != "also"]
    cells = [[row[n].item() if isinstance(row[n], np.generic) else row[n] for n in names] for row in rows]
    return wandb.Table(
        columns=[*names, "text"], data=[[*row, text] for row, text in zip(cells, texts, strict=True)]
    )


def _binned(values: list[float]) -> wandb.Histogram:
    finite = np.asarray([v for v in values if v is not None and math.isfinite(v)], dtype=float)
    return wandb.Histogram(np_histogram=np.histogram(finite, bins=32))


def _picture(heatmap: Heatmap) -> wandb.Image:
    """A block of pixels a value, the largest the lightest: a table of as many rows takes thirty times as long
    to log, and W&B draws none as a heatmap."""
    from matplotlib import colormaps

    values = np.asarray(heatmap.values)
    low, high = values.min(), values.max()
    colours = colormaps["viridis"]((values - low) / (high - low or 1))[..., :3]
    pixels = (255 * colours).astype(np.uint8).repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)
    caption = (
        f"{heatmap.y_label} down, {heatmap.x_label} across, {low:.3g} to {high:.3g}: {' '.join(heatmap.x)}"
    )
    return wandb.Image(pixels, caption=caption)


def line_chart(name: str, curves: Mapping[str, Curve]) -> Any:
    """The curves by their names, each with its band."""
    rows: list[list[Any]] = []
    for key, curve in curves.items():
        for line, ys in ((key, curve.y), (f"{key}, low", curve.low), (f"{key}, high", curve.high)):
            if ys is not None:
                finite = (y if math.isfinite(y) else None for y in ys)
                rows += [[x, line, y] for x, y in zip(curve.x, finite, strict=True)]
    x_label = next(iter(curves.values())).x_label
    chart = wandb.plot.line_series([rows[0][0]], [[0.0]], keys=[rows[0][1]], title=name, xname=x_label)
    # W&B infers the columns' types anew with every row that it is given: the first row's hold for all, and
    # looks cost half as much.
    chart.table.data = rows
    return chart
