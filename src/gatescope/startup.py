"""Work-arounds for the time that libraries take at the start of a run.

They change the garbage collector and undocumented parts of torchmetrics and W&B, in the processes of
`gatescope train` only. They were tested with torchmetrics 1.9.0 and wandb 0.31.0. The environment variable
``GATESCOPE_WORKAROUNDS=0`` turns them off, as it does all other work-arounds. The gains are shares of the
processor time of `python train.py data=adding trainer.max_steps=5`; `benchmarks/startup.py` measures them.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

SWITCH = "GATESCOPE_WORKAROUNDS"
"""Environment variable that turns the work-arounds off if it is 0."""


def workarounds_enabled() -> bool:
    """Return whether the work-arounds are in use, here and in `training`."""
    return os.environ.get(SWITCH, "1") != "0"


@contextmanager
def imports_uncollected() -> Iterator[None]:
    """Do not collect garbage within the block, nor ever the objects that exist after it (17 %).

    The collector otherwise visits the objects of all loaded modules again and again, while they are loaded
    and in training.
    """
    if not workarounds_enabled() or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_libraries(cfg: Mapping[str, Any]) -> None:
    """Import torchmetrics, and W&B if a config needs it, without the modules that a run does not use.

    Must be called before anything imports Lightning, which imports torchmetrics.
    """
    if not workarounds_enabled():
        return
    if "torchmetrics" not in sys.modules:
        _import_torchmetrics()
    if cfg["tracking"]["mode"] != "disabled":
        _skip_launch_inputs()


def _import_torchmetrics() -> None:
    """Import torchmetrics without scipy.signal and matplotlib (14 %).

    torchmetrics imports scipy.signal to add an alias for another library, and matplotlib for the plots of
    metrics, which then raise its error that matplotlib is missing.
    """
    imports: Any = importlib.import_module("lightning_utilities.core.imports")
    available, is_met = imports.package_available, imports.RequirementCache.__bool__
    imports.package_available = lambda name: name != "scipy" and available(name)
    imports.RequirementCache.__bool__ = lambda self: (
        self.requirement not in ("matplotlib", "scipy") and is_met(self)
    )
    try:
        plot: Any = importlib.import_module("torchmetrics.utilities.plot")
    finally:
        imports.package_available, imports.RequirementCache.__bool__ = available, is_met
    plot._MATPLOTLIB_AVAILABLE = False


def _skip_launch_inputs() -> None:
    """Do not import W&B Launch at the start of a W&B run, unless something uses it (9 %)."""
    run_class: Any = importlib.import_module("wandb.sdk.wandb_run").Run
    apply_inputs = getattr(run_class, "_detect_and_apply_job_inputs", None)
    if apply_inputs is None or hasattr(apply_inputs, "original"):
        return

    def apply_inputs_if_staged(run: Any) -> None:
        if "wandb.sdk.launch" in sys.modules:
            apply_inputs(run)

    apply_inputs_if_staged.original = apply_inputs  # type: ignore[attr-defined]
    run_class._detect_and_apply_job_inputs = apply_inputs_if_staged
