"""Tokenizers: what they keep of a text, how they are saved, and the choice by script."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.encoding import tokenizers
from gatescope.data.encoding.scripts import choose
from gatescope.data.encoding.tokenizers import (
    fit_tokenizer,
    join_tokens,
    make_tokenizer,
    restore,
    train_subwords,
)
from gatescope.data.errors import DataError
from gatescope.sequences import UNKNOWN

ODD = [
    "e\u0301",
    "👩\u200d👩\u200d👧",
    "👍🏽",
    "🇯🇵",
    "ก\u0e33",
    "ញ\u17b6",
    "\r\n",
    "한",
    "\u1100\u1161",
    "\u200d",
    "Å",
    " ",
]
"""Characters of several code points, and some that join others."""
TEXT = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=3)), max_size=8).map("".join)

WHITE_SPACE = r"[^\S\x1c-\x1f]"
"""White space of Unicode, which has four separators less than Python's."""

LINES = {
    "Japanese": "今日はとても天気がいいですね。散歩に行きましょう",
    "Thai": "วันนี้อากาศดีมาก ฉันอยากไปเดินเล่นในสวน",
    "Lao": "ມື້ນີ້ອາກາດດີຫຼາຍ",
    "Khmer": "ថ្ងៃនេះអាកាសធាតុល្អណាស់",
    "Burmese": "ဒီနေ့ရာသီဥတုအရမ်းကောင်းတယ်",
    "Chinese with a brand": "这台iPhone 15的屏幕非常好，我很喜欢它的颜色",
    "Tibetan": "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག",
}
WITH_SPACES = {
    "English": "The weather is lovely today",
    "Korean": "오늘은 날씨가 아주 좋습니다",
    "Russian": "Сегодня прекрасная погода",
    "Hindi": "आज मौसम बहुत अच्छा है",
    "Arabic": "الطقس جميل اليوم",
    "Vietnamese": "Hôm nay thời tiết rất đẹp",
    "segmented Chinese": "今天 天气 非常 好 , 我们 去 公园 散步",
    "segmented Thai": "วันนี้ อากาศ ดี มาก ฉัน อยาก ไป เดิน เล่น ใน สวน",
    "English with a quotation": "He wrote 你好 on the wall and left the room without another word",
    "numbers": "3 5 8",
    "nothing": "",
}


@settings(deadline=None, max_examples=300)
@given(TEXT)
def test_characters_lose_and_reorder_nothing(text: str) -> None:
    tokens = make_tokenizer("characters")(text)
    assert "".join(tokens) == text
    assert all(tokens)
    # A mark is never apart from the letter that it stands on.
    for before, token in pairwise(tokens):
        if unicodedata.category(token[0]) == "Mn":
            assert unicodedata.category(before[-1]) in ("Cc", "Cf", "Zl", "Zp"), (before, token)


def test_characters_of_several_code_points_stay_whole() -> None:
    tokens = ["e\u0301", "👩\u200d👩\u200d👧", "👍🏽", "🇯🇵", "ញុំ", "नि", "a", " ", "好"]
    assert make_tokenizer("characters")("".join(tokens)) == tokens


def test_words_of_unicode() -> None:
    text = "Don't pay 3.14 € for naïve cafés! 手机 Zürich… 👍🏽"
    words = ["don't", "pay", "3.14", "€", "for", "naïve", "cafés", "!", "手", "机", "zürich", "…", "👍🏽"]
    assert make_tokenizer("words")(text) == words


@settings(deadline=None, max_examples=100)
@given(TEXT)
def test_words_lose_white_space_alone(text: str) -> None:
    kept = "".join(make_tokenizer("words")(text))
    assert "".join(kept.split()) == "".join(text.lower().split())


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_scripts_without_spaces_are_read_by_character(line: str) -> None:
    assert choose([line, "a few words of English"] * 3).tokenizer == "characters"


@pytest.mark.parametrize("line", WITH_SPACES.values(), ids=WITH_SPACES)
def test_others_are_read_as_before(line: str) -> None:
    assert choose([line] * 3).tokenizer == "basic_english"


def test_the_choice_names_the_script(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert fit_tokenizer("auto", [LINES["Thai"]], None, 1).name == "characters"
    (line,) = caplog.messages
    assert line.startswith(
        "tokenizer: characters, by data.tokenizer=auto: the texts of train are in Thai script"
    )


def test_jieba_finds_words() -> None:
    pytest.importorskip("jieba", reason="extra chinese: pip install -c constraints.txt -e '.[chinese]'")
    assert make_tokenizer("chinese")("我来到北京清华大学 iPhone 好") == [
        "我", "来到", "北京", "清华大学", "iphone", "好",
    ]  # fmt: skip


@pytest.fixture
def library() -> None:
    pytest.importorskip(
        "tokenizers", reason="extra subwords: pip install -c constraints.txt -e '.[subwords]'"
    )


@pytest.mark.usefixtures("library")
def test_subwords_are_pairs_of_train() -> None:
    # Twice each: ▁low and ▁lower, whose parts are merged; once: t, which is not.
    tokenizer = train_subwords(["low low lower", "lower lot"], 100, 2)
    assert tokenizer("low lower, lot") == ["▁low", "▁lower", UNKNOWN, "▁lo", "t"]
    assert join_tokens(tokenizer("lower low"), "subwords") == "lower low"


@pytest.mark.usefixtures("library")
@settings(deadline=None, max_examples=50)
@given(st.lists(TEXT, min_size=1, max_size=5), TEXT, st.integers(1, 2))
def test_subwords_lose_no_letter_and_are_restored(train: list[str], text: str, min_freq: int) -> None:
    tokenizer = train_subwords(train, 60, min_freq)
    again = restore(json.loads(json.dumps(tokenizer.state)))
    assert again(text) == tokenizer(text) == train_subwords(train, 60, min_freq)(text)
    squeezed = re.sub(WHITE_SPACE, "", "".join(train)).replace("▁", "")
    known = "".join(tokenizer("".join(train))).replace("▁", "")
    if "<" not in squeezed and "<unk>" not in known:
        assert known == squeezed


@pytest.mark.usefixtures("library")
def test_the_number_of_subwords_is_limited() -> None:
    train = ["the cat sat on the mat and the dog sat on the cat"] * 3
    small, large = (train_subwords(train, units, 1) for units in (18, 100))
    count = [len(json.loads(one.model)["model"]["vocab"]) for one in (small, large)]
    assert count[0] == 18 < count[1]
    assert len(small(train[0])) > len(large(train[0]))


@pytest.mark.parametrize("name", ["basic_english", "split", "characters", "words"])
def test_a_state_restores_a_tokenizer(name: str) -> None:
    tokenizer = make_tokenizer(name)
    text = "Don't 手机 e\u0301  ok\n"
    assert restore(json.loads(json.dumps(tokenizer.state)))(text) == tokenizer(text)


@pytest.mark.parametrize(("name", "package"), [("chinese", "jieba"), ("subwords", "tokenizers")])
def test_a_missing_package_is_one_message(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizers.require_jieba.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    expected = rf"data.tokenizer={name} needs the package {package}, .*: pip install 'gatescope\[{name}\]'"
    with pytest.raises(DataError, match=expected):
        fit_tokenizer(name, ["a"], None, 1)  # type: ignore[arg-type]
