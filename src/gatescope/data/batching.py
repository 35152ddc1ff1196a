"""The order of examples, the batches that they are cut into, and the loader that hands these out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from gatescope.data.errors import DataError


def padding_waste(lengths: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """Share of the steps computed that are padding, when these batches of indices are padded."""
    computed = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - sum(int(lengths[batch].sum()) for batch in batches) / computed


class BucketSampler(Sampler[list[int]]):
    """Batches of examples of similar length, in an order that depends on (seed, epoch) alone.

    With `shuffle`, examples are shuffled, cut into pools of `pool` batches, sorted by length within a pool,
    and the batches are shuffled; each epoch has another order. Without it, examples are sorted by length and
    the batches are shuffled once: the order is the same in every epoch, and the first batches are no shorter
    than the others, so that `trainer.limit_val_batches` evaluates examples of every length.

    Under DDP each rank takes its interleaved share of every global batch, so that all ranks take the same
    number of steps and see each example once; a last batch with fewer examples than ranks joins the one
    before it. The trainer must not add a sampler of its own (`use_distributed_sampler=False`).

    Args:
        lengths: (N,) steps of each example.
        batch_size: examples in a global batch.
        seed: of the order.
        shuffle: whether each epoch has another order.
        pool: batches that are sorted by length together, with `shuffle`.
        rank, world_size: this process among those that share a batch.
        fixed: whether `set_epoch` is ignored, for `trainer.overfit_batches`.

    Raises:
        DataError: fewer examples, or a smaller batch, than ranks: a rank would have nothing to do.
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
    ) -> None:
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
        """Itself: Lightning calls `set_epoch` of `loader.batch_sampler.sampler` before each epoch, and not of
        a batch sampler itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order comes next."""
        if not self.fixed:
            self.epoch = epoch

    def __len__(self) -> int:
        return len(self._cut(np.arange(len(self.lengths))))

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if len(batches[-1]) < self.world_size:
            batches[-2:] = [np.concatenate(batches[-2:])]
        return batches

    def batches(self) -> list[np.ndarray]:
        """Indices of all global batches of this epoch, in order."""
        generator = np.random.default_rng((self.seed, self.epoch if self.shuffle else 0))
        order = np.arange(len(self.lengths))
        size = len(order)
        if self.shuffle:
            order, size = generator.permutation(order), self.batch_size * self.pool
        pools = [order[i : i + size] for i in range(0, len(order), size)]
        batches = self._cut(np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in pools]))
        return [batches[i] for i in generator.permutation(len(batches))]

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        for batch in self.batches()[start:]:
            yield batch[self.rank :: self.world_size].tolist()


class InOrderSampler(BucketSampler):
    """Batches as the examples stand, in every epoch: for data whose batches go on from one another."""

    def batches(self) -> list[np.ndarray]:
        return self._cut(np.arange(len(self.lengths)))


class ResumableLoader(DataLoader[Any]):
    """A loader over a `BucketSampler` that can go on in the middle of an epoch (Lightning asks for these)."""

    given = 0
    """Batches of this epoch handed out so far."""

    def __iter__(self) -> Any:
        # A generator, so that worker processes fetch nothing before Lightning has set the epoch.
        self.given = self._sampler.start
        # In this process torch's own iterator would add a mark for profilers, and a third to a batch's time.
        in_process = self.num_workers == 0 and not self.pin_memory
        batches = map(self.collate_fn, self._sampler) if in_process else super().__iter__()
        for batch in batches:
            self.given += 1
            yield batch

    @property
    def _sampler(self) -> BucketSampler:
        assert isinstance(self.batch_sampler, BucketSampler)
        return self.batch_sampler

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._sampler.epoch, "batches": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next epoch iterated over is this one, without its batches that were given before."""
        self._sampler.epoch, self._sampler.start = state["epoch"], state["batches"]
