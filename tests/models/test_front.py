"""The convolution before the recurrence: one frame at a time, in a run, and with other data."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import FAST, Compose
from torch.nn import functional as F

from gatescope.config import ConfigError, check
from gatescope.models.front import Convolution
from gatescope.run import run
from gatescope.sequences import TaskSpec

CLIPS = ("data=moving_digits", "data.train=64", "data.validation=16", "data.test=16", "data.batch_size=16")


def task(*image: int) -> TaskSpec:
    return TaskSpec("classification", "features", 100, 3, "accuracy", "max", image=image)


def test_each_frame_is_read_by_itself() -> None:
    torch.manual_seed(0)
    front = Convolution(task(10, 10), channels=3, size=7)
    clips = torch.rand(2, 4, 100)
    found = front(clips)
    assert found.shape == (2, 4, front.output_size) == (2, 4, 7)
    first, second, last = (front.layers[i] for i in (0, 3, 7))
    for b, t in ((0, 0), (1, 3)):
        x = clips[b, t].view(1, 1, 10, 10)
        for convolution in (first, second):
            x = F.max_pool2d(F.relu(F.conv2d(x, convolution.weight, convolution.bias, padding=1)), 2)
        expected = F.relu(x.flatten() @ last.weight.T + last.bias)
        torch.testing.assert_close(found[b, t], expected)


def test_a_run_with_instruments_and_a_gradient_to_each_weight(config: Compose) -> None:
    result = run(config(*CLIPS, "front=conv", "front.channels=2", "front.size=5", "attention=dot", *FAST))
    assert "test/exact_match" in result.summary
    assert result.module is not None
    model = result.module.model
    assert model.front is not None
    assert model.stack.layers["layer0"].input_size == 5
    rows = map(json.loads, (result.directory / "readings.jsonl").read_text().splitlines())
    last = {row["name"]: row["value"] for row in rows if "value" in row}
    assert last["gradient_flow/self_test"] < 1e-4
    assert last["gradient_norm/front"] > 0


@pytest.mark.parametrize("data", ["adding", "dates"])
def test_data_without_images_are_refused(config: Compose, data: str) -> None:
    small = ("data.train=64", "data.validation=16", "data.test=16", "data.batch_size=16", *FAST)
    with pytest.raises(ValueError, match="front: given conv, and the time steps of these data are no images"):
        run(config(f"data={data}", "front=conv", *small))


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 3×10 are smaller than 4×4"):
        Convolution(task(3, 10))


def test_the_message_names_a_wrong_key(config: Compose) -> None:
    with pytest.raises(ConfigError, match=r"front\.channels: given 0"):
        check(config("data=moving_digits", "front=conv", "front.channels=0"))
