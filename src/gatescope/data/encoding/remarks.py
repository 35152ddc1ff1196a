"""What a model cannot read of the user's texts: one line each, with the remedy, printed and recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from gatescope.data.encoding.text import SPLITS, TextEncoding
from gatescope.data.errors import DataError

log = logging.getLogger(__name__)

TOO_MANY = 0.5
"""Share of unknown tokens, or of empty texts, above which a split is remarked on."""


def check_texts(notes: dict[str, Any], encoding: TextEncoding, source: str, column: str) -> None:
    """Print remarks on encoded texts and add them to the notes, as `remarks`.

    Args:
        notes: of `TextEncoding.encode`.
        encoding: settings that the texts were encoded with.
        source: of the texts, the start of an error message.
        column: of the texts.

    Raises:
        DataError: no token of train is known.
    """
    if notes["train_texts_empty"] == notes["train_texts"]:
        raise DataError(f"{source}, column {column}: all texts of train are empty; give the column of texts")
    if notes["train_unknown_share"] == 1:
        raise DataError(
            f"{source}, column {column}: every token of train is <unk>, a model would read nothing; "
            f"{_remedy(encoding)}"
        )
    notes["remarks"] = [*_empty(notes, column), *_unknown(notes, encoding), *_cut(notes, encoding)]
    print_remarks(notes["remarks"])


def print_remarks(remarks: list[str]) -> None:
    """Print remarks, one line each."""
    for remark in remarks:
        log.warning("%s", remark)


def unknown_remark(shares: Mapping[str, float], what: str, remedy: str) -> list[str]:
    """Return the line on the splits with too many unknown tokens; nothing if there are none.

    Args:
        shares: unknown tokens of each split.
        what: the tokens, in plural.
        remedy: end of the line.
    """
    shown = [f"{_percent(share)} of {split}" for split, share in shares.items() if share > TOO_MANY]
    return [f"most {what} are <unk>, too rare or not in train: {', '.join(shown)}; {remedy}"] if shown else []


def _empty(notes: Mapping[str, Any], column: str) -> Iterator[str]:
    for split in SPLITS:
        empty, count = notes[f"{split}_texts_empty"], notes[f"{split}_texts"]
        if count and empty / count > TOO_MANY:
            yield (
                f"{split}: {empty} of {count} texts hold no token; check column {column}, or drop these rows"
            )


def _unknown(notes: Mapping[str, Any], encoding: TextEncoding) -> list[str]:
    with_tokens = [split for split in SPLITS if notes[f"{split}_texts"] > notes[f"{split}_texts_empty"]]
    shares = {split: notes[f"{split}_unknown_share"] for split in with_tokens}
    return unknown_remark(shares, "tokens", _remedy(encoding))


def _remedy(encoding: TextEncoding) -> str:
    """Return how fewer tokens are unknown."""
    rare = f", or lower data.min_freq={encoding.min_freq}" if encoding.min_freq > 1 else ""
    return f"use data.tokenizer=characters or subwords{rare}"


def _cut(notes: Mapping[str, Any], encoding: TextEncoding) -> Iterator[str]:
    shares = [notes[f"{split}_texts_cut_share"] for split in SPLITS]
    if not any(shares):
        return
    by_auto = encoding.max_length == "auto"
    which = f"data.max_length={notes['max_length']}{', by auto,' if by_auto else ''}"
    texts = ", ".join(f"{_percent(share)} of {split}" for split, share in zip(SPLITS, shares, strict=True))
    remedy = "a larger number" if by_auto else "a larger number, auto"
    lost = _percent(notes["train_tokens_cut_share"])
    yield (
        f"{which} cuts texts: {texts}; train loses {lost} of its tokens; "
        f"give {remedy}, or null for whole texts"
    )


def _percent(share: float) -> str:
    """Return a share in percent; a small one is not rounded to zero."""
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else "less than 0.1 %"
