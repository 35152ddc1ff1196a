"""Check that two checkouts train, measure and predict the same numbers, bit for bit.

    git worktree add /tmp/before <commit>
    python scripts/check_same_numbers.py /tmp/before .

Runs ten configs with `train.py` of each checkout, in the environment of this Python, and compares the weights
of the best checkpoint, every metric, every measurement and every prediction. Exits with 1 where any differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

SHORT = ("trainer.max_epochs=2", "trainer.threads=1", "tracking=off", "trainer.enable_progress_bar=false")
SEQUENCES = ("data.train=128", "data.validation=64", "data.test=64", "data.batch_size=32", "data.steps=12")
COPIES = ("data=copy", "data.train=128", "data.validation=64", "data.test=64", "data.batch_size=32")
CONFIGS = {
    "gru": ("data=adding", *SEQUENCES, "instruments=full"),
    "lstm_attention": ("data=adding", *SEQUENCES, "model=lstm", "attention=additive", "instruments=full"),
    "rnn_plateau": ("data=adding", *SEQUENCES, "model=rnn", "scheduler=plateau", "trainer.max_epochs=4"),
    "gru_article_two_layers": ("data=adding", *SEQUENCES, "model=gru_article", "model.layers=2"),
    "mingru_bidirectional": ("data=adding", *SEQUENCES, "model=mingru", "model.bidirectional=true"),
    "minlstm_dropout": ("data=adding", *SEQUENCES, "model=minlstm", "model.layers=2", "model.dropout=0.3"),
    "peephole_lstm_features": ("experiment=japanese_vowels", "model=peephole_lstm", "instruments=full"),
    "gru_double": ("data=adding", *SEQUENCES, "trainer.precision=64-true", "optimizer.lr=0.01"),
    "tokens": ("data=tweets", "data.batch_size=512", "trainer.max_steps=8", "attention=additive"),
    "next_step": ("data=copy", *COPIES[1:], "model=irnn"),
}
"""Overrides of each run, after those of `SHORT`."""
NOT_RESULTS = ("time", "seconds_per_epoch")
"""Keys of rows that differ between two runs of the same code."""


def main(arguments: list[str]) -> int:
    """Print one line for each config and return the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    before, after = (Path(argument).resolve() for argument in arguments)
    different = 0
    for name, overrides in CONFIGS.items():
        first, second = numbers_of(before, overrides), numbers_of(after, overrides)
        parts = [part for part in first if first[part] != second[part]]
        different += bool(parts)
        print(f"{name:24} {'differs: ' + ', '.join(parts) if parts else 'equal'}  {first['weights'][:12]}")
    return int(different > 0)


def numbers_of(checkout: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Train one config with the code of a checkout and return what the run recorded, by part."""
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "train.py", *SHORT, *overrides, f"root={root}"]
        environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "RUNS_DIR": root}
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{checkout}: {' '.join(command)}\n{done.stdout}{done.stderr}")
        (record,) = (path.parent for path in Path(root).glob("*/*/run.json") if "by_name" not in path.parts)
        return {
            "weights": weights_digest(record / "checkpoints" / "best.ckpt"),
            "metrics": rows_of(record / "metrics.jsonl"),
            "measurements": rows_of(record / "readings.jsonl"),
            "predictions": text_of(record / "predictions.csv"),
        }


def weights_digest(checkpoint: Path) -> str:
    """Return a digest of the names, types and bits of all weights of a checkpoint."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def rows_of(path: Path) -> list[str]:
    """Return the rows of a JSONL file without what differs between two runs of the same code."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        json.dumps({k: v for k, v in row.items() if k not in NOT_RESULTS}, sort_keys=True) for row in rows
    ]


def text_of(path: Path) -> str:
    """Return the text of a file, empty where there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
