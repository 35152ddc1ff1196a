"""The choice of a tokenizer by the script of the texts: many languages put no spaces between words.

The choice depends on the texts alone and not on what is installed, so that a config has one result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

WITHOUT_SPACES = (
    "Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Tai_Le",
    "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese", "Balinese", "Yi",
)  # fmt: skip
"""Unicode's names of scripts that are written without spaces between words."""
MAX_TEXTS = 10_000
"""Number of texts that are looked at, at equal distances."""
MAX_CHARACTERS = 1_000
"""Number of characters at the start of a text that are looked at."""
CHARACTERS_PER_SPACE = 8
"""Texts with at least one space for so many characters have been divided into words already. Without that,
Chinese and Japanese have none, and Thai, Khmer and Burmese one for each clause."""


class Choice(NamedTuple):
    """A tokenizer and the reason for it."""

    tokenizer: Literal["basic_english", "characters"]
    reason: str


def choose(texts: Sequence[str]) -> Choice:
    """Return characters for texts without spaces between words, else basic_english.

    Texts count as such if they hold more characters of scripts without spaces than words of other scripts.

    Args:
        texts: of the train split.
    """
    patterns, characters, words, spaces = _patterns(), Counter[str](), 0, 0
    for index in range(0, len(texts), -(-len(texts) // MAX_TEXTS) or 1):
        start = texts[index][:MAX_CHARACTERS]
        words += len(patterns["words"].findall(start))
        if not start.isascii() and patterns["all"].search(start):
            characters.update({s: len(patterns[s].findall(start)) for s in WITHOUT_SPACES})
            spaces += len(patterns["spaces"].findall(start))
    total = characters.total()
    if total <= words:
        return Choice("basic_english", "the texts of train have spaces between words")
    main = characters.most_common(1)[0][0].replace("_", " ")
    if spaces * CHARACTERS_PER_SPACE >= total:
        return Choice("basic_english", f"the texts of train are in {main} script, with spaces between words")
    return Choice("characters", f"the texts of train are in {main} script, without spaces between words")


@cache
def _patterns() -> dict[str, Any]:
    import regex

    script = "".join(rf"\p{{{name}}}" for name in WITHOUT_SPACES)
    patterns = {name: rf"\p{{{name}}}" for name in WITHOUT_SPACES} | {
        "all": f"[{script}]",
        "spaces": rf"(?<=[{script}])\s+(?=[{script}])",
        "words": rf"(?V1)[[\p{{L}}\p{{M}}\p{{N}}]--[{script}]]+",
    }
    return {name: regex.compile(pattern) for name, pattern in patterns.items()}
