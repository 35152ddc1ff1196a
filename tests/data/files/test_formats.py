"""Files as other programs write them: from each format to a run, and from the run to answers."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FAST, Compose
from hypothesis import given, settings
from hypothesis import strategies as st

import gatescope
from gatescope.commands.evaluate import main as evaluate
from gatescope.commands.predict import main as predict
from gatescope.data.errors import DataError, Problems
from gatescope.data.files.table_form import TableForm
from gatescope.data.files.table_reader import Table
from gatescope.data.files.text_file import TextFile
from gatescope.run import RunResult, load_data, run

RNG = random.Random(0)
ROWS = [
    (f"Der {RNG.choice(['Film', 'Kuchen'])} kostet {n},50 Euro, und war gut; naja", "ja")
    if n % 2
    else (f'Ein "Lied", {n}.000,25 Mal gehört, {RNG.choice(["toll", "fein"])}', "nein")
    for n in range(60)
]
"""Texts with commas, semicolons, quotes and decimal commas, and a label."""
TABLE = ("data=text_file", "data.text=Text", "data.label=Note")
POSITIONS = ("data=text_file", "data.text=2", "data.label=1", "data.header=false")


def semicolons(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";").writerows([("Text", "Note"), *ROWS])


def json_objects(path: Path) -> None:
    path.write_text(json.dumps([{"Text": text, "Note": label} for text, label in ROWS], indent=1))


def json_lists(path: Path) -> None:
    path.write_text(json.dumps([[label, text] for text, label in ROWS]))


def lines(path: Path) -> None:
    """The form of the SMS Spam Collection: no header, and a quote is a character."""
    path.write_text("".join(f"{label}\t{text}\n" for text, label in ROWS), encoding="utf-8")


def parquet(path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="extra parquet")
    from pyarrow.parquet import write_table

    table = arrow.table({"Note": [label for _, label in ROWS], "Text": [text for text, _ in ROWS]})
    write_table(table, path, row_group_size=25)


def trained(config: Compose, *overrides: str) -> RunResult:
    return run(config(*FAST, "model.hidden_size=4", "model.embedding_size=4", "instruments=off", *overrides))


def read(path: Path, *columns: str | int, **form: Any) -> list[list[Any]]:
    problems = Problems(path)
    rows = [row.values for row in Table(path, columns or None, TableForm(**form)).rows(problems)]
    problems.check()
    return rows


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("bewertungen.csv", semicolons, TABLE),
        ("reviews.json", json_objects, TABLE),
        ("lists.json", json_lists, POSITIONS),
        ("sms.txt", lines, (*POSITIONS, "data.quoting=false")),
        ("reviews.parquet", parquet, TABLE),
    ],
)
def test_from_a_file_to_answers(
    config: Compose,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    write: Callable[[Path], None],
    words: tuple[str, ...],
) -> None:
    path, out = tmp_path / name, tmp_path / "answers.jsonl"
    write(path)
    result = trained(config, *words, f"data.path={path}", "data.batch_size=16")
    model = gatescope.load(result.directory)
    assert list(model.labels) == ["ja", "nein"]
    expected = [answer.label for answer in model.predict([text for text, _ in ROWS])]
    assert predict([f"run={result.directory}", f"file={path}", f"out={out}"]) == 0, capsys.readouterr().err
    answers = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    text, label = ("2", "1") if "data.header=false" in words else ("Text", "Note")
    assert [(row[text], row[label]) for row in answers] == ROWS
    assert [row["prediction"] for row in answers] == expected
    assert evaluate([f"run={result.directory}", f"file={path}"]) == 0
    right = np.mean([got == label for got, (_, label) in zip(expected, ROWS, strict=True)])
    assert f"{right:.2f}" in capsys.readouterr().out


def test_pairs_of_a_json_array_need_no_names(config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([[f"eins zwei {n}", f"one two {n}"] for n in range(40)]))
    words = ("attention=additive", "model.bidirectional=true", "data.validation=0.1")
    result = trained(config, "data=pairs_file", f"data.path={path}", *words)
    assert result.data.task.target_vocabulary[-1] in "one two " + " ".join(map(str, range(40)))
    out = tmp_path / "answers.csv"
    assert predict([f"run={result.directory}", f"file={path}", f"out={out}"]) == 0
    assert [row[0] for row in read(out, "1")] == [f"eins zwei {n}" for n in range(40)]


@pytest.mark.parametrize("declared", ["@targetlabel true", "@TargetLabel"])
def test_numbers_of_a_ts_file_with_comments(config: Compose, tmp_path: Path, declared: str) -> None:
    path, out = tmp_path / "energy.ts", tmp_path / "answers.csv"
    head = f"% Monash, UEA & UCR\n%\n# another\n@problemName Energy\n@timeStamps false\n{declared}\n@data\n"
    rows = [f"{n},2,3.5:4,{n},6:{n / 4}\n" for n in range(40)]
    path.write_text(head + "% halfway\n".join(("".join(rows[:20]), "".join(rows[20:]))))
    result = trained(config, "data=series_file", "data.kind=regression", f"data.path={path}")
    assert result.data.task.input_size == 2
    assert sorted(
        value
        for split in (result.data.splits.train, result.data.splits.validation, result.data.splits.test)
        for value in split.targets.tolist()
    ) == [n / 4 for n in range(40)]
    assert predict([f"run={result.directory}", f"file={path}", f"out={out}"]) == 0
    assert len(out.read_text().splitlines()) == 41


SAFE = st.text(st.characters(categories=["L", "N", "P"], exclude_characters='"'), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(SAFE, SAFE, SAFE), min_size=1, max_size=8),
    st.sampled_from(";\t|,"),
    st.sampled_from([".csv", ".txt"]),
)
def test_a_delimiter_of_which_the_header_tells_is_found(tmp_path_factory, rows, delimiter, suffix) -> None:
    path = tmp_path_factory.mktemp("found") / f"a{suffix}"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([("id", "text", "label"), *rows])
    assert [tuple(row) for row in read(path, "id", "text", "label")] == rows


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.tsv"])
def test_decimal_commas_are_no_delimiter(tmp_path: Path, name: str) -> None:
    rows = [[f"Guten Tag, es kostet {n},50 Euro", str(n)] for n in range(30)]
    path = tmp_path / name
    path.write_text("".join(f"{text};{n}\n" for text, n in rows))
    assert read(path, 1, 2, header=False) == rows
    assert read(path, 1, header=False, delimiter="|", quoting=False) == [[";".join(row)] for row in rows]


@pytest.mark.parametrize(
    ("delimiter", "values", "read_as"),
    [
        (";", ["1234,5", "1.234,50", "2.000", " -3,25 ", "7", "8.5"], [1234.5, 1234.5, 2000, -3.25, 7, 8.5]),
        (";", ["1.234", "2.5"], [1.234, 2.5]),  # no decimal comma in the file
        (";", ["0,5", "1,2,3"], "'1,2,3' is not a number"),
        ("\t", ["0.5", "1,234"], "'1,234' is not a number"),
    ],
)
def test_decimal_commas_of_a_regression(
    tmp_path: Path, delimiter: str, values: list[str], read_as: list[float] | str
) -> None:
    path = tmp_path / "a.csv"
    rows = values * 10
    path.write_text("text;price;size\n".replace(";", delimiter))
    with path.open("a") as file:
        csv.writer(file, delimiter=delimiter).writerows([f"word {n}", one, one] for n, one in enumerate(rows))
    for label in ("price", ["price", "size"]):
        data = TextFile(str(path), label=label, kind="regression", validation_path=str(path))
        if isinstance(read_as, str):
            with pytest.raises(DataError, match=read_as[:7]):
                data.setup()
        else:
            data.setup()
            assert data.splits is not None
            targets = data.splits.validation.targets.reshape(len(rows), -1)
            assert targets[:, 0].tolist() == pytest.approx(read_as * 10)
            assert targets[:, -1].tolist() == pytest.approx(read_as * 10)


@pytest.mark.parametrize(
    ("decimal", "thousands", "values", "read_as"),
    [
        ("comma", "auto", ["0,5", "1.234", "1.234,50", "-3", "2,5e3"], [0.5, 1234, 1234.5, -3, 2500]),
        ("point", "auto", ["750.000", "0.5"], [750, 0.5]),
        ("auto", "point", ["750.000", "1.250"], [750_000, 1250]),
        ("auto", "comma", ["1,234", "1,234.5"], [1234, 1234.5]),
        ("comma", "blank", ["1 234,5", "1\u202f234\u00a0567"], [1234.5, 1_234_567]),
        ("point", "apostrophe", ["1'234.5", "1’234"], [1234.5, 1234]),
        ("comma", "none", ["1,5", "1.234"], "row 2 .*column price: '1.234' is not a number as data.decimal"),
        ("comma", "auto", ["1,5", "1.5"], "row 2 .*column price: '1.5' is not a number"),
        ("point", "comma", ["1.5", "12,34"], "row 2 .*column price: '12,34' is not a number"),
        ("point", "auto", ["1.5", "1,5"], "row 2 .*column price: '1,5' is not a number"),
    ],
)
def test_the_marks_of_numbers_that_are_given(
    tmp_path: Path, decimal: Any, thousands: Any, values: list[str], read_as: list[float] | str
) -> None:
    path, rows = tmp_path / "a.tsv", values * 20
    path.write_text("text\tprice\n" + "".join(f"word {n}\t{one}\n" for n, one in enumerate(rows)))
    data = TextFile(
        str(path),
        label="price",
        kind="regression",
        validation_path=str(path),
        decimal=decimal,
        thousands=thousands,
    )
    if isinstance(read_as, str):
        with pytest.raises(DataError, match=read_as):
            data.setup()
        return
    data.setup()
    assert data.splits is not None
    assert data.splits.validation.targets.tolist() == pytest.approx(read_as * 20)


def test_two_equal_marks_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.thousands: given comma, which is data\.decimal"):
        TextFile("a.csv", decimal="comma", thousands="comma")


def test_what_the_class_of_the_data_refuses_is_its_message(config: Compose) -> None:
    with pytest.raises(DataError, match=r"^data\.label: given a, which is data\.text"):
        load_data(config("data=text_file", "data.path=x.csv", "data.text=a", "data.label=a"))


@pytest.mark.parametrize("columns", [{"label": 1}, {"text": 2}, {"label": [2, 1], "kind": "regression"}])
def test_a_column_by_its_name_and_by_its_position_is_one_column(tmp_path: Path, columns: Any) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"word {n},{n % 2}\n" for n in range(40)))
    with pytest.raises(DataError, match=r"(text and 1|2 and label) are one column, '(text|label)'"):
        TextFile(str(tmp_path / "a.csv"), **columns).setup()


def test_sentences_one_a_line_are_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    sentences = ["Well, yes", "no", "first, second, third", "perhaps; or not", "fine"]
    path.write_text("\n".join(sentences))
    assert read(path, header=False) == [[sentence] for sentence in sentences]


def test_quotes_that_are_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"open\t1\nan "inner" one\t2\n')
    with pytest.raises(DataError, match=r"data\.quoting=false reads quotes as other characters"):
        read(path, "text", "label")
    assert read(path, "text", "label", quoting=False) == [['"open', "1"], ['an "inner" one', "2"]]


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        ("a;b;c\n1;2;3\n", "text", "no column 'text'; It has: a, b, c"),
        ("text^label\na^b\n", "label", "no column 'label', did you mean 'text^label'? It has: text^label"),
        ("text;label\n" + "a;b;c\n" * 9, "label", "text;label; if these are several columns, give data.del"),
        ("a,b\n1,2\n", 0, "no column 0, positions are counted from 1: a, b"),
        ("a,b\n1,2\n", 3, "no column 3, there are 2: a, b"),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, content: str, column: str | int, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError) as refused:
        read(path, column)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("[]", "the file is empty"),
        ('[{"text": "a"},', "a.json: not JSON: "),
        ('[{"text": "a"}, 3]', "row 2: expected a JSON object or array, found a int"),
        ('[["a"], ["a", "b"]]', "row 2: expected 1 fields, found 2"),
        ('[{"text": "a"}, {"txt": "b"}]', "row 2, column text: missing"),
        ('{"text": ["a", "b"]', "a .json file holds an array of objects or arrays, or one of them a line"),
        ('[["a"], {"text": "b"}]', "row 2: expected a JSON array, found a dict"),
    ],
)
def test_invalid_json(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(DataError) as refused:
        read(path, "text")
    assert message in str(refused.value)


def test_json_lines_in_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n')
    assert read(path, "text") == [["a"], ["b"]]
    path.write_text('["a", "x"]\n["b", "y"]\n')
    assert read(path, "source", "target") == [["a", "x"], ["b", "y"]]


def test_parquet_keeps_values_and_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not readable as Parquet"):
        read(path)
    arrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(arrow.table({"text": ["a", None], "label": [1.5, 2]}), path)
    assert read(path, "label", "text") == [[1.5, "a"], [2.0, None]]


def test_parquet_without_pyarrow_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"pip install -c constraints.txt -e '.\[parquet\]'"):
        read(tmp_path / "a.parquet")
