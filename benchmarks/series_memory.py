"""Memory of a run on a file of series, from the file to the last prediction."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.predict_file import usage
from benchmarks.result import Result, Target
from benchmarks.run_cost import CONF

QUESTION = (
    "growth of the peak resident set of a run on data=series_file, from a file of 1 MB to the whole file, "
    "over the size of the file"
)
STEPS, FEATURES = 100, 8
TARGETS = {"growth": Target(at_most=2.2)}


def measure(rounds: int = 1, megabytes: int = 800) -> Result:
    """Run the benchmark."""
    size = {"megabytes": megabytes, "steps": STEPS, "features": FEATURES}
    result = Result("series_memory", QUESTION, size, TARGETS)
    with tempfile.TemporaryDirectory() as folder:
        (_, small), (seconds, large) = (run_on(Path(folder), size) for size in (1, megabytes))
    growth = (large - small) / megabytes
    result.add_value("gru", "growth", growth, peak=large, small_peak=small, processor_seconds=seconds)
    return result


def run_on(folder: Path, megabytes: int) -> tuple[float, float]:
    """Return the processor seconds and the peak in MB of a run on a file of this size."""
    path, rng = folder / f"{megabytes}.npz", np.random.default_rng(0)
    count = megabytes * 2**20 // (STEPS * FEATURES * 4)
    y = np.arange(count) % 2
    np.savez(path, x=rng.standard_normal((count, STEPS, FEATURES), dtype=np.float32), y=y)
    words = ["data=series_file", f"data.path={path}", f"root={folder / 'runs'}", "model.hidden_size=8"]
    words += ["trainer.max_epochs=1", "trainer.threads=1", "tracking=off", "instruments=off"]
    words += [f"+trainer.limit_{name}_batches=5" for name in ("train", "val", "test")]
    code = (
        "from pathlib import Path; from gatescope.composition import compose, make_loader; "
        f"from gatescope.run import run; run(compose(make_loader(Path({str(CONF)!r})), {words!r}))"
    )
    return usage(code)
