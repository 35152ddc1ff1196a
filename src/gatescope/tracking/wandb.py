"""W&B: offline by default, with the same values under the same names as the record.

A run that continues first sends to W&B what it lacks of the record: everything to a new offline file, which
replaces those of earlier attempts, or to a server the rows that it has not received. Each call that logs
makes one row there, in the order of the record, so that the number of rows tells which ones are missing. Rows
that a server received after the checkpoint are not sent again: the run repeats them bit for bit.
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

import wandb
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from gatescope.data.datamodule import SequenceData
from gatescope.instruments.measurements import Measurements, from_json
from gatescope.tracking import predictions
from gatescope.tracking.calls import read_calls
from gatescope.tracking.identity import run_dir, run_id, tags
from gatescope.tracking.record import Record, nan_to_none
from gatescope.tracking.run_names import run_name
from gatescope.tracking.runfile import ROW_KEYS
from gatescope.tracking.steps import UpdateStepLogger
from gatescope.tracking.wandb_charts import measurement_row, prediction_row
from gatescope.tracking.wandb_outage import is_dead, note_dead, time_limit

log = logging.getLogger(__name__)

INIT_SECONDS = 20.0
"""Time limit for W&B's server to accept a new run; `tracking.finish_seconds` limits the end of one."""
FINISH_SHARE = 0.7
"""Share of `tracking.finish_seconds` in which W&B's server receives the rest; then its service has to end."""

TEARDOWN_SECONDS = 3.0
"""Time in which W&B's service has to end after it has failed."""
STEP = "trainer/global_step"
RECORD_KEY, READING_MARK, READINGS = "record", "_reading", "readings.jsonl"
"""Key of W&B's config with run.json, mark of the history's rows of measurements, and the file of all of them,
which is uploaded because W&B's charts do not contain the values of curves and points. From these,
`gatescope.analysis.wandb_source` restores a record."""


class CredentialsError(RuntimeError):
    """The config requests online tracking, and no W&B account is configured."""


class WandbRunLogger(UpdateStepLogger, WandbLogger):
    """Lightning's W&B logger; if W&B fails, it logs one warning and the run continues without it.

    Args:
        run: The W&B run.
        received: Number of rows of this run that W&B has received, which are not sent again.

    Attributes:
        lost: Whether W&B has failed.
        rows: Number of rows of the run so far, sent or not.
        received: See above.
    """

    def __init__(self, run: wandb.Run, received: int = 0) -> None:
        super().__init__(experiment=run, log_model=False)
        self.lost = False
        self.rows, self.received = 0, received
        self._replay_time: float | None = None
        """Time of the row that is replayed, in seconds since 1970."""

    def attempt(self, call: Callable[[], Any]) -> None:
        """Call a function of W&B unless W&B has failed."""
        if self.lost:
            return
        try:
            call()
        except Exception as error:  # a broken connection makes wandb raise many types
            self.lost = True
            note_dead(f"{type(error).__name__}: {error}")
            log.warning(
                "W&B failed (%s: %s); the run continues and its record is complete",
                type(error).__name__,
                error,
            )
            with suppress(Exception), time_limit(TEARDOWN_SECONDS):
                wandb.teardown()  # the next run of this process then starts its own service

    def log_row(self, row: dict[str, Any]) -> None:
        """Log the next row of the run, unless W&B has received it."""
        self.rows += 1
        if self.rows > self.received:
            time = {} if self._replay_time is None else {"_timestamp": self._replay_time}
            self.attempt(lambda: self.experiment.log(row | time))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row of metrics."""
        self.log_row({**metrics, STEP: self.step_of(step)})

    def log_measurements(self, measurements: Measurements, step: int, epoch: int | None) -> None:
        """Log the measurements of one probe as a row.

        Args:
            measurements: Measurements by name.
            step: Number of updates.
            epoch: Epoch, if known.
        """
        row = measurement_row(measurements)
        if row:
            self.log_row(row | {STEP: step, "epoch": epoch, READING_MARK: 1})

    def log_predictions(self, columns: predictions.Columns, data: SequenceData, step: int) -> None:
        """Log the confusion matrix of a classification, and a table of the worst errors with their texts.

        Args:
            columns: Predictions of the test split.
            data: Data with the texts of the test split.
            step: Number of updates of the tested weights.
        """
        if self.lost:
            return
        try:
            row = prediction_row(columns, data)
        except Exception as error:  # a table must not cost the run or the rest of its upload
            log.warning(
                "W&B gets no table of the errors (%s: %s); the record has them", type(error).__name__, error
            )
            return
        self.attempt(lambda: self.experiment.log(row | {STEP: step, READING_MARK: 1}))

    def replay(self, record: Record) -> None:
        """Log all rows of a record with the times at which they were recorded."""
        started = _timestamp(record.run.get("started"))
        for rows in read_calls(record.directory):
            step, epoch = rows[0]["step"], rows[0].get("epoch")
            self._replay_time = started + (rows[0].get("time") or (self._replay_time or started) - started)
            if "kind" in rows[0]:
                self.log_measurements({str(row["name"]): from_json(row) for row in rows}, step, epoch)
                continue
            values = {n: math.nan if v is None else v for n, v in rows[0].items() if n not in ROW_KEYS}
            self.log_metrics(values if epoch is None else values | {"epoch": epoch}, step)
        self._replay_time = None

    def delete_earlier_files(self) -> None:
        """Delete the local files of earlier attempts of this run, which would overwrite it when synced."""
        if self.lost:
            return
        current = Path(self.experiment.dir).parent
        pattern = re.compile(rf"(offline-)?run-\d{{8}}_\d{{6}}-{re.escape(self.experiment.id)}")
        for folder in current.parent.iterdir():
            if pattern.fullmatch(folder.name) and folder.name != current.name:
                shutil.rmtree(folder, ignore_errors=True)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Let Lightning's logger finalize the run."""
        self.attempt(lambda: super(WandbRunLogger, self).finalize(status))

    def update_config(self, record: Record) -> None:
        """Write the current content of run.json to the config of the W&B run."""
        content = {RECORD_KEY: nan_to_none(record.run)}
        self.attempt(lambda: self.experiment.config.update(content, allow_val_change=True))

    def upload_files(self, record: Record) -> None:
        """Upload run.json, the measurements and the predictions of a run that has ended."""
        self.update_config(record)
        for path in (record.directory / name for name in (READINGS, *predictions.FILES)):
            if path.exists():
                self.attempt(lambda path=path: self._upload(path))  # type: ignore[misc]

    def _upload(self, path: Path) -> None:
        folder = self.experiment.dir
        copy = shutil.copy(path, folder)  # `wandb sync` then needs no other directory
        self.experiment.save(copy, base_path=folder, policy="now")

    def close(self, summary: Mapping[str, float], exit_code: int) -> None:
        """Finish the W&B run.

        Args:
            summary: Final values of the run.
            exit_code: Exit code of the command; without it W&B records a failed run as successful.
        """
        self.attempt(lambda: self.experiment.summary.update(summary))
        self.attempt(lambda: wandb.finish(exit_code=exit_code))


