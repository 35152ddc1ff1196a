"""Every argument of Lightning's Trainer can be given, and none collides with what a run sets itself."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose, first_few
from pytorch_lightning import Callback, Trainer
from tracking.records import record, rows

from gatescope.config import ConfigError
from gatescope.run import run
from gatescope.tracking.identity import run_id

GIVEN: dict[str, str] = {
    "accelerator": "cpu",
    "strategy": "auto",
    "devices": "1",
    "num_nodes": "1",
    "precision": "32-true",
    "logger": "{_target_: pytorch_lightning.loggers.CSVLogger, save_dir: ${root}/csv}",
    "callbacks": f"[{{_target_: {__name__}.Counter}}]",
    "fast_dev_run": "true",
    "max_epochs": "1",
    "min_epochs": "1",
    "max_steps": "3",
    "min_steps": "2",
    "max_time": "{minutes: 10}",
    "limit_train_batches": "0.5",
    "limit_val_batches": "1",
    "limit_test_batches": "0",
    "limit_predict_batches": "1",
    "overfit_batches": "2",
    "val_check_interval": "0.5",
    "check_val_every_n_epoch": "1",
    "num_sanity_val_steps": "2",
    "log_every_n_steps": "1",
    "enable_checkpointing": "true",
    "enable_progress_bar": "false",
    "enable_model_summary": "true",
    "accumulate_grad_batches": "2",
    "gradient_clip_val": "0.5",
    "gradient_clip_algorithm": "value",
    "deterministic": "warn",
    "benchmark": "false",
    "inference_mode": "false",
    "use_distributed_sampler": "false",
    "profiler": "simple",
    "detect_anomaly": "true",
    "barebones": "false",
    "plugins": "[]",
    "sync_batchnorm": "false",
    "reload_dataloaders_every_n_epochs": "1",
    "default_root_dir": "${root}/lightning",
    "enable_autolog_hparams": "false",
    "model_registry": "null",
}


class Counter(Callback):
    """Counts the updates of all runs."""

    updates = 0

    def on_train_batch_end(self, *arguments: Any, **options: Any) -> None:
        """Count an update."""
        Counter.updates += 1


ARGUMENTS = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]


@pytest.mark.parametrize("name", first_few(ARGUMENTS, 12))
def test_a_run_takes_every_argument(small: Compose, name: str) -> None:
    Counter.updates = 0
    result = run(small("instruments=off", f"++trainer.{name}={GIVEN[name]}"))
    assert record(result.directory)["status"] == "finished"
    assert name == "limit_test_batches" or math.isfinite(result.summary["test/mse"])
    assert Counter.updates == (4 if name == "callbacks" else 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["+trainer.val_check_interval=5"],
            "val_check_interval: given 5, and an epoch has 4 batches; give at",
        ),
        (
            ["+trainer.val_check_interval=3", "+trainer.limit_train_batches=0.5"],
            "val_check_interval: given 3, and an epoch has 2 batches",
        ),
        (
            ["+trainer.limit_train_batches=0.2"],
            "limit_train_batches: given 0.2, less than one of the 4 batches; .* a share from 0.25",
        ),
        (["+trainer.overfit_batches=0.2"], "overfit_batches: given 0.2, .* one of the 1 batches"),
        (["+trainer.limit_val_batches=0.2"], "limit_val_batches: given 0.2, .* one of the 1 batches"),
    ],
)
def test_limits_that_do_not_fit_the_data_are_one_message(
    small: Compose, options: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(small(*options))
    assert len(caught.value.problems) == 1


def test_a_validation_interval_may_span_epochs(small: Compose) -> None:
    spanning = ("+trainer.val_check_interval=6", "+trainer.check_val_every_n_epoch=null")
    result = run(small("trainer.max_epochs=3", "instruments=off", *spanning))
    assert [row["step"] for row in rows(result.directory) if "validation/mse" in row] == [6, 12]


def test_a_sanity_check_changes_nothing(small: Compose, tmp_path: Path) -> None:
    options = ("trainer.max_epochs=2", "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.01")
    plain = run(small(*options, f"root={tmp_path}/plain"))
    cfg = small(*options, f"root={tmp_path}/sane", "+trainer.num_sanity_val_steps=2")
    checked = run(cfg)
    assert rows(checked.directory) == rows(plain.directory)
    assert rows(checked.directory, "readings") == rows(plain.directory, "readings")
    assert checked.directory.name == plain.directory.name


def test_without_checkpoints_the_last_weights_are_tested(
    small: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = small("trainer.max_epochs=2", "instruments=off", "+trainer.enable_checkpointing=false")
    result = run(cfg)
    assert "no weights were kept: the last weights are tested" in caplog.text
    assert result.summary["best/step"] == 8
    assert not list((result.directory / "checkpoints").glob("*.ckpt"))
    assert run_id(cfg) != run_id(small("trainer.max_epochs=2"))
