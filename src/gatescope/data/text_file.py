"""Your own texts: a CSV, TSV or JSONL file (also .gz) with a column of texts and one of labels or numbers.

The file is read once, row by row; nothing is trained on before all of it is found to be sound. Splits are cut
at random, stratified by label, unless they have files of their own; then a label that train lacks is refused.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from sklearn.model_selection import train_test_split

from gatescope.data.answers import Answer, Answers, Rows, digests, own_files, shortened
from gatescope.data.datamodule import SequenceData
from gatescope.data.examples import Splits
from gatescope.data.rows import Problems, Row, Table
from gatescope.data.text import Corpus, Encoding, Tokenizer


class TextFile(SequenceData):
    """Classification of texts, or regression on a number each.

    Args:
        path: of the train file, or of the file that all splits are cut from.
        text, label: columns; their positions from "1" where the file has no header.
        kind: classification, or regression where `label` holds numbers.
        validation_path, test_path: files of their own, or None.
        validation, test: shares of the train file where a split has no file.
        header: whether the first row of a CSV or TSV names the columns.
        encoding: of the file.
        limit: a subset of train of that many texts, for quick runs; None for all.
        max_tokens, min_freq, max_length, specials, tokenizer, vectors, frozen: as in `Encoding`.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data, on tables, folders and W&B; None: that of the file or folder.
    """

    def __init__(
        self,
        path: str,
        text: str = "text",
        label: str = "label",
        kind: Answer = "classification",
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        header: bool = True,
        encoding: str = "utf-8",
        limit: Annotated[int, Field(ge=10)] | None = None,
        max_tokens: Annotated[int, Field(ge=3)] | None = 20_000,
        min_freq: Annotated[int, Field(ge=1)] = 2,
        max_length: Annotated[int, Field(ge=1)] | None = 200,
        specials: list[str] | None = None,
        tokenizer: Tokenizer = "basic_english",
        vectors: str | None = None,
        frozen: bool = False,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name = name
        self.files = own_files(path, validation_path, test_path)
        self.columns, self.header, self.charset = (text, label), header, encoding
        self.kind, self.limit, self.validation, self.test = kind, limit, validation, test
        self.encoding = Encoding(
            max_tokens, min_freq, max_length, tuple(specials or ()), tokenizer, vectors, frozen
        )

    def build(self) -> Splits:
        reading = Reading(self.files, self.kind, self.columns[1], self.encoding.corpus())
        for part, path in self.files.items():
            problems = Problems(path)
            for row in Table(path, self.columns, self.header, self.charset).rows(problems):
                reading.add(part, row, self.columns[0], problems)
            problems.check()
        targets, labels = reading.answers.targets()
        rows = reading.answers.rows(self.validation, self.test, self.seed)
        if self.limit is not None and self.limit < len(rows[0]):
            strata = targets[rows[0]] if labels else None
            rows[0], _ = train_test_split(
                rows[0], train_size=self.limit, stratify=strata, random_state=self.seed
            )
        notes = digests(self.files) | reading.repeated(rows)
        return self.encoding.encode(reading.corpus, rows, targets, labels, notes)

    def tokenize(self, text: str) -> list[str]:
        return self.encoding.tokens(text)


class Reading:
    """What is kept of the rows: tokens, answers, and a hash of each text, to count repetitions by."""

    def __init__(self, files: Mapping[str, Path], kind: Answer, column: str, corpus: Corpus) -> None:
        self.corpus, self.answers, self._hashes = corpus, Answers(files, kind, column), array("q")

    def add(self, part: str, row: Row, column: str, problems: Problems) -> None:
        text, label = row.values
        text = "" if text is None else text
        if not isinstance(text, str):
            problems.add(f"{row.where}, column {column}", f"{shortened(text)} is no text")
        elif self.answers.add(part, label, row.where, problems) and not problems.count:
            self.corpus.add(text)
            self._hashes.append(hash(text))

    def repeated(self, rows: Rows) -> dict[str, Any]:
        """How many validation and test texts stand in train as well, letter for letter."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        train = hashes[rows[0]]
        return {
            f"{name}_texts_in_train": int(np.isin(hashes[part], train).sum())
            for name, part in zip(("validation", "test"), rows[1:], strict=True)
        }
