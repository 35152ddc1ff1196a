"""The user's texts: a table (.csv, .tsv, .txt, .json, .jsonl, .parquet) of texts with labels or numbers.

The file is read once, row by row, and checked as a whole before any training. Splits are drawn at random,
stratified by label, unless they have files of their own; a label that train lacks is then refused.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from sklearn.model_selection import train_test_split

from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, Folds
from gatescope.data.encoding.corpus import Selection, Texts
from gatescope.data.encoding.remarks import check_texts
from gatescope.data.encoding.targets import Probability, TargetKind, with_thresholds
from gatescope.data.encoding.text import MaxLength, TextEncoding
from gatescope.data.encoding.tokenizers import Tokenizer, TokenizerName, restore
from gatescope.data.errors import DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.groups import Groups
from gatescope.data.files.labels import Labels, shorten
from gatescope.data.files.number_form import Decimal, Thousands
from gatescope.data.files.sources import source_files, source_notes
from gatescope.data.files.table_form import AUTO, Column, Delimiter, TableForm
from gatescope.data.files.table_reader import Row, Table
from gatescope.data.files.target_columns import LabelColumns, NumberColumns, make_labels
from gatescope.data.target_scale import ScaleName, with_target_scale


class TextFile(SequenceData):
    """Classification of texts by one label or several, or regression on one number per text or several.

    Args:
        path: of the train file, or of the file that all splits are drawn from.
        text: column of the texts, its name or its position from 1.
        label: column of the labels or numbers, its name or its position from 1. A list names a column for
            each label, which holds 0 or 1, or for each number.
        kind: classification, multilabel if a text may have any number of labels, or regression on numbers.
        validation_path: of a separate validation file, or None.
        test_path: of a separate test file, or None.
        validation: share of the train file, used without a `validation_path`.
        test: share of the train file, used without a `test_path`.
        folds, fold: as in `Division`.
        group: column of the groups (speaker, author), none of which is in two splits; None without groups.
        header, encoding, delimiter, quoting, decimal, thousands: as in `TableForm`.
        limit: number of train texts of a subset, for quick runs; None for all.
        max_tokens, min_freq, max_length, specials, tokenizer, vectors, frozen: as in `TextEncoding`.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data in tables, folders and W&B; None for the name of the file.
        target_scale: as in `with_target_scale`; unused for classification.
        label_separator: between the labels of a text in one column, for multilabel; unused for JSON lists.
        threshold: as in `with_thresholds`, for multilabel.
    """

    def __init__(
        self,
        path: str,
        text: Column = "text",
        label: Column | list[Column] = "label",
        kind: TargetKind = "classification",
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        header: bool = True,
        encoding: str = "utf-8",
        limit: Annotated[int, Field(ge=10)] | None = None,
        max_tokens: Annotated[int, Field(ge=3)] | None = 20_000,
        min_freq: Annotated[int, Field(ge=1)] = 2,
        max_length: MaxLength = "auto",
        specials: list[str] | None = None,
        tokenizer: TokenizerName = "auto",
        vectors: str | None = None,
        frozen: bool = False,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
        target_scale: ScaleName = "none",
        folds: Folds = None,
        fold: Fold = None,
        group: Column | None = None,
        delimiter: Delimiter = AUTO,
        quoting: bool = True,
        label_separator: Annotated[str, Field(min_length=1)] = ",",
        threshold: Probability | list[Probability] = 0.5,
        decimal: Decimal = "auto",
        thousands: Thousands = "auto",
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        if str(text) in map(str, label if isinstance(label, list) else [label]):
            raise DataError(f"data.label: given {text}, which is data.text: a text cannot be its own label")
        self.name, self.target_scale, self.threshold = name, target_scale, threshold
        self.label = str(label) if isinstance(label, str | int) else [str(name) for name in label]
        self.label_separator = label_separator
        self.files = source_files(path, validation_path, test_path)
        self.columns = (text, label) if isinstance(label, str | int) else (text, *label)
        self.form = TableForm(header, encoding, delimiter, quoting, decimal, thousands)
        self.kind, self.limit, self.group = kind, limit, group
        self.division = Division(validation, test, seed, folds, fold)
        self.encoding = TextEncoding(
            max_tokens, min_freq, max_length, tuple(specials or ()), tokenizer, vectors, frozen
        )

    def build(self) -> Splits:
        """Read the files, divide the texts into splits and encode them."""
        texts = _LabelledTextRows(make_labels(self.files, self.kind, self.label, self.label_separator))
        groups = Groups(self.files, self.group)
        columns = (*self.columns, *groups.columns)
        numbers = self.columns[1:] if self.kind == "regression" else ()
        for part, path in self.files.items():
            problems = Problems(path)
            for row in Table(path, columns, self.form, numbers, self.columns).rows(problems):
                texts.add(part, groups.take(part, row, problems), str(self.columns[0]), problems)
            problems.check()
        targets, labels = texts.labels.targets()
        rows = texts.labels.split(self.division, groups.array)
        if self.limit is not None and self.limit < len(rows[0]):
            strata = texts.labels.strata(rows[0])
            rows[0], _ = train_test_split(
                rows[0], train_size=self.limit, stratify=strata, random_state=self.seed
            )
        notes = source_notes(self.files) | texts.count_repetitions(rows) | groups.notes(self.division)
        tokenizer = self.encoding.fit_tokenizer(Selection(texts.texts, rows[0]))
        corpus = self.encoding.corpus(tokenizer).extend(texts.texts)
        splits = self.encoding.encode(corpus, rows, targets, labels, notes, self.kind)
        check_texts(splits.task.notes, self.encoding, str(self.files["train"]), str(self.columns[0]))
        return with_thresholds(with_target_scale(splits, self.target_scale), self.threshold)

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, without a limit on their number."""
        return self._tokenizer(text)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return restore(self.task.tokenizer)


class _LabelledTextRows:
    """The text and the label of each row, and a hash of each text to count repetitions."""

    def __init__(self, labels: Labels) -> None:
        self.texts, self.labels, self._hashes = Texts(), labels, array("q")

    def add(self, part: str, row: Row, column: str, problems: Problems) -> None:
        """Append a row (text, label or labels), or add a problem."""
        text, *labels = row.values
        label = labels if isinstance(self.labels, LabelColumns | NumberColumns) else labels[0]
        text = "" if text is None else text
        if not isinstance(text, str):
            problems.add(f"{row.where}, column {column}", f"{shorten(text)} is not a text")
        elif self.labels.add(part, label, row.where, problems) and not problems.count:
            self.texts.add(text)
            self._hashes.append(hash(text))

    def count_repetitions(self, rows: Sequence[np.ndarray]) -> dict[str, Any]:
        """Return how many validation and test texts occur in train as well, letter for letter."""
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        train = hashes[rows[0]]
        return {
            f"{name}_texts_in_train": int(np.isin(hashes[part], train).sum())
            for name, part in zip(("validation", "test"), rows[1:], strict=True)
        }
