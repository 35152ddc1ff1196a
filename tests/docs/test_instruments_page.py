"""The page "Instruments" names every measurement that is recorded, and none that is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from conftest import FAST, ROOT, SMALL, Compose, first_few
from hydra import compose, initialize_config_dir

from gatescope.instruments.measurements import TESTED
from gatescope.run import run

from .pages import PAGES

TEXT = PAGES["docs/instruments.md"].read_text(encoding="utf-8")
EVERYTHING = ("instruments=full", "instruments.examples=16", "trainer.max_steps=2")
TOKENS = ("data.train=64", "data.validation=32", "data.test=32", "data.batch_size=16")
RUNS = {
    "features, memory cell": (*SMALL, "data.steps=14", "model=lstm"),
    "tanh state": (*SMALL, "data.steps=14", "model=rnn"),
    "relu state": (*SMALL, "data.steps=14", "model=irnn"),
    "tokens, attention": ("data=delayed_recall", "data.lag=14", *TOKENS, "model=gru", "attention=additive"),
    "decoder": ("data=dates", *TOKENS, "model=gru", "attention=additive"),
}
"""Small runs that together record every measurement."""
SELDOM = {"gradient_flow/<layer>/underflow_lag", "gradient_flow/<layer>/loss_free_underflow_lag"}
"""Only of models whose gradient becomes exactly 0."""


def documented() -> Iterator[tuple[str, str]]:
    """Yield the names in the page's tables of measurements, each with the heading that it stands under."""
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE):
        for table in re.findall(r"^\| measurement \|.*\n\|[-| ]+\n((?:\|.*\n)+)", section, re.MULTILINE):
            for name in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE):
                yield name, section.splitlines()[0]


def pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"<\w+>", r"[^/]+", re.sub(r"([.+])", r"\\\1", name)))


@pytest.fixture(scope="module")
def recorded_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all measurements of the runs."""
    names: set[str] = set()
    for overrides in RUNS.values():
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(
                "config", [f"root={tmp_path_factory.mktemp('runs')}", *FAST, *overrides, *EVERYTHING]
            )
        rows = (run(cfg).directory / "readings.jsonl").read_text(encoding="utf-8").splitlines()
        names |= {json.loads(row)["name"].removeprefix(TESTED) for row in rows}
    return names


@pytest.mark.slow
def test_every_recorded_measurement_is_documented(recorded_names: set[str]) -> None:
    patterns = [pattern(name) for name, _ in documented()]
    missing = sorted(name for name in recorded_names if not any(p.fullmatch(name) for p in patterns))
    assert not missing


def test_every_documented_measurement_is_recorded(recorded_names: set[str]) -> None:
    always = {name for name, section in documented() if not section.startswith("Where")} - SELDOM
    assert len(always) > 90
    stale = sorted(name for name in always if not any(map(pattern(name).fullmatch, recorded_names)))
    assert not stale


def test_no_measurement_is_documented_twice() -> None:
    names = [name for name, section in documented() if not section.startswith("Where")]
    assert len(names) == len(set(names))


def gates_of_cells() -> dict[str, set[str]]:
    """Return the gates that the page says are recorded, by cell."""
    head = r"^\| cell \| gates that are recorded \|.*\n\|[-| ]+\n"
    (table,) = re.findall(head + r"((?:\|.*\n)+)", TEXT, re.MULTILINE)
    rows = [row.split("|")[1:3] for row in table.splitlines()]
    return {
        cell: set(re.findall("`([^`]+)`", gates))
        for cells, gates in rows
        for cell in re.findall("`([^`]+)`", cells)
    }


def test_the_page_has_the_gates_of_every_cell() -> None:
    cells = {
        path.stem
        for path in (ROOT / "conf" / "model").glob("[!_]*.yaml")
        if "cell:" in path.read_text(encoding="utf-8")
    }
    assert set(gates_of_cells()) == cells


@pytest.mark.parametrize("cell", first_few(gates_of_cells(), 3))
def test_the_gates_of_a_cell_are_those_that_a_run_records(cell: str, config: Compose) -> None:
    cfg = config(*FAST, *SMALL, f"model={cell}", "instruments=default", "trainer.max_steps=1")
    rows = (run(cfg).directory / "readings.jsonl").read_text(encoding="utf-8").splitlines()
    names = [json.loads(row)["name"].removeprefix(TESTED) for row in rows]
    recorded = {found[1] for name in names if (found := re.fullmatch("gates/layer0/([^/]+)/mean", name))}
    assert recorded - {"state"} == gates_of_cells()[cell]


def test_sections_that_the_source_cites_exist() -> None:
    headings = {name.strip() for name in re.findall(r"^## \d\. ([^:{\n]+)", TEXT, re.MULTILINE)}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    cited = set(re.findall(r'docs/instruments\.md,\s+"([^"]+)"', source))
    assert cited
    assert cited <= headings
