"""Texts of the user's files: every format, and one message for each kind of invalid file."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.errors import DataError, Problems
from gatescope.data.files.table_reader import Row, Table
from gatescope.data.files.text_file import TextFile

TEXTS = [("good day", "5"), ("bad day", "1")] * 20


def write(path: Path, rows: list[tuple[str, str]], delimiter: str = ",", **options: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, **options)
        writer.writerow(["review", "stars"])
        writer.writerows(rows)
    return path


def load(path: Path, **options: Any) -> TextFile:
    data = TextFile(str(path), **{"text": "review", "label": "stars", "min_freq": 1} | options)
    data.setup()
    return data


def words(data: TextFile) -> list[str]:
    """The texts of all splits as they were tokenised, sorted."""
    assert data.splits is not None
    parts = (data.splits.train, data.splits.validation, data.splits.test)
    return sorted(" ".join(data.task.vocabulary[i] for i in x) for part in parts for x in part.inputs)


def read(path: Path, *columns: str, **options: Any) -> list[Row]:
    problems = Problems(path)
    rows = list(Table(path, columns, **options).rows(problems))
    problems.check()
    return rows


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my.csv"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.tsv.gz", "a.jsonl.gz"])
def test_formats_are_equivalent(tmp_path: Path, name: str) -> None:
    plain = tmp_path / name.removesuffix(".gz")
    if ".jsonl" in name:
        plain.write_text("".join(json.dumps({"stars": int(s), "review": t}) + "\n" for t, s in TEXTS))
    else:
        write(plain, TEXTS, "\t" if ".tsv" in name else ",")
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    data = load(tmp_path / name)
    assert words(data) == sorted(t for t, _ in TEXTS)
    assert data.task.labels == ("1", "5")
    assert data.task.output_size == 1
    assert [len(s) for s in (data.splits.train, data.splits.validation, data.splits.test)] == [32, 4, 4]
    for split in (data.splits.train, data.splits.test):
        for x, label in zip(split.inputs, split.targets.tolist(), strict=True):
            assert data.task.vocabulary[x[0]] == ("bad", "good")[label]


FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=6), st.sampled_from([",", "\t"]), st.booleans())
def test_csv_round_trip(tmp_path_factory, rows, delimiter, crlf) -> None:
    path = tmp_path_factory.mktemp("csv") / ("a.csv" if delimiter == "," else "a.tsv")
    end = "\r\n" if crlf else "\n"
    write(path, rows, delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)  # else it leaves \r bare
    assert [tuple(row.values) for row in read(path, "review", "stars")] == rows


def test_a_byte_order_mark_crlf_and_quoted_line_breaks(path: Path) -> None:
    content = 'review,stars\r\n"good\r\nand ""big""\nday",1\r\nbad,2\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    rows = read(path, "review", "stars")
    assert rows[0] == Row("row 1 (line 2)", ['good\r\nand "big"\nday', "1"])
    assert rows[1] == Row("row 2 (line 5)", ["bad", "2"])


def test_a_line_of_ten_megabytes(path: Path) -> None:
    long = "word " * 2_000_000
    write(path, [(long, "1"), ("short", "2")])
    rows = read(path, "review", "stars")
    assert [len(row.values[0]) for row in rows] == [10_000_000, 5]
    before = csv.field_size_limit()
    assert before < 10_000_000, "the limit is that of others again"


def test_separate_files_and_columns_by_position(tmp_path: Path) -> None:
    for name, texts in (("train", TEXTS), ("test", TEXTS[:6])):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{t}\t{s}\n" for t, s in texts))
    options = {"text": "1", "label": "2", "header": False, "test_path": str(tmp_path / "test.tsv")}
    data = load(tmp_path / "train.tsv", **options)
    assert len(data.splits.test) == 6
    assert len(data.splits.train) + len(data.splits.validation) == len(TEXTS)
    notes = data.task.notes
    assert notes["test_texts_in_train"] == 6
    assert notes["source"] == "train.tsv, test.tsv"


def test_regression(path: Path) -> None:
    write(path, [(t, str(float(s) / 2)) for t, s in TEXTS])
    data = load(path, kind="regression")
    assert (data.task.kind, data.task.metric) == ("regression", "mse")
    assert sorted(set(data.splits.train.targets.tolist())) == [0.5, 2.5]


@pytest.mark.parametrize("options", [{"label": "review"}, {"label": ["stars", "review"]}])
def test_a_text_is_not_its_own_label(path: Path, options: dict[str, Any]) -> None:
    write(path, TEXTS)
    with pytest.raises(DataError, match=r"data\.label: given review, which is data\.text"):
        load(path, **options)


def test_numeric_labels_are_sorted_by_value(path: Path) -> None:
    write(path, [(f"text {n}", n) for n in ("10", "9", "2", "1.0")] * 10)
    assert load(path).task.labels == ("1.0", "2", "9", "10")


def test_shares_limit_and_seed(path: Path) -> None:
    write(path, [(f"text number {i}", str(i % 4)) for i in range(400)])
    first, again, other = (load(path, limit=40, seed=seed) for seed in (0, 0, 1))
    assert [len(s) for s in (first.splits.train, first.splits.validation, first.splits.test)] == [40, 40, 40]
    assert torch.bincount(first.splits.train.targets).tolist() == [10] * 4
    assert words(first) == words(again)
    assert words(first) != words(other)


def test_a_missing_column(path: Path) -> None:
    write(path, TEXTS)
    assert "no column 'reviews', did you mean 'review'? It has: review, stars" in refused(
        path, text="reviews"
    )
    jsonl = path.with_suffix(".jsonl")
    jsonl.write_text('{"text": "a", "stars": 1}\n')
    assert "no column 'review'; It has: text, stars" in refused(jsonl)


def test_missing_labels_are_named_with_row_line_and_column(path: Path) -> None:
    rows = list(TEXTS)
    for i in range(3, 11):
        rows[i] = (rows[i][0], "")
    message = refused(write(path, rows))
    assert "8 problems, the first 5:" in message
    assert message.count("column stars: missing") == 5
    assert "row 4 (line 5), column stars: missing" in message


def test_a_number_that_cannot_be_parsed(path: Path) -> None:
    write(path, [*TEXTS, ("fine", "five"), ("odd", "nan")])
    message = refused(path, kind="regression")
    assert "row 41 (line 42), column stars: 'five' is not a number" in message
    assert "row 42 (line 43), column stars: NaN or infinity" in message


def test_one_class_only(path: Path) -> None:
    message = refused(write(path, [("a", "1")] * 9))
    assert "column stars: all 9 rows have the label '1'" in message


def test_a_label_in_test_that_train_lacks(path: Path) -> None:
    test = write(path.with_name("test.csv"), [("a", "1"), ("b", "3"), ("c", "3")])
    write(path, TEXTS)
    with pytest.raises(DataError) as caught:
        load(path, test_path=str(test))
    assert str(caught.value) == (f"{test}: row 2 (line 3), column stars: label '3' is not in my.csv (2 rows)")


def test_rows_of_another_width(path: Path) -> None:
    path.write_text("review,stars\na,1\nb,2,3\nc\n")
    message = refused(path)
    assert "row 2 (line 3): expected 2 fields, found 3" in message
    assert "row 3 (line 4): expected 2 fields, found 1" in message


def test_too_few_of_a_class(path: Path) -> None:
    message = refused(write(path, [*TEXTS, ("odd", "3")]))
    assert "41 rows of 3 classes in column stars, label '3' in 1 of them, too few to split" in message
    message = refused(write(path, [(f"t {i}", str(i / 7)) for i in range(50)]))
    assert "for numbers use data.kind=regression" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"review,stars\n", "a header without rows"),
        (b"review,stars,stars\na,1,2\n", "the header holds column 'stars' twice"),
        (
            b"review,stars\ncaf\xe9,1\nb,2\n",
            "row 1 (line 2), column review: not utf-8; give the file's encoding",
        ),
        (b'review,stars\n"a,1\nb,2\n', "row 1 (line 2): unexpected end of data; a quoted field"),
        (b'review,stars\n"a"b,1\nb,2\n', "row 1 (line 2): ',' expected after '\"'; a quoted field"),
    ],
)
def test_invalid_tables(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    assert message in refused(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "the file is empty"),
        (b'{"review": "a", "stars": 1}\n{"review": "b"\n', "row 2 (line 2): not JSON: Expecting ','"),
        (b'{"review": "a", "stars": 1}\n[1]\n', "row 2 (line 2): expected a JSON object, found a list"),
        (b'{"review": "a", "stars": 1}\n{"stars": 1}\n', "row 2 (line 2), column review: missing"),
        (b'{"review": 3, "stars": 1}\n', "column review: 3 is not a text"),
        (b'{"review": "a", "stars": null}\n', "column stars: missing"),
        (
            b'{"review": "a", "stars": [1]}\n',
            "column stars: a list of labels: data.kind=multilabel reads them",
        ),
        (b'{"review": "a", "stars": NaN}\n', "column stars: NaN or infinity"),
        (b'{"review": "\\ud800", "stars": 1}\n', "column review: not utf-8"),
        (b"[" * 100_000 + b"\n", "row 1 (line 1): not readable as JSON: nested too deep"),
    ],
)
def test_invalid_jsonl(path: Path, content: bytes, message: str) -> None:
    jsonl = path.with_suffix(".jsonl")
    jsonl.write_bytes(content)
    assert message in refused(jsonl)


def test_unreadable_files(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "its name must end in one of .csv, .tsv, .txt, .json, .jsonl" in refused(tmp_path / "my.xlsx")
    (tmp_path / "folder.csv").mkdir()
    assert "expected a file, this is a folder" in refused(tmp_path / "folder.csv")
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress(b"review,stars\n" + b"some text,1\n" * 9000)[:60])
    assert "the archive cannot be decompressed" in refused(torn)
    torn.write_bytes(b"review,stars\na,1\n")
    assert "the archive cannot be decompressed" in refused(torn)


def test_other_encodings(path: Path) -> None:
    path.write_bytes(b"review,stars\n" + "caf\xe9,1\nth\xe9,2\n".encode("latin-1") * 20)
    assert "café" in words(load(path, encoding="latin-1"))
    with pytest.raises(DataError, match=r"data\.encoding: Python has no encoding latin-7"):
        load(path, encoding="latin-7")


def test_an_empty_text_is_an_unknown_word(path: Path) -> None:
    data = load(write(path, [*TEXTS, ("", "1")]))
    assert data.task.notes["texts_without_tokens"] == 1
    assert "<unk>" in words(data)


def test_memory_is_proportional_to_the_tokens(path: Path) -> None:
    with path.open("w") as file:
        file.write("review,stars\n")
        file.writelines(f"{'word ' * 5}{i % 1000} {'x' * 60},{i % 3}\n" for i in range(10_000))
    load(path)
    tracemalloc.start()
    load(path, limit=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000 * 250


def test_the_command_line_prints_one_message(path: Path, tmp_path: Path) -> None:
    write(path, [("a", "1")] * 9)
    given = ["data=text_file", f"data.path={path}", "data.text=review", "data.label=stars"]
    command = [sys.executable, "train.py", *given, f"root={tmp_path}/runs", "tracking=off"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}, column stars: all 9 rows have the label")
    assert len(done.stderr.splitlines()) == 1
