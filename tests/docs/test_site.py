"""The site builds without a warning, and opens without a network."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from browser import launched, needs_chromium, silent_page
from conftest import ROOT

TOOLS = ROOT / "docs" / "tools"


def tool(name: str) -> ModuleType:
    """Load docs/tools/<name>.py."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_what_imports_what(tmp_path: Path) -> None:
    package = tmp_path / "house"
    files = {
        "__init__": "",
        "base": "import math",
        "middle/__init__": "",
        "middle/one": "from house.base import x\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from house.top import y\n",
        "top": "from house import base\nimport house.middle.one\n\ndef late():\n    import house.other\n",
        "other": "",
    }
    for name, text in files.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    picture = tool("picture")
    graph = picture.imports(package)
    assert graph == {"base": set(), "middle": {"base"}, "top": {"base", "middle"}, "other": set()}
    rank = picture.ranks(graph)
    assert rank == {"base": 0, "other": 0, "middle": 1, "top": 2}
    assert sorted(picture.reduced(graph, rank)) == [("middle", "base"), ("top", "middle")]
    root = ElementTree.fromstring(picture.svg(package))
    names = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(names) == ["base", "middle", "other", "top"]


def test_imports_in_a_circle_are_drawn_too() -> None:
    picture = tool("picture")
    rank = picture.ranks({"a": {"b"}, "b": {"a"}})
    assert sorted(rank.values()) == [0, 1]


def test_the_picture_of_the_package_has_every_package() -> None:
    svg = tool("picture").svg(ROOT / "src" / "gatescope")
    folders = {path.parent.name for path in (ROOT / "src" / "gatescope").glob("*/__init__.py")}
    assert folders <= set(re.findall(r">(\w+)</text>", svg))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_the_reference_has_every_public_module(site: Path) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    source = ROOT / "src"
    for path in (source / "gatescope").rglob("*.py"):
        parts = path.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not any(part.startswith("_") for part in name.split(".")):
            assert f">{name}" in pages, name


@pytest.mark.slow
def test_pages_load_nothing_from_a_network(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+https?:|@import")
    for path in site.rglob("*.html"):
        assert not loaded.search(path.read_text(encoding="utf-8")), path


@needs_chromium
@pytest.mark.slow
def test_pages_and_search_work_from_files(site: Path) -> None:
    def opened(page: Any, name: str) -> None:
        page.goto((site / name).as_uri())
        page.wait_for_load_state()

    with launched() as browser, silent_page(browser, 1300, "light") as page:
        for name in ("index.html", "architecture.html", "reference/instruments.html"):
            opened(page, name)
        opened(page, "index.html")
        page.click("input.md-search__input")
        page.keyboard.type("participation ratio")
        page.wait_for_selector(".md-search-result__item a", timeout=30_000)
        assert "instruments" in page.locator(".md-search-result__item a").first.get_attribute("href")
