"""W&B's values for each kind of measurement, and W&B runs."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wandb
from conftest import Compose

from gatescope.instruments.measurements import Curve, Heatmap, Histogram, Points, Scalar, Undefined
from gatescope.run import run
from gatescope.tracking.wandb_charts import measurement_row, to_wandb


def test_scalars_keep_their_names() -> None:
    assert to_wandb("gates/layer0/update/mean", Scalar(0.25)) == {"gates/layer0/update/mean": 0.25}
    assert to_wandb("x", Undefined("no gates")) == {}


def test_histograms_keep_their_bins() -> None:
    given = Histogram([0.0, 0.5, 1.0], [3, 1])
    drawn = to_wandb("h", given)["h"]
    assert list(drawn.histogram) == [3, 1]
    assert list(drawn.bins) == [0.0, 0.5, 1.0]


def test_points_become_a_histogram_per_column() -> None:
    drawn = to_wandb("s", Points({"right": [0.0, 0.5, 1.0], "left": [0.1, 0.1, 0.2]}))
    assert set(drawn) == {"s/right", "s/left"}
    assert sum(drawn["s/right"].histogram) == 3
    assert len(drawn["s/left"].histogram) <= 64


def test_curves_with_a_common_axis_share_a_chart() -> None:
    curve = Curve([0, 1, 2], [1.0, 0.5, math.nan], "lag (steps)", "norm", low=[0.9, 0.4, 0.2], high=None)
    other, alone = replace(curve, low=None), Curve([0, 1], [1.0, 2.0], "exponent", "nats a step")
    row = measurement_row({"g/layer0/a": curve, "g/layer0/b": other, "g/layer0/c": alone})
    assert {"g/layer0/by_lag", "g/layer0/by_exponent"} == set(row)
    table = row["g/layer0/by_lag"].table
    assert [(x, y) for x, line, y in table.data if line == "a"] == [(0, 1.0), (1, 0.5), (2, None)]
    assert {line for _, line, _ in table.data} == {"a", "a, low", "b"}
    assert to_wandb("g/layer0/a", curve) == {}


def test_heatmaps_become_images() -> None:
    drawn = to_wandb("m", Heatmap([[1.0, 2.0]], ["a", "b"], ["unit 0"], "token", "unit"))["m"]
    pixels = np.asarray(drawn.image, dtype=int).sum(-1)
    assert pixels.shape == (4, 8)
    assert (pixels[:, 4:] > pixels[:, :4]).all()
    assert drawn._caption == "unit down, token across, 1 to 2: a b"


def test_a_heatmap_of_equal_values_becomes_an_image() -> None:
    drawn = to_wandb("m", Heatmap([[0.5, 0.5]], ["a", "b"], ["unit 0"], "token", "unit"))["m"]
    assert len(np.unique(np.asarray(drawn.image).reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize("mode", ["offline", "off"])
def test_a_run_opens_and_closes_its_own_wandb_run(small: Compose, tmp_path: Path, mode: str) -> None:
    result = run(small(f"tracking={mode}", "tracking.name='gru-none lr=0.003 s0'"))
    assert wandb.run is None
    files = list(tmp_path.glob("default/wandb/offline-run-*/run-*.wandb"))
    assert len(files) == (mode == "offline")
    if files:
        assert files[0].stem == f"run-{result.directory.name}"
        assert files[0].stat().st_size > 1000
        # Not the value in the config, which is quoted.
        assert re.search(rb'[^"]gru-none lr=0\.003 s0[^"]', files[0].read_bytes())
