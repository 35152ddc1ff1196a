"""The user's tagged sentences: CoNLL files, or JSONL with a list of tokens and a list of tags.

Named entities, parts of speech, or any other label of each token. Splits are drawn at random over sentences
unless they have files of their own; a tag that train lacks is then refused.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, FoldCount
from gatescope.data.encoding.spans import has_spans, require_seqeval
from gatescope.data.encoding.text import TextEncoding
from gatescope.data.encoding.tokenizers import Tokenizer, as_token, restore
from gatescope.data.errors import DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.conll_reader import TaggedFile
from gatescope.data.files.labels import Labels, shorten
from gatescope.data.files.sources import source_files, source_notes
from gatescope.data.ragged import Ragged

WordTokenizer = Literal["cased_words", "words", "characters", "split"]


class ConllFile(SequenceData):
    """Tagging of sentences.

    Args:
        path: of the train file, or of the file that all splits are drawn from.
        tokens, tags, encoding: as in `TaggedFile`.
        spans: whether the F1 of spans is reported, by which models are compared; None if the tags mark some.
        validation_path: of a separate validation file, or None.
        test_path: of a separate test file, or None.
        validation: share of the sentences of the train file, used without a `validation_path`.
        test: share of the sentences of the train file, used without a `test_path`.
        folds, fold: as in `Division`, without groups.
        tokenizer: divides a text into tokens in predictions; tokens of the files stay, with words in lower
            case.
        max_tokens, min_freq, vectors, frozen: as in `TextEncoding`.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data in tables, folders and W&B; None for the name of the file.
    """

    def __init__(
        self,
        path: str,
        tokens: str | int | None = None,
        tags: str | int | None = None,
        spans: bool | None = None,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        encoding: str = "utf-8",
        tokenizer: WordTokenizer = "cased_words",
        max_tokens: Annotated[int, Field(ge=3)] | None = None,
        min_freq: Annotated[int, Field(ge=1)] = 2,
        vectors: str | None = None,
        frozen: bool = False,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
        folds: FoldCount = None,
        fold: Fold = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name, self.spans = name, spans
        self.files = source_files(path, validation_path, test_path)
        self.columns, self.charset = (tokens, tags), encoding
        self.division = Division(validation, test, seed, folds, fold)
        self.encoding = TextEncoding(
            max_tokens, min_freq, tokenizer=tokenizer, vectors=vectors, frozen=frozen
        )

    def build(self) -> Splits:
        """Read the files, divide the sentences into splits and encode them."""
        corpus, tags, name = self.encoding.corpus(), _Tags(self.files), self.encoding.tokenizer
        for part, path in self.files.items():
            problems = Problems(path)
            for one in TaggedFile(path, *self.columns, self.charset).sentences(problems):
                if tags.add(part, one.tags, one.where, problems) and not problems.count:
                    corpus.add_tokens([as_token(token, name) for token in one.tokens])
            problems.check()
        targets, names = tags.sequences()
        rows = tags.split(self.division)
        notes = source_notes(self.files) | self.division.notes()
        return self._with_metric(self.encoding.encode(corpus, rows, targets, names, notes, "tagging"))

    def _with_metric(self, splits: Splits) -> Splits:
        """Return the splits with the metric that `spans` asks for."""
        task = splits.task
        if self.spans and not has_spans(task.labels):
            shown = ", ".join(map(shorten, task.labels[:5]))
            raise DataError(
                f"data.spans: given true, and the tags are {shown}: spans are marked by O, B-, I-, E- and S-"
            )
        if self.spans is False:
            return replace(splits, task=replace(task, metric="accuracy"))
        if task.metric == "span_f1":
            require_seqeval()
        return splits

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens."""
        return self._tokenizer(text)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return restore(self.task.tokenizer)


class _Tags(Labels):
    """The tags of each sentence of all files.

    Args:
        files: by part, in the order in which they are read.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__(files, "tagging", "tags")
        self._flat, self._lengths = array("i"), array("i")

    def _problem_of(self, value: Any) -> str:
        return ""  # checked by the reader

    def _append(self, part: str, value: Any, where: str) -> None:
        self._flat.extend([self._index_of(part, tag, where) for tag in value])
        self._lengths.append(len(value))

    def _counts(self, rows: np.ndarray) -> str:
        return f"{len(rows)} sentence(s), which an empty line separates in CoNLL files"

    def sequences(self) -> tuple[Ragged, tuple[str, ...]]:
        """Return the tags of all sentences by their indices, and their names in order.

        Raises:
            DataError: There is one tag only, or a tag does not occur in the train file.
        """
        names = sorted(label for part, label in self._occurrences if part == "train")
        if len(names) < 2:
            raise DataError(f"{self.files['train']}: every token has the tag {names[0]!r}, two are needed")
        for part in self.files:
            self._refuse_unknown(part, set(names))
        order = {name: i for i, name in enumerate(names)}
        of_index = np.array([order[name] for name in self._index])
        flat = torch.from_numpy(of_index[np.frombuffer(self._flat, dtype=np.int32)])
        return Ragged.from_flat(flat, np.frombuffer(self._lengths, dtype=np.int32)), tuple(names)
