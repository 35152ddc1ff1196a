"""Sizes that the files of conf/ state are those that are built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Compose
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from gatescope.models.build import build_model
from gatescope.models.encoder import sizes
from gatescope.sequences import TaskSpec

STATED = re.compile(r"^ *parameters: (\d+) +# (.*)$", re.MULTILINE)
FILES = sorted([*ROOT.glob("conf/study/*.yaml"), *ROOT.glob("conf/experiment/*.yaml")])
TOKENS = TaskSpec("classification", "tokens", 50, 3, "accuracy", "max", padding_index=0)


def built(cfg: DictConfig) -> dict[str, int]:
    """Sizes of a model over tokens, as the studies that state any have them."""
    with torch.device("meta"):
        model = build_model(TOKENS, instantiate(cfg.model, _convert_="all"), instantiate(cfg.attention))
    return sizes(model)


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", [p for p in FILES if "units:" in p.read_text()], ids=name)
def test_a_study_states_the_units_that_its_budget_buys(path: Path, config: Compose) -> None:
    swept = OmegaConf.load(path).hydra.sweeper.params
    ((budget, comment),) = STATED.findall(path.read_text())
    groups = []
    for attention in str(swept.get("attention", "none")).split(","):
        units = []
        for model in swept.model.split(","):
            cfg = config(f"study={path.stem}", f"model={model}", f"attention={attention}")
            assert cfg.model.parameters == int(budget)
            found = built(cfg)
            units.append(f"{model} {found['hidden_size']}")
            assert found["between"] == pytest.approx(int(budget), rel=0.025)
        groups.append(
            f"{', '.join(units)} {'without attention' if attention == 'none' else f'with {attention}'}"
        )
    assert comment == f"hidden units: {'; '.join(groups)}"


def test_every_study_with_a_budget_states_its_units() -> None:
    with_budget = [
        p.stem for p in ROOT.glob("conf/study/*.yaml") if re.search(r"^  parameters: \d", p.read_text(), re.M)
    ]
    assert with_budget == [
        p.stem for p in ROOT.glob("conf/study/*.yaml") if "# hidden units: " in p.read_text()
    ]
    assert set(with_budget) == {"first_light", "vanishing_gradients", "primer_recall"}


@pytest.mark.parametrize("path", [p for p in FILES if re.search(r"\d+ units", p.read_text())], ids=name)
def test_a_header_states_the_units_and_widths_of_its_config(path: Path, config: Compose) -> None:
    cfg = config(f"{path.parent.name}={path.stem}")
    header = "".join(re.findall(r"^#.*\n", path.read_text(), re.MULTILINE))
    assert {int(n) for n in re.findall(r"(\d+) units", header)} == {cfg.model.hidden_size}
    assert {int(n) for n in re.findall(r"(\d+)-wide", header)} <= {cfg.model.embedding_size}
