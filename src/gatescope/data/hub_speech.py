"""Speech of the hub: clips of WAV bytes with a label each, as the log-mel features of `audio_folder`."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from gatescope.data.audio import LogMel, fbank, read_wav
from gatescope.data.cache import cached
from gatescope.data.datamodule import SequenceData
from gatescope.data.examples import Splits
from gatescope.data.hub import class_names, load_hub, part
from gatescope.data.ragged import Ragged
from gatescope.data.rows import Problems
from gatescope.data.series_file import joined, series_splits

SPLITS = ("train", "validation", "test")


class HubSpeech(SequenceData):
    """Classification of clips: inputs (B, T, mels). The splits are the hub's.

    Args:
        dataset: name that runs on it carry.
        hub_id, subset, revision: of the hub.
        path: of a folder that `save_to_disk` wrote, instead of the hub.
        audio, label: columns.
        mels: mel bands.
        rate: in Hz, to which all clips are brought.
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
        self.features = LogMel(mels, rate)

    def build(self) -> Splits:
        fbank()  # told before anything is fetched
        found = load_hub(*self.source)
        parts = [part(found, name, self.columns, self.hub_id) for name in SPLITS]
        names = class_names(parts[0], self.columns[1], self.hub_id)
        series = joined([self._read(name, split) for name, split in zip(SPLITS, parts, strict=True)])
        targets = torch.tensor([label for split in parts for label in split[self.columns[1]]])
        ends = np.cumsum([0, *map(len, parts)])
        rows = [np.arange(ends[i], ends[i + 1]) for i in range(3)]
        return series_splits(series, targets, names, rows, True, {"source": self.hub_id})

    def _read(self, name: str, split: Any) -> Ragged:
        settings = {"mels": self.features.mels, "rate": self.features.rate}
        arrays = cached(
            "hub_speech", f"{self.hub_id} {split._fingerprint}", settings, lambda: self._make(name, split)
        )
        return Ragged.of(torch.from_numpy(arrays["flat"]), arrays["lengths"])

    def _make(self, name: str, split: Any) -> dict[str, np.ndarray]:
        """
        Raises:
            DataError: clips that cannot be read.
        """
        from datasets import Audio

        problems, found = Problems(f"{self.hub_id}, split {name}"), []
        column = self.columns[0]
        for i, row in enumerate(split.cast_column(column, Audio(decode=False))):  # scipy reads them
            try:
                clip = row[column]
                content = clip["bytes"]
                if content is None:
                    with open(clip["path"], "rb") as file:
                        content = file.read()
                found.append(self.features(read_wav(content)))
            except (ValueError, OSError) as error:
                problems.add(f"row {i}", str(error))
        problems.check()
        return {"flat": np.concatenate(found), "lengths": np.array([len(x) for x in found])}
