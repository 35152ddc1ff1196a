"""The page in a headless Chromium: what a reader sees and does, and what axe-core says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import LOOKS, Browser, Page, launched, needs_chromium, serious_violations, silent_page
from conftest import ROOT, first_few

from gatescope.analysis.frozen import FILE, FrozenSource
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource

from .conftest import write_predictions, write_run

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    study = {"name": "a study & <its> name"}
    for seed in range(5):
        for variant, accuracy in (("gru-none", 0.74), ("lstm-additive", 0.73), ("r n/ñ-none", 0.68)):
            folder = write_run(root, variant, seed, study=study, accuracy=accuracy + 0.003 * ((seed * 7) % 5))
            write_predictions(folder, seed, ("a <b>", "=1+1", "a name of a class that is quite long"))
    write_run(root, "gru-none", 5, study=study, status="failed", reason="the loss became nan")
    figures = ["learning_curves", "metric_by_variant", "attention", "vanishing_curves"]
    source = RecordSource(root, study["name"])
    return write_report(source, root / "out", paper=False, figures=figures).parent / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(params=first_few(LOOKS.values(), 1), ids=LOOKS)
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    with silent_page(browser, *request.param) as page:
        page.goto(report.as_uri())
        for section in page.locator("details.section, details.hover").all():
            section.evaluate("element => { element.open = true; }")
        page.wait_for_function("[...document.querySelectorAll('.chart')].every(c => c.dataset.drawn)")
        yield page


def test_every_figure_is_shown(page: Page) -> None:
    assert page.title() == "a study & <its> name · Gatescope report"
    sizes = page.locator("figure img").evaluate_all(
        "images => images.map(i => [i.naturalWidth, i.offsetWidth])"
    )
    assert len(sizes) == 3
    assert all(natural > 0 and shown > 100 for natural, shown in sizes)
    assert page.locator(".chart svg").count() == 4
    last = page.locator("main > p.note").last.inner_text()
    assert last.startswith("Left out: Vanishing curves: no finished run has")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_tables_of_a_study_fit(browser: Browser, tmp_path: Path) -> None:
    """On a wide screen no table is cut; on a narrow one they scroll in their boxes, and the page does not."""
    folder = tmp_path / "recipe_series"  # its table of variants has the most columns
    source = FrozenSource(ROOT / "reports" / folder.name / FILE)
    write_report(source, tmp_path, paper=False, figures=["metric_by_variant"])
    for width in (1400, 400):
        with silent_page(browser, width, "light") as page:
            page.goto((folder / "report.html").as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            boxes = page.locator(".scroll")
            assert boxes.count() >= 6
            cut = "all => all.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.ariaLabel)"
            assert bool(found := boxes.evaluate_all(cut)) == (width == 400), found


def test_the_first_screen_holds_finding_figure_and_sentences(browser: Browser, report: Path) -> None:
    with silent_page(browser, 1400, "light") as page:
        page.goto(report.as_uri())
        title = page.locator("h1")
        assert "a better mean" in title.inner_text() or "beats" in title.inner_text()
        places = [page.locator(one).first.bounding_box() for one in ("h1", "figure.lead img", "p.headline")]
        tops = [place["y"] for place in places]
        assert tops == sorted(tops)
        assert places[-1]["y"] + places[-1]["height"] < 900
        assert places[1]["width"] > 900, "the figure is as wide as the page"
        assert page.locator("details.section[open]").count() == 0
        page.evaluate("location.hash = 'runs'")
        page.wait_for_function("document.getElementById('runs').open")


def test_texts_of_figures_are_legible(page: Page) -> None:
    """The smallest text of a figure is 6.5 points high, of figures 3.3 or 6.9 inches wide."""
    for image in page.locator("figure picture").all():
        shown = image.locator("img").evaluate("i => [i.currentSrc.length, i.offsetWidth]")
        narrow = image.locator("source").count() == 1 and page.viewport_size["width"] < 640
        inches = 3.3 if narrow or image.locator("img.column").count() else 6.9
        assert 6.5 / 72 * shown[1] / inches >= 9, (shown, inches)


def test_tables_scroll_under_a_fixed_first_column(page: Page) -> None:
    box = page.locator("#variants").locator("xpath=..")
    assert box.evaluate("b => b.scrollHeight <= b.clientHeight + 1"), "no box within the page"
    before = page.locator("#variants tbody th").first.bounding_box()["x"]
    box.evaluate("b => { b.scrollLeft = 200; }")
    assert abs(page.locator("#variants tbody th").first.bounding_box()["x"] - before) < 1


def test_tables_are_sorted_by_a_click_and_by_the_keyboard(page: Page) -> None:
    head = page.locator("#variants th", has=page.get_by_role("button", name="test accuracy"))
    means = page.locator("#variants tbody td[data-value]:nth-child(2)")
    values = lambda: [float(v) for v in means.evaluate_all("c => c.map(x => x.dataset.value)")]  # noqa: E731
    before = values()
    head.get_by_role("button").click()
    assert values() == sorted(before) != before
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").press("Enter")
    assert values() == sorted(before, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"


def test_variants_are_switched_off_and_on(page: Page) -> None:
    lines = page.locator(".chart").first.locator("g.mark-line path")
    assert lines.count() == 3
    page.get_by_label("GRU", exact=True).press("Space")
    page.wait_for_function(
        "document.querySelector('.chart').querySelectorAll('g.mark-line path').length === 2"
    )
    assert page.locator(".switches output").inner_text() == "2 of 3 shown"
    page.get_by_label("GRU", exact=True).check()
    page.wait_for_function(
        "document.querySelector('.chart').querySelectorAll('g.mark-line path').length === 3"
    )


def test_a_curve_is_hovered(page: Page) -> None:
    page.locator(".chart").first.scroll_into_view_if_needed()
    page.locator(".chart").first.locator("g.mark-symbol path").first.hover(force=True)
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert "GRU" in tip.inner_text()
    assert "epoch" in tip.inner_text()


def test_the_errors_are_shown(page: Page) -> None:
    section = page.locator("#errors")
    section.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert section.locator("#calibration tbody tr").count() == 3
    assert section.locator("#classes tbody tr").count() == 9
    worst = section.locator("details").nth(1).locator("tbody tr")
    assert worst.count() == 10
    assert worst.first.inner_text().split("\t")[1] == "5\u00a0of\u00a05"
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_axe_finds_nothing_serious(page: Page) -> None:
    for section in page.locator("details").all():
        section.evaluate("element => { element.open = true; }")
    assert serious_violations(page) == []


def test_it_prints_without_what_needs_a_mouse(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.locator(".switches").is_visible()
    assert page.locator("figure img").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
