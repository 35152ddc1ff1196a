"""Evaluate a trained run on another file: gatescope evaluate run=gru-none-reviews-s0-1a2b3c4d file=other.csv

    run=RUN          the run, by its id or by its directory
    file=PATH        a table of texts with their labels or values (.csv, .tsv, .txt, .json or .jsonl, also
                     .gz, or .parquet), or series with theirs (.npz or .ts), or tagged sentences (CoNLL or
                     .jsonl), or recordings with transcripts: a table, or a folder as LibriSpeech's
    out=PATH         also write everything to this file as JSON
    column=NAME      column of the texts, its name or its position from 1, or array of the series (default:
                     the one that the run was trained on)
    label=NAME       column or array of the labels, values or targets (default: as for column)
    header=BOOL      whether delimited text has a header (default: as in training)
    encoding=NAME    encoding of the file (default: as in training)
    delimiter=NAME   auto, comma, semicolon, tab, pipe, or one character (default: as in training)
    quoting=BOOL     whether a field may stand between quotes (default: as in training)
    decimal=NAME     mark before the decimals of numbers: auto, point or comma (default: as in training)
    thousands=NAME   mark between thousands: auto, none, point, comma, blank or apostrophe (default: as in
                     training)
    batch_size=N     texts that the model reads at once (default: 256)
    device=NAME      device of the model, such as cuda (default: cpu)
    root=PATH        where ids are searched (default: the environment variable RUNS_DIR, else runs)
    trust=true       let the record run code outside this package; only for records that you know

Prints the scores of the task with 95 % intervals over the examples of the file, and for a classification
precision, recall and F1 of each class or label, and the confusion matrix of classes. Every row counts, also
those whose text is empty or unknown; pairs with one source are one example with several accepted targets.
Exit code: 0 done, 1 the run or the file cannot be used, 2 wrong arguments.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from gatescope import evaluation
from gatescope.analysis import error_tables
from gatescope.analysis.commands import UsageError
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.commands.recordings import transcribed
from gatescope.commands.series_rows import series_rows
from gatescope.commands.tagged_rows import sentences, tag_counts
from gatescope.commands.text_rows import (
    TEXT_KEYS,
    checked_rows,
    column_of,
    target_columns,
    target_tokenizer,
    text_or_none,
)
from gatescope.data.encoding.tokenizers import join_tokens, make_tokenizer
from gatescope.data.errors import DataError
from gatescope.data.files.labels import label_text, shorten, to_number
from gatescope.data.files.number_form import Decimal, Thousands
from gatescope.data.files.table_form import Delimiter, TableForm
from gatescope.data.files.table_reader import Table
from gatescope.data.files.target_columns import flags, split_labels
from gatescope.model_inputs import ModelInput
from gatescope.trained import Answer, Trained


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope evaluate` and return its exit code."""
    return execute(evaluate, __doc__, arguments)


