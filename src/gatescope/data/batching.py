"""The order of the examples, their division into batches, and a loader that resumes within an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from gatescope.data.errors import DataError


def padding_waste(lengths: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """Return the share of the computed time steps that are padding.

    Args:
        lengths: (N,) time steps of each example.
        batches: indices of the examples of each batch.
    """
    computed = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - sum(int(lengths[batch].sum()) for batch in batches) / computed


class BucketSampler(Sampler[list[int]]):
    """Batches of examples of similar length, in an order that depends on (seed, epoch) alone.

    With `shuffle`, examples are shuffled, divided into pools of `pool` batches, sorted by length within a
    pool, and the batches are shuffled; every epoch has another order. Without it, examples are sorted by
    length and the batches are shuffled once: the order is the same in every epoch, and the first batches are
    no shorter than the others, so that `trainer.limit_val_batches` evaluates examples of every length.

    Under DDP each rank takes its interleaved share of every global batch, so that all ranks take the same
    number of steps and see each example once; a last batch with fewer examples than ranks is merged with the
    one before it. The trainer must not add a sampler of its own (`use_distributed_sampler=False`).

    Args:
        lengths: (N,) time steps of each example.
        batch_size: examples in a global batch.
        seed: of the order.
        shuffle: whether every epoch has another order.
        pool: number of batches that are sorted by length together, with `shuffle`.
        rank: of this process.
        world_size: number of processes that share a batch.
        fixed: whether `set_epoch` is ignored, for `trainer.overfit_batches`.
        further: (N,) a second length, such as that of the target, by which examples of one length are sorted.

    Raises:
        DataError: there are fewer examples, or the batch is smaller, than ranks.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        pool: int = 50,
        rank: int = 0,
        world_size: int = 1,
        fixed: bool = False,
        further: np.ndarray | None = None,
    ) -> None:
        self.further = lengths if further is None else further
        self.lengths, self.batch_size, self.seed, self.shuffle = lengths, batch_size, seed, shuffle
        self.pool, self.rank, self.world_size, self.fixed = pool, rank, world_size, fixed
        self.epoch = self.start = 0
        if min(batch_size, len(lengths)) < world_size:
            raise DataError(
                f"{len(lengths)} examples in batches of {batch_size} cannot be shared by {world_size} "
                "processes; use a larger data.batch_size or fewer devices"
            )

    @property
    def sampler(self) -> BucketSampler:
        """The sampler itself.

        Before each epoch Lightning calls `set_epoch` on `loader.batch_sampler.sampler`, not on the batch
        sampler.
        """
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order comes next."""
        if not self.fixed:
            self.epoch = epoch

    def __len__(self) -> int:
        return len(self._split_into_batches(np.arange(len(self.lengths))))

    def _split_into_batches(self, order: np.ndarray) -> list[np.ndarray]:
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if len(batches[-1]) < self.world_size:
            batches[-2:] = [np.concatenate(batches[-2:])]
        return batches

    def batches(self) -> list[np.ndarray]:
        """Return the indices of all global batches of this epoch, in order."""
        generator = np.random.default_rng((self.seed, self.epoch if self.shuffle else 0))
        order = np.arange(len(self.lengths))
        size = len(order)
        if self.shuffle:
            order, size = generator.permutation(order), self.batch_size * self.pool
        pools = [order[i : i + size] for i in range(0, len(order), size)]
        by_length = [pool[np.lexsort((self.further[pool], self.lengths[pool]))] for pool in pools]
        batches = self._split_into_batches(np.concatenate(by_length))
        return [batches[i] for i in generator.permutation(len(batches))]

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        for batch in self.batches()[start:]:
            yield batch[self.rank :: self.world_size].tolist()


class InOrderSampler(BucketSampler):
    """Batches in the order of the examples, in every epoch: for data whose batches continue one another."""

    def batches(self) -> list[np.ndarray]:
        """Return the indices of all global batches, in the order of the examples."""
        return self._split_into_batches(np.arange(len(self.lengths)))


class ResumableLoader(DataLoader[Any]):
    """A loader over a `BucketSampler` that resumes in the middle of an epoch.

    Lightning saves and restores its `state_dict`.
    """

    num_yielded = 0
    """Number of batches of this epoch that were yielded so far."""

    def __iter__(self) -> Any:
        # A generator, so that worker processes fetch nothing before Lightning has set the epoch.
        self.num_yielded = self._sampler.start
        # Without workers, torch's own iterator would record a profiler event per batch, which costs a third
        # of a batch's time.
        in_process = self.num_workers == 0 and not self.pin_memory
        batches = map(self.collate_fn, self._sampler) if in_process else super().__iter__()
        for batch in batches:
            self.num_yielded += 1
            yield batch

    @property
    def _sampler(self) -> BucketSampler:
        assert isinstance(self.batch_sampler, BucketSampler)
        return self.batch_sampler

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of batches that were yielded."""
        return {"epoch": self._sampler.epoch, "batches": self.num_yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue the saved epoch at the next iteration, without the batches that were yielded before."""
        self._sampler.epoch, self._sampler.start = state["epoch"], state["batches"]
