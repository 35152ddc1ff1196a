"""The page of one prediction in a headless Chromium: pointer, keyboard, narrow window, axe-core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import LOOKS, Browser, Page, launched, needs_chromium, serious_violations, silent_page
from conftest import first_few

from gatescope.explain import Alignment, Explanation, Passages, Row, page

pytestmark = needs_chromium
TOKENS = ["not", "<bad>", "at", "all"]
ATTENTION = [0.6, 0.3, 0.1, 0.0]
UNITS = {
    "layer0: update": [[0.5, 0.5, 0.5, 0.5], [0.1, 0.9, 0.2, 0.8]],
    "layer0: state": [[-0.5, 0.1, 0.2, 0.3]],
}


CONNECTIONS = [[1.0, 0, 0, 0], [0.5, 1.0, 0, 0], [0.25, 0.1, 1.0, 0], [0.0, 0.2, 0.75, 1.0]]
PLACES = [[(2, 1, 0.9), (5, 0, 0.8)], [(5, 1, 0.7), (2, 0, 0.6)]]
PASSAGES = Passages(
    9, {2: ["so", "good"], 5: ["<b>", "bad"]}, dict.fromkeys(UNITS, PLACES), dict.fromkeys(UNITS, PLACES)
)


def text_explanation() -> Explanation:
    rows = [
        Row("attention", list(ATTENTION), "Weights.", about_input=True),
        Row("gradient × input", [0.2, -1.3, None, 0.01], "Credit.", about_input=True),
        Row("layer0: update gate", [0.3, 0.7, 0.2, 0.65], "Share written."),
        Row("layer0: ‖∂L/∂h‖", [0.1, 0.2, 0.05, 0.4], "Norm."),
    ]
    probabilities = {"negative": 0.2, "positive": 0.8}
    return Explanation(
        "gru-additive", "not <bad> at all", "positive", TOKENS, rows, UNITS, probabilities,
        connections=CONNECTIONS, passages=PASSAGES,
    )  # fmt: skip


def series_explanation() -> Explanation:
    steps = 50
    rows = [Row("leave-one-out", [t / steps for t in range(steps)], "Change.")]
    features = [[(t * k % 7) / 7 for t in range(steps)] for k in (1, 2, 3)]
    units = {"layer0: state": [[t / steps for t in range(steps)]]}
    weights = [[1 / steps] * steps, [2 * t / steps / (steps - 1) for t in range(steps)]]
    return Explanation(
        "lstm-dot", "test 3", "1 9", [str(t) for t in range(steps)], rows, units,
        target="1 9", features=features, alignment=Alignment(["1", "9"], weights),
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(params=first_few(LOOKS.values(), 1), ids=LOOKS)
def opened(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Page, Path]]:
    with silent_page(browser, *request.param) as page:
        yield page, tmp_path / "page.html"


def show(opened: tuple[Page, Path], *found: Explanation) -> Page:
    opened[1].write_text(page(*found), encoding="utf-8")
    opened[0].goto(opened[1].as_uri())
    opened[0].wait_for_function("document.body.dataset.drawn")
    return opened[0]


def test_a_text_can_be_read_by_pointer_and_keyboard(opened: tuple[Page, Path]) -> None:
    shown = show(opened, text_explanation())
    assert shown.title() == "not <bad> at all · Gatescope"
    assert shown.locator("#prediction").inner_text() == "Prediction: positive"
    assert shown.locator("#grid thead th").all_inner_texts() == ["measure", *TOKENS]
    numbers = shown.locator("#grid tbody tr").first.locator("td")
    assert [float(text) for text in numbers.all_inner_texts()] == ATTENTION, "readable without colour"
    numbers.nth(1).hover()
    readout = shown.locator("#readout")
    assert readout.inner_text() == "attention: 0.300 at step 1, “<bad>”; rank 2 of 4"
    numbers.nth(0).focus()
    for key in ("ArrowDown", "ArrowRight"):
        shown.keyboard.press(key)
    assert readout.inner_text() == "gradient × input: −1.30 at step 1, “<bad>”; rank 1 of 4"
    shown.keyboard.press("ArrowRight")
    assert readout.inner_text() == "gradient × input: no value at step 2, “at”"
    shown.keyboard.press("End")
    assert "step 3" in readout.inner_text()
    assert shown.locator("#grid td[tabindex='0']").count() == 1, "one stop for the tab key"


def test_cells_are_filled_by_their_values(opened: tuple[Page, Path]) -> None:
    shown = show(opened, text_explanation())
    read = "cells => cells.map(c => [Number(c.style.getPropertyValue('--share')), c.matches('.minus')])"
    filled = shown.locator("#grid tbody tr").nth(1).locator("td").evaluate_all(read)
    assert [share for share, _ in filled] == pytest.approx([0.2 / 1.3, 1, 0, 0.01 / 1.3], abs=1e-3)
    assert [minus for _, minus in filled] == [False, True, False, False]


def test_the_text_is_coloured_by_a_measure_with_its_sign(opened: tuple[Page, Path]) -> None:
    shown = show(opened, text_explanation())
    words = shown.locator(".sentence:visible .words")
    assert words.inner_text() == " ".join(TOKENS)
    minus = "words => words.map(word => word.matches('.minus'))"
    assert words.locator(".word").evaluate_all(minus) == [False, True, False, False]
    assert "−1.30 against “positive”" in shown.locator(".sentence:visible .legend").inner_text()
    shown.locator("#measure").select_option(label="attention")
    assert "against" not in shown.locator(".sentence:visible .legend").inner_text()


def test_a_unit_can_be_selected(opened: tuple[Page, Path]) -> None:
    shown = show(opened, text_explanation())
    row = shown.locator("#unit-row")
    assert row.locator("th").inner_text() == "layer0: update of unit 1", (
        "the one that varies most comes first"
    )
    shown.locator("#unit").fill("0")
    shown.wait_for_function("document.getElementById('unit-row').dataset.shown === 'layer0: update 0'")
    assert row.locator("td").all_inner_texts() == ["0.500"] * 4
    shown.locator("#gate").select_option("layer0: state")
    shown.wait_for_function("document.getElementById('unit-row').dataset.shown === 'layer0: state 0'")
    assert row.locator("td").first.inner_text() == "−0.500"
    assert shown.locator("#unit-chart g.mark-line path").count() == 1
    assert shown.locator("#unit-chart g.mark-symbol path").count() == 4
    shown.locator("#unit").fill("99")
    shown.wait_for_function("document.getElementById('unit-row').dataset.shown === 'layer0: state 0'")


def test_words_show_whom_they_reach_by_pointer_and_keyboard(opened: tuple[Page, Path]) -> None:
    shown = show(opened, text_explanation())
    words, says = shown.locator(".reach .word"), shown.locator(".reach-says")
    words.nth(1).hover()
    assert says.inner_text() == "“<bad>” (1) reaches: “all” 0.200, “at” 0.100. It is reached by: “not” 0.500."
    assert words.nth(0).evaluate("w => w.matches('.from')")
    words.nth(1).focus()
    shown.keyboard.press("End")
    assert says.inner_text().startswith("“all” (3) reaches: none. It is reached by: “at” 0.750")
    assert shown.locator(".reach .word[tabindex='0']").count() == 1, "one stop for the tab key"
    bars = shown.locator(".sentence:visible .words .word").evaluate_all(
        "words => words.map(word => Number(word.style.getPropertyValue('--bar')))"
    )
    assert bars == [0.25, 0.5, 0.125, 1.0]


def test_units_are_sorted_and_a_click_shows_their_passages(opened: tuple[Page, Path]) -> None:
    shown = show(opened, text_explanation())
    first = shown.locator(".heat tbody tr").first
    assert first.locator("th").inner_text() == "1", "the unit that varies most comes first"
    shown.locator(".heat thead button", has_text="not").click()
    assert first.locator("th").inner_text() == "0"
    assert shown.locator(".heat th[aria-sort='descending']").inner_text() == "not"
    first.get_by_role("button").click()
    shown.wait_for_function("document.getElementById('unit-row').dataset.shown === 'layer0: update 0'")
    passages = shown.locator(".passages")
    assert "0.900: so good (test 2)" in passages.inner_text()
    assert passages.locator("strong").all_inner_texts()[:2] == ["good", "<b>"]


def test_two_models_stand_side_by_side(opened: tuple[Page, Path]) -> None:
    before = replace(text_explanation(), note="before training")
    shown = show(opened, before, text_explanation())
    left, right = shown.locator(".model").all()
    assert "before training" in left.inner_text()
    if shown.viewport_size["width"] > 1000:
        assert left.bounding_box()["y"] == right.bounding_box()["y"]
    right.locator(".unit").fill("0")
    shown.wait_for_function("document.getElementById('unit-row-2').dataset.shown === 'layer0: update 0'")
    assert left.locator(".unit-row th").inner_text() == "layer0: update of unit 1"
    assert serious_violations(shown) == []


def test_features_are_lines_and_an_alignment_is_a_matrix(opened: tuple[Page, Path]) -> None:
    shown = show(opened, series_explanation())
    assert shown.locator("#features g.mark-line path").count() == 3
    assert shown.locator("#alignment tbody tr").count() == 2
    last = shown.locator("#alignment tbody tr").nth(1).locator("td").last
    last.focus()
    assert shown.locator("#readout").inner_text() == "9: 0.0400 at step 49, “49”; rank 1 of 50"
    assert shown.evaluate("document.documentElement.scrollWidth") <= shown.viewport_size["width"]


@pytest.mark.parametrize("make", [text_explanation, series_explanation])
def test_axe_finds_nothing_serious(opened: tuple[Page, Path], make: object) -> None:
    shown = show(opened, make())  # type: ignore[operator]
    assert serious_violations(shown) == []
