"""The pages of the documentation and the README, as blocks of code that tests parse and execute."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]}
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[\w. -]+) -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: path of the page in the repository.
        line: number of its first line.
        language: as the fence has it.
        code: its text.
        title: the file that the reader is told to write it to; "" for none.
        mark: the comment before the fence: "run" (a cheap command), "illustration" (not executed).
    """

    page: str
    line: int
    language: str
    code: str
    title: str
    mark: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: str, *languages: str) -> list[Block]:
    """Return the blocks of a page in these languages, or in any, in their order."""
    text = PAGES[page].read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, match.start("code")),
            match["language"],
            match["code"],
            match["title"] or "",
            match["mark"] or "",
        )
        for match in FENCE.finditer(text)
    ]
    assert len(found) == len(re.findall(r"^```", text, re.MULTILINE)) / 2, (
        f"{page}: a fence that is not parsed"
    )
    return [block for block in found if not languages or block.language in languages]


def every(*languages: str) -> list[Block]:
    """Return the blocks of all pages in these languages."""
    return [block for page in PAGES for block in blocks(page, *languages)]


def write_files(page: str, folder: Path) -> None:
    """Write the blocks of a page that have a title to files of that name."""
    for block in blocks(page):
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
