"""BLEU and chrF of generated texts as sacreBLEU counts them, from 0 to 100 (Post 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.text import BLEUScore, CHRFScore, SacreBLEUScore


class PercentBLEU(BLEUScore):
    """Corpus BLEU (Papineni et al. 2002; orders 1 to 4, no smoothing) of the symbols, from 0 to 100.

    sacreBLEU computes the same of texts whose tokens are separated by spaces (`tokenize="none"`).
    """

    def compute(self) -> Tensor:
        """Return the score, of shape ()."""
        return 100 * super().compute()


class TextBLEU(SacreBLEUScore):
    """Corpus BLEU of texts, divided into words as sacreBLEU does by default (13a), from 0 to 100."""

    def compute(self) -> Tensor:
        """Return the score, of shape ()."""
        return 100 * super().compute()


class PercentChrF(CHRFScore):
    """chrF (Popović 2015; β = 2, character 1- to 6-grams without spaces) as sacreBLEU does, from 0 to 100.

    Args:
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(n_word_order=0, **kwargs)

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the score, of shape ()."""
        return 100 * torch.as_tensor(super().compute())


def error_rate_name(unit: str) -> str:
    """Return the name of the error rate of a target unit."""
    return f"{'word' if unit == 'subword' else unit}_error_rate"


def text_metrics(unit: str) -> dict[str, Metric]:
    """Return the further metrics of sequences of words or subwords; none for other units."""
    if unit not in ("word", "subword"):
        return {}
    return {"bleu": PercentBLEU() if unit == "word" else TextBLEU(), "chrf": PercentChrF()}
