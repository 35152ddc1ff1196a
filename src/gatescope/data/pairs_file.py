"""Your own pairs: a TSV, CSV or JSONL file (also .gz) with a column of sources and one of targets.

For translation a symbol is a word, for spelling or pronunciation a character. Rows with the same source are
one example with several accepted targets: each is learnt, and for validation and test any of them is right.
So splits are cut at random between sources. A target word that train lacks is <unk>, which nothing the model
writes is equal to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from gatescope.data.answers import digests, own_files
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.pairs import Pair, PairEncoding
from gatescope.data.rows import Problems, Row, Table
from gatescope.data.text import Corpus, Tokenizer

Sources = dict[str, list[str]]
"""The targets of each source, in the file's order."""


class PairsFile(SequenceData):
    """Transduction from texts to texts.

    Args:
        path: of the train file, or of the file that all splits are cut from.
        source, target: columns; their positions from "1" where the file has no header.
        unit: what a symbol is, on both sides: word, or character.
        validation_path, test_path: files of their own, or None.
        validation, test: shares of the train file's sources where a split has no file.
        header: whether the first row of a CSV or TSV names the columns.
        encoding: of the file.
        tokenizer: of words, as in `Corpus`.
        max_tokens: largest vocabulary on either side, specials included; None for no limit.
        min_freq: a symbol that train holds less often is <unk>.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data, on tables, folders and W&B; None: that of the file or folder.
    """

    def __init__(
        self,
        path: str,
        source: str = "source",
        target: str = "target",
        unit: Literal["word", "character"] = "word",
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.05,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        header: bool = True,
        encoding: str = "utf-8",
        tokenizer: Tokenizer = "basic_english",
        max_tokens: Annotated[int, Field(ge=3)] | None = 20_000,
        min_freq: Annotated[int, Field(ge=1)] = 1,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name = name
        self.files = own_files(path, validation_path, test_path)
        self.columns, self.header, self.charset = (source, target), header, encoding
        self.validation, self.test, self.unit = validation, test, unit
        self.symbols: Any = list if unit == "character" else Corpus(tokenizer).tokenize
        metric = ("bleu", "max") if unit == "word" else ("character_error_rate", "min")
        self.encoding = PairEncoding(unit, *metric, min_freq, max_tokens, unknown=True)  # type: ignore[arg-type]

    def build(self) -> Splits:
        found = {part: self._read(path) for part, path in self.files.items()}
        splits = divide(found, self.files["train"], self.validation, self.test, self.seed)
        train, validation, test = (splits[part] for part in ("train", "validation", "test"))
        notes = digests(self.files) | {
            f"{name}_sources_in_train": len(train.keys() & part.keys())
            for name, part in (("validation", validation), ("test", test))
        }
        learnt = [self._pair(source, [one]) for source, targets in train.items() for one in targets]
        checked = [[self._pair(*each) for each in part.items()] for part in (validation, test)]
        return self.encoding.splits(learnt, checked[0], checked[1], notes)

    def tokenize(self, text: str) -> list[str]:
        symbols: list[str] = self.symbols(text)
        return symbols

    def _pair(self, source: str, targets: list[str]) -> Pair:
        return Pair(self.tokenize(source), [self.tokenize(target) for target in targets])

    def _read(self, path: Path) -> Sources:
        problems, found = Problems(path), Sources()
        for row in Table(path, self.columns, self.header, self.charset).rows(problems):
            if self._complete(row, problems):
                targets = found.setdefault(row.values[0], [])
                if row.values[1] not in targets:
                    targets.append(row.values[1])
        problems.check()
        return found

    def _complete(self, row: Row, problems: Problems) -> bool:
        """Whether both sides hold a symbol; else a problem is told."""
        before = problems.count
        for column, value in zip(self.columns, row.values, strict=True):
            where = f"{row.where}, column {column}"
            if value is None or value == "":
                problems.add(where, "missing: each source needs a target, and each target a source")
            elif not isinstance(value, str):
                problems.add(where, f"a {type(value).__name__} is no text")
            elif not self.tokenize(value):
                problems.add(where, f"{value[:40]!r} holds no {self.unit}")
        return problems.count == before


def divide(
    found: Mapping[str, Sources], path: Path, validation: float, test: float, seed: int
) -> dict[str, Sources]:
    """The sources of each split: of its own file, else a share of train's.

    Raises:
        DataError: too few sources to cut from.
    """
    splits = dict(found)
    train = found["train"]
    order = np.random.default_rng(seed).permutation(np.array(list(train), dtype=object)).tolist()
    for part, share in (("test", test), ("validation", validation)):
        if part not in found:
            size = max(1, round(share * len(train)))
            cut, order = order[:size], order[size:]
            splits[part] = {source: train[source] for source in cut}
    if not order:
        raise DataError(f"{path}: {len(train)} different sources are too few to cut splits from")
    splits["train"] = {source: train[source] for source in order}
    return splits
