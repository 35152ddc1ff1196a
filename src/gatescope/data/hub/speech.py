"""Classification of speech of the hub: clips of WAV bytes with a label each, as log-mel features."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from gatescope.data.cache import cached
from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.audio import LogMel, read_wav, require_fbank
from gatescope.data.encoding.series import concatenate, series_splits
from gatescope.data.errors import Problems
from gatescope.data.examples import Splits
from gatescope.data.hub.loading import class_names, load_hub, select_split
from gatescope.data.ragged import Ragged

SPLITS = ("train", "validation", "test")


class HubSpeech(SequenceData):
    """Classification of clips; the splits are those of the hub.

    Shape:
        inputs (B, T, mels): windows of 25 ms every 10 ms. targets (B,).

    Args:
        dataset: name of the data in tables, folders and W&B.
        hub_id: id on the hub.
        subset: of the dataset, or None.
        revision: commit or branch, or None for main.
        path: of a folder that `save_to_disk` wrote, which replaces the hub; or None.
        audio: column of the clips.
        label: column of the labels.
        mels: number of mel bands.
        rate: in Hz, to which all clips are resampled.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        dataset: str,
        hub_id: str,
        subset: str | None = None,
        revision: str | None = None,
        path: str | None = None,
        audio: str = "audio",
        label: str = "label",
        mels: Annotated[int, Field(ge=4, le=128)] = 40,
        rate: Annotated[int, Field(ge=4000)] = 16_000,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.hub_id, self.source, self.columns = hub_id, (hub_id, subset, revision, path), (audio, label)
        self.log_mel = LogMel(mels, rate)

    def build(self) -> Splits:
        """Load the clips and compute their features."""
        require_fbank()  # before anything is downloaded
        dataset = load_hub(*self.source)
        parts = [select_split(dataset, name, self.columns, self.hub_id) for name in SPLITS]
        names = class_names(parts[0], self.columns[1], self.hub_id)
        features = [self._features(name, split) for name, split in zip(SPLITS, parts, strict=True)]
        targets = torch.tensor([label for split in parts for label in split[self.columns[1]]])
        ends = np.cumsum([0, *map(len, parts)])
        rows = [np.arange(ends[i], ends[i + 1]) for i in range(3)]
        return series_splits(concatenate(features), targets, names, rows, True, {"source": self.hub_id})

    def _features(self, name: str, split: Any) -> Ragged:
        """Return the features of a split, from the cache if it holds them."""
        settings = {"mels": self.log_mel.mels, "rate": self.log_mel.rate}
        source = f"{self.hub_id} {split._fingerprint}"
        arrays = cached("hub_speech", source, settings, lambda: self._compute_features(name, split))
        return Ragged.from_flat(torch.from_numpy(arrays["flat"]), arrays["lengths"])

    def _compute_features(self, name: str, split: Any) -> dict[str, np.ndarray]:
        """Compute the features of a split.

        Raises:
            DataError: clips are not readable.
        """
        from datasets import Audio

        problems, features = Problems(f"{self.hub_id}, split {name}"), []
        column = self.columns[0]
        for i, row in enumerate(split.cast_column(column, Audio(decode=False))):  # scipy decodes them
            try:
                clip = row[column]
                content = clip["bytes"]
                if content is None:
                    with open(clip["path"], "rb") as file:
                        content = file.read()
                features.append(self.log_mel(read_wav(content)))
            except (ValueError, OSError) as error:
                problems.add(f"row {i}", str(error))
        problems.check()
        return {"flat": np.concatenate(features), "lengths": np.array([len(x) for x in features])}