def evaluate(
    *,
    run: Text,
    file: Text,
    out: Text | None = None,
    column: Text | None = None,
    label: Text | None = None,
    header: bool | None = None,
    encoding: Text | None = None,
    delimiter: Delimiter | None = None,
    quoting: bool | None = None,
    decimal: Decimal | None = None,
    thousands: Thousands | None = None,
    batch_size: Annotated[int, Field(ge=1)] = 256,
    device: Text = "cpu",
    root: Text | None = None,
    trust: bool = False,
) -> str:
    """Return the scores as text, and write them if `out` is given.

    Raises:
        UsageError: The model has another kind of task.
        DataError: The file cannot be used.
    """
    import gatescope

    trained = gatescope.load(run, root or runs_dir(), device, trust)
    if trained.task.kind == "next_step":
        raise UsageError(f"{trained.directory.name} predicts the next step: its own test is what scores it")
    path = Path(file).expanduser()
    examples: Iterable[tuple[ModelInput, Any]]
    if trained.task.kind == "tagging":
        examples = ((one.tokens, one.tags) for one in sentences(trained, path, column, label, encoding))
    elif trained.task.inputs == "tokens":
        given = {"header": header, "encoding": encoding, "delimiter": delimiter, "quoting": quoting}
        given |= {"decimal": decimal, "thousands": thousands}
        examples = _texts(trained, path, column, label, TableForm.of(trained.config.data, **given))
    elif trained.task.sound:
        examples = transcribed(trained, path, column, label)
    else:
        examples = _series(trained, path, column, label)
    if trained.task.kind == "transduction":
        examples = _accepted(examples).items()
    inputs, targets = zip(*examples, strict=True)
    answers = trained.predict(inputs, batch_size)
    predictions = _predictions(trained, targets, answers)
    scores = evaluation.scores_of(trained.task, predictions)
    what_kind = "recordings" if trained.task.sound else "series"
    what_kind = "texts" if trained.task.inputs == "tokens" else what_kind
    warnings = Counter(answer.warning.split(" to ")[0] for answer in answers if answer.warning)
    head = f"{trained.directory.name} on {path}"
    parts = [head, error_tables.terminal(evaluation.tables(predictions, scores))]
    parts += [f"{count} of {len(answers)} {what_kind}: {what}" for what, count in warnings.most_common()]
    if out is not None:
        content = {"run": trained.directory.name, "file": str(path), "warnings": dict(warnings)}
        content |= evaluation.as_json(predictions, scores)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        parts.append(out)
    return "\n\n".join(parts)


def _texts(
    trained: Trained, path: Path, column: str | None, label: str | None, form: TableForm
) -> Iterator[tuple[ModelInput, Any]]:
    """Yield the text and the target of each row."""
    text, labels = column_of(trained.config, TEXT_KEYS, column), target_columns(trained.config, label)
    numbers = tuple(labels) if trained.task.kind == "regression" else ()
    for row in checked_rows(Table(path, (text, *labels), form, numbers, (text, *labels))):
        first, *rest = row.values
        target = _target(trained, rest, f"{path}: {row.where}, column {', '.join(labels)}")
        yield text_or_none(first), target


def _series(trained: Trained, path: Path, x: str | None, y: str | None) -> Iterator[tuple[ModelInput, Any]]:
    """Yield each series with its target."""
    for row in series_rows(path, trained.config, x, y, labelled=True):
        values = row.label if isinstance(row.label, list) else [row.label]
        yield torch.from_numpy(row.values), _target(trained, values, f"{path}: label of {row.where}")


def _target(trained: Trained, values: Sequence[Any], where: str) -> Any:
    """Return the true class, labels, value or target of an example.

    Args:
        trained: The model.
        values: What the columns of the labels hold.
        where: Place of the example.

    Raises:
        DataError: It is missing, or none of the task.
    """
    if trained.task.kind == "classification" and trained.task.multilabel:
        return _label_set(trained, values, where)
    value = values[0]
    if trained.task.kind == "regression":
        if len(values) != trained.task.output_size:
            expected = ", ".join(trained.labels)
            raise DataError(f"{where}: {len(values)} number(s), and the run has the outputs {expected}")
        numbers = [_number(one, where) for one in values]
        return numbers if len(numbers) > 1 else numbers[0]
    text = "" if value is None else label_text(value)
    if not text:
        raise DataError(f"{where}: missing")
    if trained.task.kind == "classification" and text not in trained.labels:
        known = ", ".join(trained.labels[:20])
        raise DataError(f"{where}: {shorten(text)} is no class of the run, which are: {known}")
    return text


def _number(value: Any, where: str) -> float:
    """Return a true value as a number."""
    number = to_number(value)
    if number is None or not math.isfinite(number):
        raise DataError(f"{where}: {shorten(value)} is not a number")
    return number


def _label_set(trained: Trained, values: Sequence[Any], where: str) -> list[str]:
    """Return the true labels of an example in the order of the task."""
    names = trained.labels
    separator = str(trained.config.data.get("label_separator", ","))
    found = flags(values, names) if len(values) == len(names) else split_labels(values[0], separator)
    if found is None or values[0] is None:
        raise DataError(f"{where}: {shorten(values)} holds no labels")
    if unknown := set(found) - set(names):
        known = ", ".join(names[:20])
        raise DataError(f"{where}: {shorten(min(unknown))} is no label of the run, which are: {known}")
    return [name for name in names if name in found]