def _timestamp(time: str | None) -> float:
    """Return an ISO time in seconds since 1970; the current time if it is missing or invalid."""
    try:
        return datetime.fromisoformat(time or "").timestamp()
    except ValueError:
        return datetime.now().timestamp()


def make_logger(cfg: DictConfig, resumes: bool = False) -> WandbRunLogger | None:
    """Return the W&B logger of a run, or None for `tracking=off`.

    Args:
        cfg: Config of the run.
        resumes: Whether a server may have rows of this run, which are continued.

    Raises:
        CredentialsError: `tracking=online` without an API key.
    """
    mode = cfg.tracking.mode
    if mode == "disabled":
        return None
    if mode == "online":
        require_credentials()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    # Not through WandbLogger's own arguments: it passes `anonymous`, for which wandb prints a warning.
    run = _init_run(
        name=run_name(cfg),
        id=run_id(cfg),
        resume="allow" if resumes and mode == "online" else None,
        project=cfg.tracking.project,
        entity=cfg.tracking.entity,
        dir=Path(cfg.root) / cfg.study.name,
        mode=mode,
        group=cfg.study.name,
        job_type="train",
        notes=notes_of(cfg),
        config=config | {"run_dir": str(run_dir(cfg))},
        # Without the flush interval, a run that was killed in its first ten seconds left 7 bytes.
        settings=wandb.Settings(
            x_transaction_log_flush_interval=1,
            silent=True,
            console="off",
            init_timeout=INIT_SECONDS,
            finish_timeout=max(1.0, FINISH_SHARE * cfg.tracking.get("finish_seconds", 20.0)),
            finish_timeout_raises=True,
        ),
    )
    logger = WandbRunLogger(run, received=0 if run.offline else run.starting_step)
    logger.attempt(lambda: run.define_metric(STEP))
    logger.attempt(lambda: run.define_metric("*", step_metric=STEP, step_sync=True))
    return logger


def notes_of(cfg: DictConfig) -> str:
    """Return a sentence on what a run trains, and the question of its study, as W&B's notes."""
    names = tags(cfg)
    attention = "" if names["variant"] == names["cell"] else f", attention {names['attention']},"
    sentence = f"Model {names['cell']}{attention} on {names['data']}, seed {names['seed']}."
    return " ".join([sentence, *([cfg.study.question] if cfg.study.question else [])])


def _init_run(mode: Any, **arguments: Any) -> wandb.Run:
    """Call wandb.init, in offline mode if the server cannot be used, for whatever reason."""
    offline = {"mode": "offline", "resume": None}
    if mode == "online" and (reason := is_dead()) is not None:
        log.warning("W&B is not waited for again (%s); recorded offline, `wandb sync` sends it later", reason)
        return wandb.init(**arguments | offline)
    try:
        return wandb.init(mode=mode, **arguments)
    except Exception as error:  # a server that answers with something else makes wandb raise many types
        if mode != "online":
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    note_dead(reason)
    log.warning("W&B cannot be used (%s); recorded offline, `wandb sync` sends it later", reason)
    with suppress(Exception), time_limit(TEARDOWN_SECONDS):
        wandb.teardown()  # its service keeps the id of the run that could not start
    return wandb.init(**arguments | offline)


def require_credentials() -> None:
    """Raise if no W&B account is configured.

    Raises:
        CredentialsError: There is no API key.
    """
    # `wandb.api` is undocumented; the documented `wandb.Api` and `wandb.login` would ask for a key.
    if not wandb.api.api_key:
        raise CredentialsError(
            "tracking=online needs a W&B account and none is configured: run `wandb login`, or set "
            "WANDB_API_KEY, or use tracking=offline (the default) and `wandb sync` the run later"
        )
