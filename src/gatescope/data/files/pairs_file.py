"""The user's pairs: a table (.csv, .tsv, .txt, .json, .jsonl, .parquet) of sources and targets.

A symbol is a word (translation) or a character (spelling, pronunciation). Rows with the same source are one
example with several accepted targets: train uses each of them, and in validation and test each of them is
right. Splits are therefore drawn at random among sources. A target word that train lacks is <unk>, which
never counts as right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, Folds
from gatescope.data.encoding.pairs import Pair, PairEncoding
from gatescope.data.encoding.remarks import print_remarks, unknown_remark
from gatescope.data.encoding.tokenizers import (
    Tokenizer,
    TokenizerName,
    fit_tokenizer,
    join_tokens,
    make_tokenizer,
    restore,
    train_subwords,
)
from gatescope.data.errors import DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.groups import Groups
from gatescope.data.files.labels import label_text
from gatescope.data.files.pairs_division import TargetsBySource, divide
from gatescope.data.files.sources import source_files, source_notes
from gatescope.data.files.table_form import AUTO, Column, Delimiter, TableForm
from gatescope.data.files.table_reader import Row, Table
from gatescope.sequences import UNKNOWN

BLEU_ORDER = 4
"""Number of successive symbols up to which BLEU compares; without so many it is 0."""


class PairsFile(SequenceData):
    """Transduction from texts to texts.

    Args:
        path: of the train file, or of the file that all splits are drawn from.
        source: column of the sources, its name or its position from 1.
        target: column of the targets, its name or its position from 1.
        unit: what a symbol is, on both sides.
        validation_path: of a separate validation file, or None.
        test_path: of a separate test file, or None.
        validation: share of the train file's sources, used without a `validation_path`.
        test: share of the train file's sources, used without a `test_path`.
        folds, fold: as in `Division`.
        group: column of the groups (document, speaker), none of which is in two splits; None without groups.
            A source that occurs in two groups is an example of each.
        header, encoding, delimiter, quoting: as in `TableForm`.
        tokenizer: of words, one of `encoding.tokenizers`; auto looks at each side by itself. A target of
            characters is rated by its characters, as with unit=character.
        max_tokens: size limit of each vocabulary, specials included; None for no limit.
        min_freq: a symbol with fewer occurrences in train is <unk>.
        lower: subwords of texts in lower case. Scores are then those of texts in lower case.
        shared: one set of subwords, learnt from sources and targets, in place of one of each side.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data in tables, folders and W&B; None for the name of the file.
    """

    def __init__(
        self,
        path: str,
        source: Column = "source",
        target: Column = "target",
        unit: Literal["word", "character"] = "word",
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.05,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        header: bool = True,
        encoding: str = "utf-8",
        tokenizer: TokenizerName = "auto",
        max_tokens: Annotated[int, Field(ge=3)] | None = 20_000,
        min_freq: Annotated[int, Field(ge=1)] = 1,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
        folds: Folds = None,
        fold: Fold = None,
        group: Column | None = None,
        delimiter: Delimiter = AUTO,
        quoting: bool = True,
        lower: bool = False,
        shared: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name = name
        self.files = source_files(path, validation_path, test_path)
        self.columns, self.form = (source, target), TableForm(header, encoding, delimiter, quoting)
        self.unit, self.group = unit, group
        self.division = Division(validation, test, seed, folds, fold)
        self.tokenizer, self.max_tokens, self.min_freq = tokenizer, max_tokens, min_freq
        self.lower, self.shared = lower, shared
        for key, value in (("lower", lower), ("shared", shared)):
            if value and (tokenizer != "subwords" or unit == "character"):
                raise DataError(f"data.{key}=true needs data.tokenizer=subwords and data.unit=word")

    def build(self) -> Splits:
        """Read the files, divide the sources into splits and encode the pairs."""
        groups = Groups(self.files, self.group)
        parts = {part: self._read(part, path, groups) for part, path in self.files.items()}
        splits = divide(parts, self.files["train"], self.division)
        train, validation, test = (splits[part] for part in ("train", "validation", "test"))
        source, target = self._tokenizers(
            [text for _, text in train], [one for targets in train.values() for one in targets]
        )
        seen = {text for _, text in train}
        notes = source_notes(self.files) | {
            f"{name}_sources_in_train": len(seen & {text for _, text in part})
            for name, part in (("validation", validation), ("test", test))
        }
        notes |= groups.notes(self.division)
        notes |= {"tokenizer": source.name, "target_tokenizer": target.name}
        encoded = [
            [Pair(source(text), [target(one) for one in targets]) for (_, text), targets in part.items()]
            for part in (train, validation, test)
        ]
        one_target_each = [Pair(pair.source, [one]) for pair in encoded[0] for one in pair.targets]
        lengths = sorted(_words(pair.targets[0], target.name) for pair in one_target_each)
        is_short = lengths[len(lengths) // 2] < BLEU_ORDER
        result = self._encoding(target, is_short).splits(one_target_each, encoded[1], encoded[2], notes)
        result.task.notes["remarks"] = remarks(result)
        print_remarks(result.task.notes["remarks"])
        return replace(result, task=replace(result.task, tokenizer=source.state))

    def tokenize(self, text: str) -> list[str]:
        """Split a source into symbols."""
        return self._tokenizer(text)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return restore(self.task.tokenizer)

    def _tokenizers(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[Tokenizer, Tokenizer]:
        """Return the tokenizers of both sides, from the texts of train."""
        units = None if self.max_tokens is None else self.max_tokens - 1

        def fitted(side: str, texts: Sequence[str]) -> Tokenizer:
            if self.unit == "character":
                return make_tokenizer("code_points")
            if self.tokenizer == "subwords":
                return train_subwords(texts, units, self.min_freq, self.lower)
            return fit_tokenizer(self.tokenizer, texts, units, self.min_freq, f"tokenizer of the {side}s")

        if self.shared:
            one = fitted("text", [*sources, *targets])
            return one, one
        return fitted("source", sources), fitted("target", targets)

    def _encoding(self, target: Tokenizer, is_short: bool) -> PairEncoding:
        """Return the encoding; a target of characters is rated by its characters.

        Args:
            target: Tokenizer of the targets.
            is_short: Whether most targets have fewer words than BLEU compares, which gives them 0.
        """
        min_freq = 1 if target.name == "subwords" else self.min_freq
        if target.name in ("characters", "code_points"):
            return PairEncoding(
                "character", "character_error_rate", "min", min_freq, self.max_tokens, unknown=True
            )
        unit: Literal["subword", "word"] = "subword" if target.name == "subwords" else "word"
        if is_short:
            return PairEncoding(unit, "word_error_rate", "min", min_freq, self.max_tokens, unknown=True)
        return PairEncoding(unit, "bleu", "max", min_freq, self.max_tokens, unknown=True)

    @cached_property
    def _check(self) -> Callable[[str], list[str]]:
        """A tokenizer that finds no symbol in a text without any; the final one needs the train texts."""
        if self.unit == "character":
            return list
        if self.tokenizer == "subwords":
            return str.split
        return make_tokenizer("basic_english" if self.tokenizer == "auto" else self.tokenizer)

    def _read(self, part: str, path: Path, groups: Groups) -> TargetsBySource:
        problems, targets_by_source = Problems(path), TargetsBySource()
        columns = (*self.columns, *groups.columns)
        for full_row in Table(path, columns, self.form, distinct=self.columns).rows(problems):
            row = groups.take(part, full_row, problems)
            if self._is_complete(row, problems):
                group = "" if self.group is None else label_text(full_row.values[-1])
                targets = targets_by_source.setdefault((group, row.values[0]), [])
                if row.values[1] not in targets:
                    targets.append(row.values[1])
        problems.check()
        return targets_by_source

    def _is_complete(self, row: Row, problems: Problems) -> bool:
        """Return whether both sides hold a symbol; add a problem if not."""
        before = problems.count
        for column, value in zip(self.columns, row.values, strict=True):
            where = f"{row.where}, column {column}"
            if value is None or value == "":
                problems.add(where, "missing: each row needs a source and a target")
            elif not isinstance(value, str):
                problems.add(where, f"a {type(value).__name__} is not a text")
            elif not self._check(value):
                problems.add(where, f"{value[:40]!r} holds no {self.unit}")
        return problems.count == before


def _words(target: Sequence[str], tokenizer: str) -> int:
    """Return the number of words of a target in symbols."""
    return len(join_tokens(target, tokenizer).split()) if tokenizer == "subwords" else len(target)


def remarks(splits: Splits) -> list[str]:
    """Return a line if most symbols of the sources of a split are unknown."""
    index = splits.task.vocabulary.index(UNKNOWN)
    shares = {
        name: float((getattr(splits, name).inputs.flat == index).float().mean())
        for name in ("train", "validation", "test")
    }
    return unknown_remark(shares, "symbols of the sources", "use data.tokenizer=characters or subwords")
