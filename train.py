"""Trains one model, or sweeps over many: `python train.py --help`."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from gatescope import cli

CONF = Path(__file__).resolve().parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def train(cfg: DictConfig) -> float | str:
    """Returns the monitored metric, for a sweeper that optimises."""
    return cli.job(cfg)


if __name__ == "__main__":
    cli.main(train, CONF)
