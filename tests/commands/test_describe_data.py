"""`gatescope data` describes the data as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatescope.commands.data import main


def test_a_dataset_of_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.csv"
    rows = [f"{'word ' * (i % 7 + 1)},{'ab'[i % 4 == 0]}\n" for i in range(200)]
    path.write_text("text,label\n" + "".join(rows))
    assert main(["data=text_file", f"data.path={path}", f"out={tmp_path}/out"]) == 0
    told = capsys.readouterr().out
    assert "classification of tokens: 3 in, 1 out, compared on accuracy" in told
    assert "     train       160      1      1      4      7      7" in told
    assert "a   75.0 %   75.0 %   75.0 %" in told
    assert "padding in batches of 64: " in told
    assert told.count("-> ") == 3
    assert (tmp_path / "out" / "my.png").read_bytes().startswith(b"\x89PNG")


def test_texts_of_characters_are_shown_as_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "zh.csv"
    path.write_text("text,label\n" + "今天电影很好看,a\n今天饭菜很差,b\n" * 40, encoding="utf-8")
    assert main(["data=text_file", f"data.path={path}", f"out={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "tokenizer: characters\n" in told
    assert told.count(": 今天电影很好看 -> a\n") + told.count(": 今天饭菜很差 -> b\n") == 3


def test_a_dataset_of_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data=adding", "data.train=20", "data.validation=9", "data.test=9", f"out={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "regression of features: 2 in, 1 out, compared on mse" in told
    assert "train 0: (100, 2) starts with [" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=none"], "none"),
        (["data=text_file"], "data.path: needs a value"),
        (["data=text_file", "data.path=none.csv"], "none.csv: no such file"),
    ],
)
def test_what_is_wrong(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err
