"""The device of these tests and what depends on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gpu.devices import DEVICE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """trainer=gpu sets deterministic=warn, so that a kernel without a deterministic form warns by design."""
    ignored = pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation")
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(ignored)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """CUDA where there is a GPU, else the CPU."""
    return DEVICE


@pytest.fixture
def exact() -> Iterator[None]:
    """float32 without TF32, which cuDNN uses by default."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])
