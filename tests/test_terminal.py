"""Columns of texts in a terminal."""

from __future__ import annotations

import pytest

from gatescope.terminal import cells, pad, pad_left


@pytest.mark.parametrize(
    ("text", "size"), [("abc", 3), ("电影", 4), ("ทั้", 1), ("カｶ", 3), ("e\u0301", 1), ("한", 2), ("", 0)]
)
def test_the_width_of_a_text(text: str, size: int) -> None:
    assert cells(text) == size
    assert pad(text, 6) == text + " " * (6 - size)
    assert pad_left(text, 6) == " " * (6 - size) + text
    assert pad(text, 0) == pad_left(text, 0) == text
