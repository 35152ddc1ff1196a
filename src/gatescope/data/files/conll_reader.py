"""Sentences with a tag for each token: CoNLL files, and JSONL with a list of tokens and a list of tags.

A CoNLL file has a token a line, with its columns separated by tabs or blanks, and an empty line after each
sentence. Lines that begin with -DOCSTART- are skipped, and in a .conllu file comments, ranges of tokens and
empty nodes as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gatescope.data.errors import DataError, Problems
from gatescope.data.files.labels import label_text, shorten
from gatescope.data.files.table_form import TableForm
from gatescope.data.files.table_reader import Table
from gatescope.data.text_io import is_valid_text, open_text

DOCUMENT = "-DOCSTART-"
JSON_SUFFIXES = (".jsonl", ".ndjson")


class Sentence(NamedTuple):
    """A sentence.

    Attributes:
        tokens: its tokens.
        tags: a tag for each; empty if they are not read.
        where: its place in the file.
    """

    tokens: list[str]
    tags: list[str]
    where: str


@dataclass(frozen=True)
class TaggedFile:
    """A file of tagged sentences.

    Args:
        path: of the file; .jsonl is read as JSON, everything else as CoNLL.
        tokens: name of the list of tokens, or position of their column from 1, negative from the last; None
            for "tokens", or the first column, in a .conllu file the second.
        tags: name of the list of tags, or position of their column; None for "tags", or the last column, in a
            .conllu file the fourth (the part of speech).
        encoding: of the file.
        tagged: whether tags are read.
    """

    path: Path
    tokens: str | int | None = None
    tags: str | int | None = None
    encoding: str = "utf-8"
    tagged: bool = True

    @property
    def suffix(self) -> str:
        """The suffix in lower case, without .gz."""
        return Path(self.path.name.removesuffix(".gz")).suffix.lower()

    def sentences(self, problems: Problems) -> Iterator[Sentence]:
        """Yield the valid sentences; add a problem for each of the others.

        Raises:
            DataError: the file cannot be read at all.
        """
        if self.suffix in JSON_SUFFIXES:
            yield from self._json(problems)
            return
        count = 0
        with open_text(self.path, self.encoding) as stream:
            for start, lines in _blocks(stream):
                records = [(n, fields) for n, line in lines if (fields := self._fields(line))]
                if records:
                    count += 1
                    yield from self._sentence(f"sentence {count} (line {start})", records, problems)
        if not count and not problems.count:
            raise DataError(f"{self.path}: no sentences")

    def _fields(self, line: str) -> list[str]:
        """Return the columns of a line; none if it is no token."""
        if line.startswith(DOCUMENT):
            return []
        fields = line.split("\t") if "\t" in line else line.split()
        if self.suffix == ".conllu" and (line.startswith("#") or not fields[0].isdigit()):
            return []
        return fields

    def _sentence(
        self, where: str, records: list[tuple[int, list[str]]], problems: Problems
    ) -> Iterator[Sentence]:
        conllu = self.suffix == ".conllu"
        columns = [
            ("tokens", (2 if conllu else 1) if self.tokens is None else self.tokens),
            *([("tags", (4 if conllu else -1) if self.tags is None else self.tags)] if self.tagged else []),
        ]
        before, lists = problems.count, []
        for key, column in columns:
            if not isinstance(column, int) or column == 0:
                raise DataError(
                    f"data.{key}: given {column}, and {self.path} has columns without names: give the "
                    "position of one from 1, or -1 for the last"
                )
            lists.append([_column(fields, column, f"line {n}", problems) for n, fields in records])
        if self.tagged and self.tags is None and all(len(fields) == 1 for _, fields in records):
            problems.add(where, "one column, and a tag is needed for each token")
        if problems.count == before:
            yield Sentence(lists[0], lists[1] if self.tagged else [], where)

    def _json(self, problems: Problems) -> Iterator[Sentence]:
        names = [str(self.tokens or "tokens"), *[str(self.tags or "tags")] * self.tagged]
        for row in Table(self.path, tuple(names), TableForm(encoding=self.encoding)).rows(problems):
            before = problems.count
            for name, values in zip(names, row.values, strict=True):
                if problem := _problem_of(values):
                    problems.add(f"{row.where}, column {name}", problem)
            if problems.count > before:
                continue
            tokens, tags = row.values[0], row.values[1] if self.tagged else []
            if self.tagged and len(tokens) != len(tags):
                problems.add(row.where, f"{len(tokens)} {names[0]} and {len(tags)} {names[1]}")
            elif not tokens:
                problems.add(row.where, "no token")
            else:
                yield Sentence([str(token) for token in tokens], [label_text(t) for t in tags], row.where)


def _blocks(stream: Any) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Yield the blocks of lines between empty lines, with the number of their first line."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(stream, 1):
        for text in re.split(r"\r\n|\r|\n", line)[:1]:
            if text.strip():
                block.append((number, text))
            elif block:
                yield block[0][0], block
                block = []
    if block:
        yield block[0][0], block


def _column(fields: list[str], position: int, where: str, problems: Problems) -> str:
    """Return a field; "" with a problem if it is missing or not text."""
    index = position - 1 if position > 0 else position
    value = fields[index].strip() if -len(fields) <= index < len(fields) else ""
    if not value:
        problems.add(where, f"nothing in column {position}; the line has {len(fields)} columns")
    elif not is_valid_text(value):
        problems.add(where, "not UTF-8; give the file's encoding, such as data.encoding=latin-1")
    return value


def _problem_of(values: Any) -> str:
    """Return what is wrong with a list of tokens or tags; "" if it is valid."""
    if not isinstance(values, list):
        return f"expected a list, found {shorten(values)}"
    for value in values:
        if not isinstance(value, str | int) or not str(value).strip() or not is_valid_text(str(value)):
            return f"{shorten(value)} is no token or tag"
    return ""
