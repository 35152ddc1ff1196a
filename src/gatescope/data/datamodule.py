"""The base class of every dataset: a Lightning datamodule with one abstract method, `build() -> Splits`."""

from __future__ import annotations

import multiprocessing
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
from gatescope.data.encoding.tokenizers import join_tokens
from gatescope.data.errors import DataError
from gatescope.data.examples import Collate, Examples, Splits, collate
from gatescope.data.fingerprint import differences, fingerprint
from gatescope.data.ragged import Ragged
from gatescope.sequences import Batch, Split, TaskSpec

EVALUATION_FACTOR = 4
"""Size of a batch in evaluation, in training batches: evaluation saves nothing for a backward pass."""


class SequenceData(pl.LightningDataModule):
    """Base class of every dataset.

    A subclass implements `build`. It implements `tokenize` if its inputs are made from texts, and `alignment`
    if the source steps of each target are known.

    Args:
        batch_size: examples in a global batch of training; evaluation uses batches four times as large.
        seed: seed of the *data* (splits, generation), separate from the seed of the model.
        workers: number of loader processes.

    Attributes:
        order_seed: seed of the order of the batches. `run` sets the run's seed, so that variants of one seed
            share their order.
        pool: number of batches that are sorted by length together in training; 1 keeps the shuffled order.
        sources: path and digest of each file or folder that the config names, by its key; set by `run`.
        sampler: the class that orders the examples and divides them into batches.
        splits: the result of `build`; None before `setup`.
    """

    order_seed: int = 0
    pool: int = 50
    sources: Mapping[str, tuple[str, str]] = MappingProxyType({})
    sampler: type[BucketSampler] = BucketSampler

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
        """Load or generate all examples; the result depends on the arguments alone.

        Raises:
            DataError: naming the row that is wrong, or the package to install.
        """

    def setup(self, stage: str | None = None) -> None:
        """Build and check the splits, once."""
        if self.splits is None:
            self.splits = self.build()
            check_splits(self.splits)
            self.splits.task.notes.update(self._padding(self.splits.train.lengths))

    def _padding(self, lengths: np.ndarray) -> dict[str, float]:
        """Return the share of padding in the first epoch of training, and its value without buckets."""
        pools = {"padding_waste": self.pool, "padding_waste_unbucketed": 1}
        return {
            name: padding_waste(
                lengths, self.sampler(lengths, self.batch_size, self.order_seed, pool=pool).batches()
            )
            for name, pool in pools.items()
        }

    @property
    def task(self) -> TaskSpec:
        """The task of the loaded data."""
        if self.splits is None:
            raise RuntimeError("call setup() before task")
        return self.splits.task

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The `fingerprint` of the loaded splits, with `sources`: values that JSON and a checkpoint can hold.

        It decides whether weights were trained on these data.
        """
        if self.splits is None:
            raise RuntimeError("call setup() before identity")
        sources = {key: {"path": path, "digest": digest} for key, (path, digest) in self.sources.items()}
        return ({"sources": sources} if sources else {}) | fingerprint(self.splits)

    def changes(self, then: Mapping[str, Any]) -> list[str]:
        """Return a phrase for each change of the data since their identity was `then`."""
        now, before = self.identity, then.get("sources", {})
        files = [
            f"{key}: {source['path']} has been edited"
            for key, source in now.get("sources", {}).items()
            if key in before and before[key]["digest"] != source["digest"]
        ]
        return [*files, *differences(then, now)]

    def batch(self, split: Split, indices: Sequence[int]) -> Batch:
        """Return the examples of a split with these indices as one batch."""
        if self.splits is None:
            raise RuntimeError("call setup() before batch()")
        return collate(getattr(self.splits, split), indices, self.task.padding_index or 0)

    def tokens(self, batch: Batch) -> list[list[str]] | None:
        """Return the tokens of each example of a batch, without padding; None if inputs are features.

        A token without a name (the task has no vocabulary) is its id.
        """
        return self.task.tokens(batch)

    def texts(self, split: Split, indices: Sequence[int]) -> list[str]:
        """Return examples as text: their tokens, or the shape of their features.

        Tokens are joined by spaces, and without if they are characters or parts of words.
        """
        if not len(indices):
            return []
        batch = self.batch(split, indices)
        rows = self.tokens(batch)
        if rows is None:
            size = batch.inputs.shape[2]
            return [f"{steps} steps of {size} feature{'s' * (size != 1)}" for steps in batch.lengths.tolist()]
        name = self.task.tokenizer.get("name", "")
        names = [token for token in self.task.vocabulary if not token.startswith("<")]
        if not name and names and all(len(token) == 1 for token in names):
            name = "code_points"
        return [join_tokens(row, name) for row in rows]

    def place(self, split: Split, index: int) -> str:
        """Return where an example comes from, for messages; by default its index."""
        return f"example {index}"

    def tokenize(self, text: str) -> list[str]:
        """Split a text into tokens as `build` does, without its limit on the number of tokens.

        Raises:
            DataError: these data are not made from texts.
        """
        raise DataError(f"{type(self).__name__} is not made of texts: give an example's index instead")

    def alignment(self, split: Split, batch: Batch) -> Tensor | None:
        """Return the source steps of each target step, for data where they are known.

        Returns:
            (B, U, T) bool, true where target step u is made from source step t, and no true value for a
            target step that comes from nowhere in the source; None if the alignment is not known.
        """
        return None

    def _loader(self, split: Split) -> DataLoader[Any]:
        assert self.splits is not None
        examples: Examples = getattr(self.splits, split)
        loader = ResumableLoader if split == "train" else DataLoader
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return loader(
            examples,
            batch_sampler=self._sampler(split, examples),
            collate_fn=Collate(examples, self.task.padding_index or 0),
            num_workers=self.workers,
            multiprocessing_context=_start_method() if self.workers else None,
            persistent_workers=self.workers > 0,
            pin_memory=on_gpu,  # copies to the GPU then overlap with computation
            # Otherwise each epoch draws from torch's global generator, and a resumed run at another point.
            generator=torch.Generator().manual_seed(self.order_seed),
        )

    def _sampler(self, split: Split, examples: Examples) -> BucketSampler:
        # If batches continue one another, their size decides which example continues which.
        larger = split != "train" and not self.task.stateful
        targets = examples.targets
        return self.sampler(
            examples.lengths,
            self.batch_size * (EVALUATION_FACTOR if larger else 1),
            # All runs on the same data evaluate the same batches, whatever their own seed.
            self.order_seed if split == "train" else self.seed,
            split == "train",
            self.pool,
            self.trainer.global_rank if self.trainer else 0,
            self.trainer.world_size if self.trainer else 1,
            fixed=self.trainer is not None and self.trainer.overfit_batches > 0,  # type: ignore[attr-defined]
            further=targets.lengths if isinstance(targets, Ragged) else None,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the train split."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the validation split."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the test split."""
        return self._loader("test")


def _start_method() -> str | None:
    """Return how worker processes are started; None is the default of this process.

    In the processes of launcher=joblib the default is "loky", which cannot start the workers of a DataLoader.
    """
    if multiprocessing.get_start_method(allow_none=True) != "loky":
        return None
    return multiprocessing.get_all_start_methods()[0]  # the default of the platform
