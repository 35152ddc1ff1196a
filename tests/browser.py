"""Pages in a headless Chromium, where a word on the console or a request fails the test; axe-core."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"
)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra dev)")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe is not installed (the extra dev)"
)

Browser, Page = sync_api.Browser, sync_api.Page
LOOKS = {"wide, light": (1400, "light"), "narrow, dark": (400, "dark")}


@contextmanager
def launched() -> Iterator[Any]:
    """A browser."""
    with sync_api.sync_playwright() as playwright:
        # Tests run as root in containers, where Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def silent_page(browser: Any, width: int, scheme: str) -> Iterator[Any]:
    """Fails where the page wrote to the console or asked the network for anything."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else said.append(asked.url),
    )
    yield page
    page.close()
    assert said == []


def serious_violations(page: Any) -> list[tuple[str, str]]:
    """What axe-core finds serious or critical: the rule, and the first element at fault."""
    found = axe.Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
