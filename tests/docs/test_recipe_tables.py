"""The tables of the search for recipes are those of the reports, and the recipes are what was found."""

from __future__ import annotations

import re

import pytest
import yaml
from conftest import ROOT


@pytest.mark.parametrize("kind", ["text", "series"])
def test_the_page_has_the_tables_of_the_reports(kind: str) -> None:
    report = (ROOT / "reports" / f"recipe_{kind}" / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"(?ms)^\| dataset \| setting chosen on the others.*?(?=\n\n)", report)
    assert table in (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["text", "series"])
def test_a_recipe_is_what_was_chosen(kind: str) -> None:
    report = (ROOT / "reports" / f"recipe_{kind}" / "README.md").read_text(encoding="utf-8")
    (chosen,) = re.findall(r"the choice is learning rate ([\d.]+), dropout ([\d.]+)", report)
    recipe = yaml.safe_load((ROOT / "conf" / "recipe" / f"{kind}.yaml").read_text(encoding="utf-8"))
    assert recipe["lr"] == pytest.approx(float(chosen[0].rstrip(".")), rel=0.05)
    assert recipe["dropout"] == float(chosen[1].rstrip("."))
    assert recipe["bidirectional"] is ("bidirectional" in report)
