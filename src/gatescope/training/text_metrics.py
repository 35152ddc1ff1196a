"""BLEU and chrF of generated texts as sacreBLEU counts them, from 0 to 100 (Post 2018)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.text import SacreBLEUScore

ORDER, BETA = 6, 2
"""Length of the longest n-grams of chrF, and the weight of its recall."""


class BLEU(SacreBLEUScore):
    """Corpus BLEU (Papineni et al. 2002) of orders 1 to 4, from 0 to 100.

    It differs from the base class where sacreBLEU does: of two answers as near in length to the prediction
    the shorter one counts, and orders without a match are smoothed exponentially (Chen & Cherry 2014,
    method 3).

    Args:
        tokenize: how texts are divided into words: "13a", sacreBLEU's default, or "none" for words that are
            separated by spaces.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    def __init__(self, tokenize: Literal["13a", "none"] = "13a", **kwargs: Any) -> None:
        super().__init__(tokenize=tokenize, **kwargs)

    def update(self, preds: Sequence[str], target: Sequence[Sequence[str]]) -> None:
        """Count the n-grams of a batch of predictions and their accepted answers."""
        by_length = [sorted(one, key=lambda text: len(self.tokenizer(text))) for one in target]
        super().update(list(preds), by_length)

    def compute(self) -> Tensor:
        """Return the score, of shape ()."""
        matches, totals = self.numerator.double(), self.denominator.double()
        if not matches.any() or not totals.all():
            return torch.zeros(())
        missing = matches == 0
        matches = torch.where(missing, 0.5 ** missing.cumsum(0), matches)
        brevity = torch.clamp(1 - self.target_len / self.preds_len, max=0).exp()
        return (100 * brevity * (matches / totals).log().mean().exp()).float()


class ChrF(Metric):
    """chrF (Popović 2015) of texts, from 0 to 100: character 1- to 6-grams without spaces, β = 2.

    Precision and recall are those of the corpus, averaged over the orders, as sacreBLEU does. Of several
    answers each example counts the one with the highest score. torchmetrics averages F over the orders, and
    takes a hundred times as long.

    Args:
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    full_state_update = False
    higher_is_better = True
    counts: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(3, ORDER, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Count the n-grams of a batch: of the predictions, of their answers, and those in both."""
        total = np.zeros((3, ORDER), dtype=np.int64)
        for prediction, accepted in zip(predictions, references, strict=True):
            own = _ngrams(prediction)
            total += max((_matches(own, _ngrams(answer)) for answer in accepted), key=_f_score)
        self.counts += torch.from_numpy(total).to(self.counts.device)

    def compute(self) -> Tensor:
        """Return the score, of shape ()."""
        return torch.tensor(100 * _f_score(self.counts.cpu().numpy()))


def _ngrams(text: str) -> list[Counter[str]]:
    """Return the counts of the character n-grams of each order."""
    line = "".join(text.split())
    return [Counter(line[i : i + n] for i in range(len(line) - n + 1)) for n in range(1, ORDER + 1)]


def _matches(found: list[Counter[str]], true: list[Counter[str]]) -> np.ndarray:
    """Return the numbers (3, orders) of n-grams found, true, and both."""
    return np.array(
        [
            (f.total() if t else 0, t.total(), sum(min(count, t[gram]) for gram, count in f.items()))
            for f, t in zip(found, true, strict=True)
        ]
    ).T


def _f_score(counts: np.ndarray) -> float:
    """Return F of the mean precision and the mean recall over the orders that both texts have."""
    found, true, both = counts[:, (counts[:2] > 0).all(0)]
    if not both.sum():
        return 0.0
    precision, recall = (both / found).mean(), (both / true).mean()
    return float((1 + BETA**2) * precision * recall / (BETA**2 * precision + recall))


def error_rate_name(unit: str) -> str:
    """Return the name of the error rate of a target unit."""
    return f"{'word' if unit == 'subword' else unit}_error_rate"


def text_metrics(unit: str) -> dict[str, Metric]:
    """Return the further metrics of sequences of words or subwords; none for other units."""
    if unit not in ("word", "subword"):
        return {}
    return {"bleu": BLEU("none" if unit == "word" else "13a"), "chrf": ChrF()}
