"""The base class of datasets of recordings with transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.spec_augment import Count, SpecAugment
from gatescope.data.encoding.speech import SpeechFeatures
from gatescope.sequences import Batch, Split

Mels = Annotated[int, Field(ge=4, le=128)]
Stack = Annotated[int, Field(ge=1, le=16)]


class SpeechData(SequenceData):
    """Transduction from recordings to transcripts; a subclass implements `build`.

    Args:
        features: settings of the features.
        time_masks, time_width, band_masks, band_width: of SpecAugment in training; 0 masks turn it off.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        features: SpeechFeatures,
        time_masks: Count = 0,
        time_width: Count = 8,
        band_masks: Count = 0,
        band_width: Count = 8,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.features = features
        self.augment = SpecAugment(time_masks, time_width, band_masks, band_width, features.mels)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mask the features of a training batch, on its device."""
        is_training = self.trainer is not None and self.trainer.training
        if not is_training or not (self.augment.time_masks or self.augment.band_masks):
            return batch
        return self.augment(batch)

    def texts(self, split: Split, indices: Sequence[int]) -> list[str]:
        """Return the durations of recordings as text."""
        assert self.splits is not None
        lengths = getattr(self.splits, split).lengths[list(indices)]
        return [f"{steps * self.features.seconds:.2f} s of sound" for steps in lengths.tolist()]
