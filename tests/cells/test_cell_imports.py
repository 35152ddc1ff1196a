"""A cell can be used without the libraries of training."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cell_reference import NATIVE, configured, layer_class

MODULES = sorted({layer_class(name).__module__ for name in configured()})
LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(name for name in sys.modules)))
"""


@pytest.mark.parametrize("module", ["gatescope.cells.gru", "gatescope.cells.lru"])
def test_a_cell_loads_no_library_of_training(module):
    command = [sys.executable, "-c", LOADED, module]
    loaded = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    heavy = ("lightning", "pytorch_lightning", "torchmetrics", "torchtext", "wandb", "hydra", "omegaconf")
    assert [name for name in heavy if name in loaded] == []
    others = {name.split(".")[1] for name in loaded if name.startswith("gatescope.")}
    assert others <= {"cells", "sequences", "private"}
    if module == "gatescope.cells.lru":
        assert "gatescope.cells.kernels" not in loaded


def test_cells_without_a_kernel_are_among_the_tested():
    assert {"rglru", "lru"}.isdisjoint(NATIVE)
    assert "gatescope.cells.rglru" in MODULES
