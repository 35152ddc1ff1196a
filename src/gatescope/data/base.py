"""What a dataset publishes (TaskSpec), what it yields (Batch), and the way from one to the other.

A dataset is a subclass of `SequenceData` with one method, `build() -> Splits`; batching, bucketing,
padding and seeds live here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, overload

import numpy as np
import pytorch_lightning as pl
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from gatescope.data.fingerprint import differences, fingerprint

IGNORE = -100
"""Target of a position that no loss and no metric counts (torch's own `ignore_index`)."""

END = 0
"""Symbol of a target vocabulary that ends every target of a transduction, and that decoding starts from."""

Kind = Literal["classification", "regression", "next_step", "transduction"]
Split = Literal["train", "validation", "test"]


class DataError(ValueError):
    """The data are not what the task needs; the message names the row and the remedy."""

    exit_code = 2
    """Of train.py: as for a config that is wrong."""


@dataclass(frozen=True)
class TaskSpec:
    """All that a model, a loss and a report need to know of a dataset.

    `input_size` is the number of token ids (inputs "tokens") or of features ("features").
    `output_size` is 1 for a regression target and for two classes (one sigmoid output), else the number
    of classes. `metric` with `direction` is what a study compares on, named as it is logged after
    "validation/" and "test/". `tolerance`: a regression example counts as solved below this |error|.

    Targets of a transduction are ids of `target_vocabulary`, whose entry END ends each; `output_size` is its
    size, and `target_unit` what one symbol is. A target may go on with further accepted answers, each with
    its END: the loss counts the first, error rates the one nearest to the prediction.

    `vectors` (input_size, D): pretrained embeddings of the tokens, which fix the width of the embedding;
    `frozen_vectors`: they are not trained.
    """

    kind: Kind
    inputs: Literal["tokens", "features"]
    input_size: int
    output_size: int
    metric: str
    direction: Literal["max", "min"]
    labels: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    padding_index: int | None = None
    tolerance: float | None = None
    target_vocabulary: tuple[str, ...] = ()
    target_unit: Literal["character", "phoneme", "word"] = "word"
    multilabel: bool = False
    """Any number of the outputs is right at once: targets are zeros and ones, (T, K) a sequence."""
    causal: bool = False
    """Targets are later inputs: a model that reads backwards would be told the answers."""
    stateful: bool = False
    """Row i of a batch goes on where row i of the batch before it ended: states are carried over."""
    vectors: Tensor | None = field(default=None, repr=False, compare=False)
    frozen_vectors: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    """Facts of the data worth keeping in the record (rows dropped, share of unknown words …)."""


class Batch(NamedTuple):
    """inputs (B, T) int64 or (B, T, F) float32, right-padded; lengths (B,) int64, at least 1; targets (B,),
    (B, K) or (B, T); ids (B,) int64, the example's index within its split."""

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    ids: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Lightning moves in one call what has such a method, and else looks into it for tensors."""
        waits = torch.device(device).type in ("cpu", "mps")
        return Batch(*(part.to(device, non_blocking=not waits) for part in self))


def valid_mask(lengths: Tensor, steps: int) -> Tensor:
    """(B,) -> (B, T) bool, true where t < length. The one place a mask is made."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


class Ragged(Sequence[Tensor]):
    """Sequences of unlike length in one tensor: item i is a view (T_i, …).

    One tensor, because a spawned loader worker receives each tensor by a file descriptor of its own, and
    a process has fewer of those than a corpus has texts.
    """

    def __init__(self, sequences: Sequence[Tensor]) -> None:
        flat = torch.cat(list(sequences)) if len(sequences) else torch.empty(0)
        self._hold(flat, np.array([len(x) for x in sequences], dtype=np.int64))

    @classmethod
    def of(cls, flat: Tensor, lengths: np.ndarray) -> Ragged:
        """From what is in one tensor already, (sum of T_i, …), with the lengths (N,) of its items."""
        ragged = cls.__new__(cls)
        ragged._hold(flat, lengths.astype(np.int64))
        return ragged

    def _hold(self, flat: Tensor, lengths: np.ndarray) -> None:
        self.flat, self.lengths, self._ends = flat, lengths, np.cumsum(lengths)
        all_alike = len(lengths) > 0 and bool((lengths == lengths[0]).all())
        self._length = int(lengths[0]) if all_alike else None

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Ragged: ...
    def __getitem__(self, index: int | slice) -> Tensor | Ragged:
        if isinstance(index, slice):
            return Ragged([self[i] for i in range(*index.indices(len(self)))])
        end = int(self._ends[index])
        return self.flat[end - int(self.lengths[index]) : end]

    def chosen(self, items: np.ndarray) -> Ragged:
        """The items of these indices, in their order."""
        lengths = self.lengths[items]
        starts = self._ends[items] - lengths
        places = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return Ragged.of(self.flat.index_select(0, torch.from_numpy(places)), lengths)

    def padded(self, items: Tensor, padding_value: float) -> Tensor:
        """(B, longest of them, …): the items of these indices (B,), right-padded."""
        if self._length is not None:
            return self.flat.unflatten(0, (len(self), self._length)).index_select(0, items)
        lengths = self.lengths[items.numpy()]
        if lengths.min() < lengths.max():
            given = [self[i] for i in items.tolist()]
            return pad_sequence(given, batch_first=True, padding_value=padding_value)
        return self.chosen(items.numpy()).flat.unflatten(0, (len(items), int(lengths[0])))

    def rows(self, flagged: Tensor) -> list[int]:
        """The items that hold a flagged element: `flagged` (sum of T_i,) bool -> indices, ascending."""
        positions = flagged.nonzero()[:, 0].numpy()
        return np.unique(np.searchsorted(self._ends, positions, side="right")).tolist()


@dataclass
class Examples(Dataset[int]):
    """One split: `inputs[i]` is (T_i,) int64 or (T_i, F) float32; `targets[i]` a scalar, (K,) or (T_i,)."""

    inputs: Sequence[Tensor]
    targets: Tensor | Sequence[Tensor]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")
        self.inputs = self.inputs if isinstance(self.inputs, Ragged) else Ragged(self.inputs)
        if not isinstance(self.targets, Tensor | Ragged):
            self.targets = Ragged(self.targets)
        self.lengths = self.inputs.lengths

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> int:
        return index

    def __getitems__(self, indices: list[int]) -> list[int]:
        """What a loader asks for a batch at once: `collate` finds the examples."""
        return indices


@dataclass
class Splits:
    train: Examples
    validation: Examples
    test: Examples
    task: TaskSpec


def collate(examples: Examples, indices: Sequence[int], padding_value: float = 0) -> Batch:
    """Right-pads the named examples into one Batch."""
    ids = torch.tensor(indices)
    assert isinstance(examples.inputs, Ragged)
    inputs = examples.inputs.padded(ids, padding_value)
    lengths = torch.from_numpy(examples.lengths[ids.numpy()])
    if isinstance(examples.targets, Tensor):
        targets = examples.targets.index_select(0, ids)
    else:
        assert isinstance(examples.targets, Ragged)
        targets = examples.targets.padded(ids, IGNORE)
    return Batch(inputs, lengths, targets, ids)


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


EVALUATED = 4
"""Batches of training in one of evaluation, which keeps nothing for a backward pass."""


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


class Collate:
    """`collate` bound to a split, so that a spawned loader worker can unpickle it."""

    def __init__(self, examples: Examples, padding_value: float) -> None:
        self.examples, self.padding_value = examples, padding_value

    def __call__(self, indices: Sequence[int]) -> Batch:
        return collate(self.examples, indices, self.padding_value)


def check_splits(splits: Splits) -> None:
    """Refuses what no model could train on: empty splits or sequences, NaN or infinity, labels out of range.

    Raises:
        DataError: naming the split, the first five rows at fault and their count.
    """
    task = splits.task
    for name in ("train", "validation", "test"):
        examples: Examples = getattr(splits, name)
        if len(examples) == 0:
            raise DataError(f"the {name} split is empty")
        _complain(name, np.flatnonzero(examples.lengths == 0), "the sequence is empty", "drop these rows")
        assert isinstance(examples.inputs, Ragged)
        if task.inputs == "features":
            bad = ~torch.isfinite(examples.inputs.flat).all(dim=-1)
            _complain(name, examples.inputs.rows(bad), "NaN or infinity in the features", _MEND)
        else:
            outside = (examples.inputs.flat < 0) | (examples.inputs.flat >= task.input_size)
            what = f"a token id outside the vocabulary of {task.input_size}"
            _complain(name, examples.inputs.rows(outside), what, "encode with the task's vocabulary")
        targets, rows_of = _flat_targets(examples)
        if task.kind != "regression" and not targets.is_floating_point():
            classes = max(task.output_size, 2)
            outside = ((targets < 0) & (targets != IGNORE)) | (targets >= classes)
            what = f"a label outside the {classes} declared classes (0 to {classes - 1})"
            _complain(name, rows_of(outside), what, "correct the labels or declare the class")
        elif not torch.isfinite(targets).all():
            _complain(name, rows_of(~torch.isfinite(targets)), "NaN or infinity in the target", _MEND)


_MEND = "mend or drop these rows"


def _flat_targets(examples: Examples) -> tuple[Tensor, Callable[[Tensor], list[int]]]:
    """All targets, and the way back from flags over them (same shape) to the rows at fault."""
    if isinstance(examples.targets, Ragged):
        return examples.targets.flat, examples.targets.rows
    assert isinstance(examples.targets, Tensor)
    return examples.targets, lambda flags: flags.nonzero()[:, 0].unique().tolist()


def _complain(split: str, rows: Sequence[int] | np.ndarray, what: str, remedy: str) -> None:
    if len(rows):
        first = ", ".join(str(int(r)) for r in rows[:5])
        raise DataError(f"{split} split: {what} in {len(rows)} row(s), first: {first}; {remedy}")
