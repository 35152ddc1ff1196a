"""Hooks of MkDocs: the pages of the API reference and the picture of the packages, made from the source."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.plugins.gatescope")
TOOLS = Path(__file__).parent
PACKAGE = TOOLS.parents[1] / "src" / "gatescope"


def modules(folder: Path) -> list[Path]:
    """Return the public modules below a folder, the folder's own `__init__.py` first."""
    paths = sorted(
        folder.rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name)
    )
    return [path for path in paths if not any(part[0] == "_" for part in parts(path))]


def parts(path: Path) -> list[str]:
    """Return the parts of a module's dotted name below `gatescope`."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    return list((inside.parent if inside.name == "__init__" else inside).parts)


def dotted(path: Path) -> str:
    """Return a module's dotted name."""
    return ".".join(["gatescope", *parts(path)])


def reference() -> dict[str, str]:
    """Return the pages of the API reference, by their names: one for each package, one for the modules."""
    pages = {}
    packages = [folder for folder in sorted(PACKAGE.iterdir()) if (folder / "__init__.py").exists()]
    for folder in packages:
        pages[folder.name] = page(dotted(folder / "__init__.py"), modules(folder))
    single = [path for path in modules(PACKAGE) if len(parts(path)) < 2 and path.parent == PACKAGE]
    return {"gatescope": page("gatescope", single)} | pages


def page(title: str, paths: list[Path]) -> str:
    """Return the page of a package: each of its modules with its public members."""
    body = "\n\n".join(f"## {dotted(path)}\n\n::: {dotted(path)}" + OPTIONS for path in paths)
    return f"# {title}\n\n{body}\n"


OPTIONS = """
    options:
      show_root_heading: false
      show_root_toc_entry: false
      show_submodules: false
"""


def picture() -> str:
    """Return the picture of the packages as SVG."""
    spec = importlib.util.spec_from_file_location("picture", TOOLS / "picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    svg: str = module.svg(PACKAGE)
    return svg


def on_config(config: MkDocsConfig, **_: Any) -> MkDocsConfig:
    """Append the pages of the reference to the navigation."""
    assert config.nav is not None
    config.nav.append({"API reference": [{name: f"reference/{name}.md"} for name in reference()]})
    return config


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages that are made from the source."""
    for name, text in reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    files.append(File.generated(config, "assets/packages.svg", content=picture()))
    return files


external: dict[str, set[str]] = {}
"""Pages by the external link that they have."""


def on_page_markdown(markdown: str, page: Page, **_: Any) -> None:
    """Collect the external links of a page."""
    for link in re.findall(r"https?://[^\s)>\"'`]+", markdown):
        external.setdefault(link, set()).add(page.file.src_uri)


def on_post_build(**_: Any) -> None:
    """List the external links; they are not fetched, so that the site builds without a network."""
    for link, pages in sorted(external.items()):
        log.info("external link, not fetched: %s (%s)", link, ", ".join(sorted(pages)))
