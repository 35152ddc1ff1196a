"""Sentences of a user's file for a trained tagger: CoNLL or JSONL, read as in the training of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.analysis.commands import UsageError
from gatescope.data.encoding.spans import span_counts, span_types
from gatescope.data.errors import DataError, Problems
from gatescope.data.files.conll_reader import Sentence, TaggedFile
from gatescope.data.files.labels import shorten
from gatescope.trained import Answer, Trained


def sentences(
    trained: Trained,
    path: Path,
    tokens: str | None,
    tags: str | None = None,
    encoding: str | None = None,
    tagged: bool = True,
) -> Iterator[Sentence]:
    """Yield the sentences of a file, and end at the first that cannot be read.

    Args:
        trained: The model.
        path: The file.
        tokens: Name or position of the tokens, in place of that in training.
        tags: Name or position of the tags, in place of that in training.
        encoding: Of the file, in place of that in training.
        tagged: Whether tags are read.

    Raises:
        DataError: A sentence cannot be read, or has a tag that the model does not know.
    """
    data = trained.config.data
    file = TaggedFile(
        path,
        _column(tokens, data.get("tokens")),
        _column(tags, data.get("tags")),
        encoding or str(data.get("encoding", "utf-8")),
        tagged,
    )
    problems, known = Problems(path), set(trained.labels)
    for sentence in file.sentences(problems):
        problems.check()
        if unknown := [tag for tag in sentence.tags if tag not in known]:
            shown = ", ".join(trained.labels[:20])
            raise DataError(
                f"{path}: {sentence.where}: {shorten(unknown[0])} is no tag of the run, which are: {shown}"
            )
        yield sentence
    problems.check()


def _column(given: str | None, trained_with: Any) -> str | int | None:
    """Return the name or the position of a column."""
    if given is None:
        return trained_with if isinstance(trained_with, str | int) else None
    return int(given) if given.lstrip("-").isdigit() else given


def tag_counts(
    trained: Trained, targets: Sequence[Sequence[str]], answers: Sequence[Answer]
) -> dict[str, np.ndarray]:
    """Return for each sentence the numbers of correct and of all tokens, and of spans of each type.

    Columns are correct and scored, and if the model was compared by spans span_hits(TYPE),
    span_predictions(TYPE) and spans(TYPE).

    Raises:
        UsageError: The model is no tagger of texts.
    """
    if trained.task.inputs != "tokens":
        raise UsageError(f"{trained.directory.name} tags series: its own test is what scores it")
    pairs = list(zip(targets, (answer.tags for answer in answers), strict=True))
    columns = {
        "correct": np.array([sum(a == b for a, b in zip(*pair, strict=True)) for pair in pairs]),
        "scored": np.array([len(true) for true, _ in pairs]),
    }
    if trained.task.metric == "span_f1":
        types = span_types(trained.labels)
        counts = np.stack([span_counts(true, predicted, types) for true, predicted in pairs])
        for row, name in enumerate(("span_hits", "span_predictions", "spans")):
            columns |= {f"{name}({one})": counts[:, row, k] for k, one in enumerate(types)}
    return columns
