"""The base class of every dataset: a Lightning datamodule with one method to write, `build() -> Splits`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader

from gatescope.data.batching import BucketSampler, ResumableLoader, padding_waste
from gatescope.data.checks import check_splits
from gatescope.data.errors import DataError
from gatescope.data.examples import Collate, Examples, Splits, collate
from gatescope.data.fingerprint import differences, fingerprint
from gatescope.sequences import Batch, Split, TaskSpec

EVALUATED = 4
"""Batches of training in one of evaluation, which keeps nothing for a backward pass."""


class SequenceData(pl.LightningDataModule):
    """Base of every dataset.

    Args:
        batch_size: examples in a global batch of training; evaluation takes four of them at a time.
        seed: of the *data* (splits, generation), apart from the model's seed.
        workers: loader processes.
    """

    order_seed: int = 0
    """Seed of the order of batches: the run's seed, set by `run`; variants of one seed share their order."""

    pool: int = 50
    """Batches that are sorted by length together in training; 1: batches as the shuffle has them."""

    sources: Mapping[str, tuple[str, str]] = MappingProxyType({})
    """Path and digest of each file or folder that the config names, by its key; set by `run`."""

    sampler: type[BucketSampler] = BucketSampler
    """What orders the examples and cuts them into batches."""

    def __init__(
        self,
        batch_size: Annotated[int, Field(ge=1)] = 128,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self.splits: Splits | None = None

    @abstractmethod
    def build(self) -> Splits:
        """Loads or generates everything, deterministically from the arguments alone.

        Raises DataError naming the row, or the package to install.
        """

    def setup(self, stage: str | None = None) -> None:
        if self.splits is None:
            self.splits = self.build()
            check_splits(self.splits)
            self.splits.task.notes.update(self._padding(self.splits.train.lengths))

    def _padding(self, lengths: np.ndarray) -> dict[str, float]:
        """Padding in the first epoch of training, and what it would be without buckets."""
        pools = {"padding_waste": self.pool, "padding_waste_unbucketed": 1}
        return {
            name: padding_waste(
                lengths, self.sampler(lengths, self.batch_size, self.order_seed, pool=pool).batches()
            )
            for name, pool in pools.items()
        }

    @property
    def task(self) -> TaskSpec:
        if self.splits is None:
            raise RuntimeError("call setup() before task")
        return self.splits.task

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What tells whether weights were trained on these data: the `fingerprint` of the loaded splits, and
        `sources`. JSON and checkpoints hold it."""
        if self.splits is None:
            raise RuntimeError("call setup() before identity")
        sources = {key: {"path": path, "digest": digest} for key, (path, digest) in self.sources.items()}
        return ({"sources": sources} if sources else {}) | fingerprint(self.splits)

    def changes(self, then: Mapping[str, Any]) -> list[str]:
        """What has changed in the data since their identity was `then`, a phrase each."""
        now, before = self.identity, then.get("sources", {})
        files = [
            f"{key}: {one['path']} has been edited"
            for key, one in now.get("sources", {}).items()
            if key in before and before[key]["digest"] != one["digest"]
        ]
        return [*files, *differences(then, now)]

    def batch(self, split: Split, indices: Sequence[int]) -> Batch:
        """The named examples of a split as one Batch."""
        if self.splits is None:
            raise RuntimeError("call setup() before batch()")
        return collate(getattr(self.splits, split), indices, self.task.padding_index or 0)

    def tokens(self, batch: Batch) -> list[list[str]] | None:
        """The words of each example of a batch, without padding; None where inputs are features."""
        if self.task.inputs == "features":
            return None
        vocabulary = self.task.vocabulary
        return [
            [vocabulary[i] for i in row[:length]]
            for row, length in zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True)
        ]

    def texts(self, split: Split, indices: Sequence[int]) -> list[str]:
        """Examples as a reader sees them: their tokens, with spaces between unless each is a character, or
        the size of their features."""
        if not len(indices):
            return []
        batch = self.batch(split, indices)
        rows = self.tokens(batch)
        if rows is None:
            size = batch.inputs.shape[2]
            return [f"{steps} steps of {size} feature{'s' * (size != 1)}" for steps in batch.lengths.tolist()]
        characters = all(len(token) == 1 for token in self.task.vocabulary if not token.startswith("<"))
        return [("" if characters else " ").join(row) for row in rows]

    def tokenize(self, text: str) -> list[str]:
        """A text's tokens as `build` makes them, all of them where it keeps only the first so many.

        Raises:
            DataError: these data are not made of texts.
        """
        raise DataError(f"{type(self).__name__} is not made of texts: give an example's index instead")

    def alignment(self, split: Split, batch: Batch) -> Tensor | None:
        """(B, U, T) bool: the source steps that each target step is made from, for data that know it.

        A target step that comes from nowhere in the source has no true entry.
        """
        return None

    def _loader(self, split: Split) -> DataLoader[Any]:
        assert self.splits is not None
        examples: Examples = getattr(self.splits, split)
        world = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        # Where batches go on from one another, their size decides what goes on from what.
        evaluated = split != "train" and not self.task.stateful
        sampler = self.sampler(
            examples.lengths,
            self.batch_size * (EVALUATED if evaluated else 1),
            # All runs on the same data evaluate the same batches, whatever their own seed.
            self.order_seed if split == "train" else self.seed,
            split == "train",
            self.pool,
            rank,
            world,
            fixed=self.trainer is not None and self.trainer.overfit_batches > 0,  # type: ignore[attr-defined]
        )
        kind = ResumableLoader if split == "train" else DataLoader
        return kind(
            examples,
            batch_sampler=sampler,
            collate_fn=Collate(examples, self.task.padding_index or 0),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=on_gpu,  # copies to the GPU then go on beside computation
            # Else each epoch takes a number from torch's generator, and resumed ones take them elsewhere.
            generator=torch.Generator().manual_seed(self.order_seed),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")