def _predictions(trained: Trained, targets: Sequence[Any], answers: Sequence[Answer]) -> pd.DataFrame:
    """Return a table as `gatescope.tracking.predictions` describes it."""
    if trained.task.kind == "classification" and trained.task.multilabel:
        return _label_predictions(trained, targets, answers)
    if trained.task.kind == "classification":
        labels = trained.labels
        table = pd.DataFrame(
            {
                "loss": [
                    -math.log(max(a.probabilities[t], 1e-38)) for t, a in zip(targets, answers, strict=True)
                ],
                "target": list(targets),
                "prediction": [answer.label for answer in answers],
            }
        )
        return table.assign(**{f"p({name})": [a.probabilities[name] for a in answers] for name in labels})
    if trained.task.kind == "regression" and trained.task.output_size > 1:
        columns = {}
        for k, name in enumerate(trained.labels):
            columns[f"target({name})"] = [target[k] for target in targets]
            columns[f"prediction({name})"] = [answer.values[name] for answer in answers]
        return pd.DataFrame(columns)
    if trained.task.kind == "regression":
        table = pd.DataFrame({"target": targets, "prediction": [answer.value for answer in answers]})
        return table.assign(loss=(table.prediction - table.target) ** 2)
    if trained.task.kind == "tagging":
        return pd.DataFrame(tag_counts(trained, targets, answers))
    return pd.DataFrame(_edits(trained, targets, answers))


def _label_predictions(
    trained: Trained, targets: Sequence[list[str]], answers: Sequence[Answer]
) -> pd.DataFrame:
    """Return true and predicted labels, their probabilities, and the mean cross-entropy over the labels."""
    names = trained.labels
    probabilities = np.array([[answer.probabilities[name] for name in names] for answer in answers])
    true = np.array([[name in target for name in names] for target in targets])
    losses = -np.log(np.where(true, probabilities, 1 - probabilities).clip(min=1e-38)).mean(1)
    columns = {"targets": targets, "predictions": [answer.labels for answer in answers]}
    as_json = {
        name: [json.dumps(one, ensure_ascii=False) for one in lists] for name, lists in columns.items()
    }
    table = pd.DataFrame({"loss": losses} | as_json)
    return table.assign(**{f"p({name})": probabilities[:, k] for k, name in enumerate(names)})


def _accepted(examples: Iterable[tuple[ModelInput, Any]]) -> dict[Any, list[str]]:
    """Return the targets of each source: as in training, rows with one source are one example."""
    result: dict[Any, list[str]] = {}
    for source, target in examples:
        if target not in (targets := result.setdefault(source, [])):
            targets.append(target)
    return result


def _edits(
    trained: Trained, targets: Sequence[list[str]], answers: Sequence[Answer]
) -> Iterator[dict[str, Any]]:
    """Yield each generated sequence with its accepted targets, its edits, and the symbols of the nearest."""
    from gatescope.training.transduction import edits, nearest

    name = target_tokenizer(trained)
    lower = bool(trained.config.data.get("lower"))

    def as_target(text: str) -> str:
        if name == "subwords":
            return " ".join((text.lower() if lower else text).split())
        return _spaced(make_tokenizer(name)(text))

    for accepted, answer in zip(targets, answers, strict=True):
        found = join_tokens(answer.symbols, name) if name == "subwords" else _spaced(answer.symbols)
        first, *rest = texts = [as_target(text) for text in accepted]
        true = nearest(found, texts)
        counts = {"errors": edits(found, true), "symbols": len(true.split())}
        yield counts | {"target": first, "prediction": found, "also": json.dumps(rest) if rest else ""}


def _spaced(symbols: Iterable[str]) -> str:
    """Return symbols with spaces between them; one that is itself a space becomes ␣."""
    return " ".join(symbol.replace(" ", "␣") for symbol in symbols)
