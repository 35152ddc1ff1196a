"""Predict with a trained run: gatescope predict run=gru-none-reviews-s0-1a2b3c4d file=new.csv out=answers.csv

    run=RUN          the run, by its id or by its directory
    file=PATH        a table of texts (.csv, .tsv, .txt, .json or .jsonl, also .gz, or .parquet), or series
                     (.npz or .ts), or a recording, a folder of recordings or a table of their paths; or
    text=TEXT        one text; without file and text, every line of standard input is a text
    out=PATH         write the answers to this file (.csv, .tsv or .jsonl, also .gz; default: standard output)
    column=NAME      column of the texts, its name or its position from 1, or array of the series (default:
                     the one that the run was trained on)
    header=BOOL      whether delimited text has a header (default: as in training)
    encoding=NAME    encoding of the file (default: as in training)
    delimiter=NAME   auto, comma, semicolon, tab, pipe, or one character (default: as in training)
    quoting=BOOL     whether a field may stand between quotes (default: as in training)
    prefix=TEXT      start of the names of the new columns, if the file has columns of these names
    batch_size=N     texts that the model reads at once (default: 256)
    device=NAME      device of the model, such as cuda (default: cpu)
    root=PATH        where ids are searched (default: the environment variable RUNS_DIR, else runs)
    trust=true       let the record run code outside this package; only for records that you know

The answers are the rows of the file (of series: their index) with the new columns prediction, p(CLASS) for
each class or label, and warning; of several outputs prediction(NAME) for each. Several labels are separated
as in training and tags by blanks; in .jsonl both are lists. A tagger reads the tokens of CoNLL and .jsonl
files, and the texts of a .csv.
A text of which the model can read nothing, because it is empty or has unknown words only, gets an answer and
a warning. Rows are read and written one after the other, so that files may be of any size; out is complete or
not written. Exit code: 0 done, 1 the run or the file cannot be used, 2 wrong arguments.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO

import torch
from pydantic import Field

from gatescope.analysis.commands import UsageError
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.commands.recordings import recordings
from gatescope.commands.series_rows import series_rows
from gatescope.commands.text_rows import (
    TEXT_KEYS,
    check_reads_texts,
    checked_rows,
    column_of,
    target_tokenizer,
    text_or_none,
    text_position,
)
from gatescope.data.encoding.targets import SEPARATORS
from gatescope.data.encoding.tokenizers import join_tokens
from gatescope.data.files.table_form import DEFAULT_DELIMITERS, Delimiter, TableForm, table_suffix
from gatescope.data.files.table_reader import Table
from gatescope.model_inputs import ModelInput
from gatescope.trained import Answer, Trained

WRITTEN = (".csv", ".tsv", ".jsonl")
"""Suffixes of the tables that are written."""
Write = Callable[[Sequence[Any]], object]
"""Writes the values of a row."""
Join = Callable[[Sequence[str]], str]
"""Makes a text of symbols."""
Show = Callable[[Answer], Any]
"""Returns what the column prediction holds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope predict` and return its exit code."""
    return execute(predict, __doc__, arguments)


def predict(
    *,
    run: Text,
    file: Text | None = None,
    text: str | None = None,
    out: Text | None = None,
    column: Text | None = None,
    header: bool | None = None,
    encoding: Text | None = None,
    delimiter: Delimiter | None = None,
    quoting: bool | None = None,
    prefix: str = "",
    batch_size: Annotated[int, Field(ge=1)] = 256,
    device: Text = "cpu",
    root: Text | None = None,
    trust: bool = False,
) -> str | None:
    """Write the answers, and return what is printed last; None for nothing.

    Raises:
        UsageError: Arguments do not fit together.
        DataError: The file cannot be used.
    """
    if file is not None and text is not None:
        raise UsageError("give file=… or text=…, not both")
    if file is None and text is None and sys.stdin.isatty():
        raise UsageError("give file=…, text=… or texts on standard input, one a line")
    if out is not None:
        table_suffix(Path(out), WRITTEN)  # an unknown one is reported before anything is computed
    import gatescope

    trained = gatescope.load(run, root or runs_dir(), device, trust)
    if trained.task.kind == "tagging" and file is not None and Path(file).suffix.lower() != ".csv":
        source = _sentences(trained, Path(file).expanduser(), column, encoding)
    elif trained.task.sound and (file or text) is not None:
        paths = [str(text)] if file is None else recordings(trained, Path(file).expanduser(), column)
        source = Source(("file",), (([path], path) for path in paths))
    elif trained.task.inputs == "features" and file is not None:
        source = _series(trained, Path(file).expanduser(), column)
    else:
        check_reads_texts(trained)
        if text is not None and out is None:
            return _as_text(trained, trained.predict(text)[0])
        name = column_of(trained.config, TEXT_KEYS, column)
        if file is not None:
            given = {"header": header, "encoding": encoding, "delimiter": delimiter, "quoting": quoting}
            source = _table(
                Table(Path(file).expanduser(), form=TableForm.of(trained.config.data, **given)), name
            )
        else:
            lines = [text] if text is not None else (line.rstrip("\r\n") for line in sys.stdin)
            source = Source((name,), (([line], line) for line in lines))
    new = [prefix + name for name in _new_columns(trained)]
    if clash := sorted(set(new) & set(source.names)):
        raise UsageError(f"there is a column {clash[0]!r} already: name the new ones by prefix=model_")
    is_json = out is not None and table_suffix(Path(out)) == ".jsonl"
    show = partial(_prediction, trained, _joining(trained), is_json)
    with _writer(out, (*source.names, *new)) as write:
        count = _write_answers(trained, source, batch_size, show, write)
    return f"{out}: {count} answers" if out is not None else None


class Source(NamedTuple):
    """The rows to predict.

    Attributes:
        names: Names of the columns.
        rows: Values of each row, and what the model reads of it.
    """

    names: tuple[str, ...]
    rows: Iterator[tuple[Sequence[Any], ModelInput]]


def _table(table: Table, column: str) -> Source:
    """Return the rows of a file."""
    names = table.names()
    position = text_position(table, names, column)
    rows = (row.values for row in checked_rows(table))
    return Source(names, ((values, text_or_none(values[position])) for values in rows))


def _sentences(trained: Trained, path: Path, column: str | None, encoding: str | None) -> Source:
    """Return the sentences of a file of tokens."""
    from gatescope.commands.tagged_rows import sentences  # imports scikit-learn

    rows = sentences(trained, path, column, encoding=encoding, tagged=False)
    return Source(("tokens",), (([" ".join(row.tokens)], row.tokens) for row in rows))


def _series(trained: Trained, path: Path, column: str | None) -> Source:
    """Return the series of a file with their numbers from 0."""
    rows = enumerate(series_rows(path, trained.config, column))
    return Source(("index",), (([i], torch.from_numpy(row.values)) for i, row in rows))


def _write_answers(trained: Trained, source: Source, batch_size: int, show: Show, write: Write) -> int:
    """Write each row with its answer; return their number."""
    rows, same_rows = tee(source.rows)  # the model reads some batches ahead
    answers = trained.predict_iter((value for _, value in same_rows), batch_size)
    count = 0
    for (values, _), answer in zip(rows, answers, strict=True):
        probabilities = [float(f"{value:.6g}") for value in answer.probabilities.values()]
        shown = list(answer.values.values()) or [show(answer)]
        write([*values, *shown, *probabilities, answer.warning])
        count += 1
    return count


def _new_columns(trained: Trained) -> list[str]:
    """Return the names of the columns of an answer."""
    classes = trained.labels if trained.task.kind == "classification" else []
    if trained.task.kind == "regression" and trained.task.output_size > 1:
        return [*(f"prediction({name})" for name in trained.labels), "warning"]
    return ["prediction", *(f"p({name})" for name in classes), "warning"]


def _prediction(trained: Trained, join: Join, is_json: bool, answer: Answer) -> Any:
    """Return the class, the labels, the tags, the value, or the generated symbols as a text."""
    if trained.task.kind == "transduction":
        return join(answer.symbols)
    if trained.task.kind == "tagging":
        return answer.tags if is_json else " ".join(answer.tags)
    if trained.task.multilabel:
        separator = str(trained.config.data.get("label_separator", ","))
        return answer.labels if is_json else SEPARATORS.get(separator, separator).join(answer.labels)
    return answer.label if answer.value is None else answer.value


def _joining(trained: Trained) -> Join:
    """Return the function that makes a text of generated symbols."""
    if trained.task.kind != "transduction":
        return " ".join
    return partial(join_tokens, name=target_tokenizer(trained))


def _as_text(trained: Trained, answer: Answer) -> str:
    """Return an answer as lines: the prediction, the probabilities, the warning."""
    prediction = _prediction(trained, _joining(trained), False, answer)
    lines = [f"{prediction:.6g}" if isinstance(prediction, float) else str(prediction)]
    if answer.tags:
        lines = [f"{token}\t{tag}" for token, tag in zip(answer.tokens, answer.tags, strict=True)]
    if answer.values:
        lines = [f"{name}\t{value:.6g}" for name, value in answer.values.items()]
    ordered = sorted(answer.probabilities.items(), key=lambda item: -item[1])
    lines += [f"  {probability:6.1%}  {name}" for name, probability in ordered]
    return "\n".join([*lines, *([f"  warning: {answer.warning}"] if answer.warning else [])])


@contextmanager
def _writer(out: str | None, names: Sequence[str]) -> Iterator[Write]:
    """Yield the function that writes a row; a file is replaced when all rows are written."""
    if out is None:
        yield _row_writer(sys.stdout, ".csv", names)
        return
    path = Path(out).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(partial, "wt", encoding="utf-8", newline="") as file:
            yield _row_writer(file, table_suffix(path, WRITTEN), names)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _row_writer(file: TextIO, suffix: str, names: Sequence[str]) -> Write:
    """Return the function that writes a row in the format of a suffix."""
    if suffix == ".jsonl":
        return lambda row: file.write(
            json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n"
        )
    table = csv.writer(file, delimiter=DEFAULT_DELIMITERS[suffix], lineterminator="\n")
    table.writerow(names)
    return table.writerow
