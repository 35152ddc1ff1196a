"""The primer in a headless Chromium: its controls, both languages, a narrow window, axe-core."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from browser import LOOKS, Browser, Page, launched, needs_chromium, serious_violations, silent_page
from conftest import ROOT, first_few

pytestmark = needs_chromium
FOLDER = ROOT / "reports" / "primer"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "numbers.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(params=first_few(LOOKS.values(), 1), ids=LOOKS)
def shown(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    with silent_page(browser, *request.param) as page:
        page.goto((FOLDER / "primer.html").as_uri())
        page.wait_for_function("document.body.dataset.drawn === 'en'")
        yield page


def test_the_controls_show_the_numbers(shown: Page, numbers: dict[str, Any]) -> None:
    memory = shown.locator('article[lang=en] [data-widget="memory"]')
    memory.locator(".z").focus()
    shown.keyboard.press("ArrowRight")  # from "as learned" to 0.0
    says = memory.locator(".says")
    assert says.inner_text().startswith("z 0.0, r as learned")
    left = memory.locator("tbody tr").first.locator("td").all_inner_texts()
    assert set(left) == {"0"}, "with z = 0 nothing is left of any word"
    fading = shown.locator('article[lang=en] [data-widget="fading"]')
    fading.locator(".step").focus()
    shown.keyboard.press("End")
    condition = next(iter(numbers["fading"].values()))
    assert f"After {condition['steps'][-1]} updates" in fading.locator(".says").inner_text()
    assert fading.locator("tbody tr").count() == len(condition["curves"])


def test_the_other_language_and_axe(shown: Page) -> None:
    assert serious_violations(shown) == []
    shown.get_by_role("button", name="中文").click()
    shown.wait_for_function("document.body.dataset.drawn === 'zh'")
    assert shown.evaluate("document.documentElement.lang") == "zh-CN"
    assert not shown.locator("article[lang=en]").is_visible()
    assert "固定" in shown.locator('article[lang=zh-CN] [data-widget="memory"]').inner_text()
    assert shown.evaluate("document.documentElement.scrollWidth") <= shown.viewport_size["width"]
    assert serious_violations(shown) == []
