"""Kill runs at random and repeat their commands: is anything lost, doubled, or different in a bit?

    python scripts/kill_study.py [kills=40] [seed=0]

Single runs, sweeps, loader workers, two processes (DDP), joblib, and W&B offline and online (to a server of
the tests) are killed by SIGKILL at random moments, with all their processes. Each is then repeated to its end
and compared with one that nobody killed: the rows of metrics.jsonl and readings.jsonl without their times,
predictions, weights, and the rows that W&B's server received. The figures are written to
benchmarks/results/kill_study.json. Exit code: 0 nothing lost, 1 something was, 2 wrong arguments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.result import Result, Target  # noqa: E402  (of the checkout, as the stand-in of the tests)
from wandb_standin import serving  # noqa: E402

from gatescope.tracking.checkpoint_files import read_checkpoint, weights_path  # noqa: E402

SIZES = (
    "data=adding", "data.steps=8", "data.train=64", "data.validation=32", "data.test=32",
    "data.batch_size=16", "model.hidden_size=6", "model.dropout=0.2", "model.layers=2",
    "trainer.max_epochs=40", "trainer.threads=1", "trainer.log_every_n_steps=1",
    "checkpoint.every_n_steps=7", "instruments.every_n_steps=20",
)  # fmt: skip
ONLINE = "W&B online"
CASES: dict[str, tuple[str, ...]] = {
    "single run": ("tracking=off",),
    "sweep": ("-m", "seed=0,1,2", "tracking=off"),
    "loader workers": ("data.workers=2", "tracking=off"),
    "two processes": ("trainer=ddp_cpu", "tracking=off"),
    "joblib": ("-m", "seed=0,1,2", "launcher=joblib", "tracking=off"),
    "W&B offline": ("tracking=offline",),
    ONLINE: ("tracking=online",),
}
TIMES = frozenset({"time", "seconds_per_epoch"})
TRIES = 10
"""Most trials for a kill: a run may be faster than the one that was measured, and end before."""
USAGE = 2


def command(words: Sequence[str], runs: Path) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *SIZES, *words, f"root={runs}"]


def start(words: Sequence[str], runs: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command(words, runs), cwd=runs, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a job; its ranks and workers end with their parent, which is waited for."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        psutil.wait_procs(children, timeout=60)
    process.wait()


def content(runs: Path) -> dict[str, Any]:
    """Return what the finished runs of a folder recorded, and their weights, without times."""
    found: dict[str, Any] = {}
    for path in sorted(runs.glob("*/*/run.json")):
        run = path.parent
        found[f"{run.name}/status"] = json.loads(path.read_text())["status"]
        for name in ("metrics.jsonl", "readings.jsonl"):
            rows = [json.loads(line) for line in (run / name).read_text().splitlines()]
            found[f"{run.name}/{name}"] = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
        found[f"{run.name}/predictions"] = (run / "predictions.csv").read_bytes()
        weights = weights_path(run)
        assert weights is not None
        found[f"{run.name}/weights"] = {
            name: value.numpy().tobytes()
            for name, value in read_checkpoint(weights)["state_dict"].items()
            if isinstance(value, torch.Tensor)
        }
    return found


def differences(whole: dict[str, Any], killed: dict[str, Any]) -> dict[str, int]:
    """Return how many parts are missing, how many have rows twice, and how many differ in any bit."""
    lost = doubled = different = 0
    for key, expected in whole.items():
        value = killed.get(key)
        if value is None or (isinstance(expected, list) and len(value) < len(expected)):
            lost += 1
        elif isinstance(expected, list) and len(value) > len(expected):
            doubled += 1
        elif value != expected:
            different += 1
    return {"lost": lost, "doubled": doubled, "different": different}


def trial(case: str, runs: Path, moment: float | None = None) -> tuple[dict[str, Any], bool]:
    """Run a case to its end, killed once after `moment` seconds; return its records, and if it was killed.

    Raises:
        RuntimeError: Its command failed.
    """
    is_killed = False
    with serving() if case == ONLINE else nullcontext() as server:
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | (server.environment if server else {})
        if moment is not None:
            process = start(CASES[case], runs, environment)
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            if is_killed := process.poll() is None:
                kill(process)
        if start(CASES[case], runs, environment).wait() != 0:
            raise RuntimeError((runs / "log.txt").read_text())
        found = content(runs)
        for name, stored in (server.runs if server else {}).items():
            rows = [json.loads(row) for row in stored.history]
            found[f"{name}/received"] = [
                {k: v for k, v in row.items() if k[0] != "_" and k not in TIMES}
                for row in rows
                if "_reading" not in row
            ]
    return found, is_killed


def killed_trial(
    case: str, folder: Path, seconds: float, chance: random.Random
) -> tuple[dict[str, Any], bool]:
    """Return a trial at a random moment of a run of `seconds`; one that ended before is tried again."""
    for number in range(TRIES):
        found, is_killed = trial(case, folder / str(number), chance.uniform(0.2, 1) * seconds)
        if is_killed:
            break
    return found, is_killed


def study(case: str, kills: int, chance: random.Random, folder: Path) -> dict[str, float]:
    """Return the figures of one case."""
    started = time.perf_counter()
    expected, _ = trial(case, folder / "whole")
    seconds = time.perf_counter() - started
    trials = [killed_trial(case, folder / f"killed{i}", seconds, chance) for i in range(kills)]
    found = [differences(expected, one) for one, _ in trials]
    totals = {name: float(sum(one[name] for one in found)) for name in ("lost", "doubled", "different")}
    killed = float(sum(is_killed for _, is_killed in trials))
    return totals | {"kills": killed, "parts": float(len(expected) * kills), "seconds": seconds}


def measure(kills: int = 40, seed: int = 0) -> Result:
    """Return the figures of all cases, among which the kills are divided; each is written when it ends."""
    result = Result(
        "kill_study", "is anything lost, doubled or different after SIGKILL at random moments?",
        {"kills": kills, "seed": seed}, {"parts that differ": Target(at_most=0)},
    )  # fmt: skip
    chance = random.Random(seed)
    shares = [kills // len(CASES) + (number < kills % len(CASES)) for number in range(len(CASES))]
    with tempfile.TemporaryDirectory(prefix="gatescope-kill-") as folder:
        for case, share in zip(CASES, shares, strict=True):
            if share:
                found = study(case, share, chance, Path(folder, case.replace(" ", "_")))
                wrong = found["lost"] + found["doubled"] + found["different"]
                result.add_value(case, "parts that differ", wrong, **found)
                result.write(ROOT / "benchmarks" / "results")
    return result


def main(arguments: list[str]) -> int:
    """Run the study, print and write the figures, and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    given = dict(word.partition("=")[::2] for word in arguments)
    if set(given) - {"kills", "seed"} or not all(value.isdigit() for value in given.values()):
        print(__doc__, file=sys.stderr)
        return USAGE
    result = measure(int(given.get("kills", 40)), int(given.get("seed", 0)))
    print(result.table())
    print(result.write(ROOT / "benchmarks" / "results"))
    return int(any(row["ratio"] for row in result.rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
