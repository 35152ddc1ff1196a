"""Padding, buckets, shares of ranks, seeds: the guarantees of every dataset."""

import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.batching import BucketSampler, padding_waste
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, Splits, collate
from gatescope.data.ragged import Ragged
from gatescope.sequences import IGNORE, TaskSpec, valid_mask

LENGTHS = np.random.default_rng(0).integers(1, 60, 1000)


class Counting(SequenceData):
    """Sequence i is (i+1) ids, labelled by the data seed."""

    def build(self) -> Splits:
        examples = Examples(
            [torch.arange(1, n + 2) for n in range(5)], torch.full((5,), self.seed, dtype=torch.int64)
        )
        vocabulary = ("<pad>", "one", "two", "three", "four", "five")
        task = TaskSpec(
            "classification", "tokens", 6, 3, "accuracy", "max", vocabulary=vocabulary, padding_index=0
        )
        return Splits(examples, examples, examples, task)


def padding(batches: list[list[int]]) -> int:
    return sum(int((LENGTHS[b].max() - LENGTHS[b]).sum()) for b in batches)


def test_collate_pads_to_the_right_and_keeps_ids():
    examples = Examples([torch.tensor([3]), torch.tensor([1, 2, 4])], torch.tensor([0, 1]))
    batch = collate(examples, [1, 0], padding_value=9)
    assert batch.inputs.tolist() == [[1, 2, 4], [3, 9, 9]]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.targets.tolist() == [1, 0]
    assert batch.ids.tolist() == [1, 0]
    assert valid_mask(batch.lengths, 3).tolist() == [[True, True, True], [True, False, False]]


def test_targets_per_step_are_padded_with_ignore():
    examples = Examples([torch.tensor([3]), torch.tensor([1, 2])], [torch.tensor([5]), torch.tensor([6, 7])])
    assert collate(examples, [0, 1]).targets.tolist() == [[5, IGNORE], [6, 7]]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 40))
def test_ragged_is_a_list_of_tensors(lengths, flag):
    sequences = [torch.randn(n, 2) for n in lengths]
    ragged = Ragged(sequences)
    assert len(ragged) == len(lengths)
    for mine, theirs in zip(ragged, sequences, strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(ragged[-1], sequences[-1])
    owners = [i for i, n in enumerate(lengths) for _ in range(n)]
    if flag < len(owners):
        flags = torch.zeros(len(owners), dtype=torch.bool)
        flags[flag] = True
        assert ragged.containing(flags) == [owners[flag]]


@settings(deadline=None, max_examples=50)
@given(
    examples=st.integers(1, 200),
    size=st.integers(1, 40),
    world=st.integers(1, 4),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
)
def test_ranks_partition_every_batch_and_none_is_idle(examples, size, world, shuffle, seed):
    lengths = LENGTHS[:examples]
    if min(examples, size) < world:
        with pytest.raises(DataError, match="cannot be shared"):
            BucketSampler(lengths, size, seed, shuffle, world_size=world)
        return
    samplers = [
        BucketSampler(lengths, size, seed, shuffle, pool=2, rank=rank, world_size=world)
        for rank in range(world)
    ]
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(sampler) for sampler in samplers}
    assert len(samplers[0]) == len(shares[0])
    assert all(batch for share in shares for batch in share)
    seen = sorted(itertools.chain.from_iterable(itertools.chain.from_iterable(shares)))
    assert seen == list(range(examples))
    single = list(BucketSampler(lengths, size, seed, shuffle, pool=2))
    joined = [sorted(itertools.chain(*step)) for step in zip(*shares, strict=True)]
    if examples % size == 0 or examples % size >= world:
        assert joined == [sorted(batch) for batch in single]


def test_order_follows_from_seed_and_epoch_alone():
    first, again, other = (list(BucketSampler(LENGTHS, 32, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    sampler = BucketSampler(LENGTHS, 32, 1)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_buckets_need_less_padding_than_a_plain_shuffle():
    shuffled = np.random.default_rng(0).permutation(len(LENGTHS))
    plain = [shuffled[i : i + 32].tolist() for i in range(0, len(LENGTHS), 32)]
    assert padding(list(BucketSampler(LENGTHS, 32, 0))) < padding(plain) / 5


def test_evaluation_order_is_fixed():
    sampler = BucketSampler(LENGTHS, 32, 0, shuffle=False)
    first = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == first
    lengths = np.concatenate([LENGTHS[batch] for batch in first[: len(first) // 2]])
    assert abs(lengths.mean() - LENGTHS.mean()) < 5  # a half of the batches holds short and long examples
    assert all(np.ptp(LENGTHS[batch]) < 5 for batch in first)


def test_data_seed_decides_the_data_and_order_seed_the_order():
    data, other = Counting(batch_size=1, seed=1), Counting(batch_size=1, seed=1)
    other.order_seed = 5
    for datamodule in (data, other):
        datamodule.setup()
    orders = [[b.ids.item() for b in d.train_dataloader()] for d in (data, other)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert torch.equal(data.batch("train", [0, 4]).inputs, other.batch("train", [0, 4]).inputs)
    reseeded = Counting(seed=2)
    reseeded.setup()
    assert reseeded.batch("train", [0]).targets.tolist() == [2]


def test_tokens_are_the_words_without_padding():
    data = Counting()
    data.setup()
    assert data.tokens(data.batch("train", [2, 0])) == [["one", "two", "three"], ["one"]]


def test_access_before_setup_is_an_error():
    with pytest.raises(RuntimeError, match="setup"):
        _ = Counting().task
    with pytest.raises(RuntimeError, match="setup"):
        Counting().batch("train", [0])


def test_a_large_split_reaches_a_loader_worker_as_one_tensor():
    examples = Examples([torch.tensor([i]) for i in range(50)], torch.zeros(50, dtype=torch.int64))
    copy = pickle.loads(pickle.dumps(examples))
    assert isinstance(copy.inputs, Ragged)
    assert copy.inputs.flat.tolist() == list(range(50))


def test_ragged_of_one_tensor_is_the_same():
    parts = [torch.tensor([1, 2]), torch.tensor([3]), torch.tensor([4, 5, 6])]
    made, listed = Ragged.from_flat(torch.arange(1, 7), np.array([2, 1, 3], dtype=np.int32)), Ragged(parts)
    assert torch.equal(made.flat, listed.flat)
    assert made.lengths.tolist() == listed.lengths.tolist()
    assert [x.tolist() for x in made] == [x.tolist() for x in listed]


def test_padding_waste_is_counted_by_hand():
    lengths = np.array([3, 1, 2, 2])
    assert padding_waste(lengths, [np.array([0, 1]), np.array([2, 3])]) == pytest.approx(2 / 10)
    assert padding_waste(lengths, [np.array([i]) for i in range(4)]) == 0


def test_padding_waste_is_in_the_notes():
    class Lengths(Counting):
        def build(self) -> Splits:
            splits = super().build()
            splits.train = Examples(
                [torch.ones(n, dtype=torch.int64) for n in LENGTHS], torch.zeros(1000).long()
            )
            return splits

    data = Lengths(batch_size=32)
    data.order_seed = 4
    data.setup()
    notes = data.task.notes
    batches = [b.lengths.numpy() for b in data.train_dataloader()]
    padded = 1 - LENGTHS.sum() / sum(b.max() * len(b) for b in batches)
    assert notes["padding_waste"] == pytest.approx(padded)
    assert notes["padding_waste"] < 0.1 < notes["padding_waste_unbucketed"]


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False)])
def test_memory_is_pinned_where_the_trainer_uses_a_gpu(device, pinned):
    data = Counting(workers=1)
    data.setup()
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(world_size=1, global_rank=0, strategy=strategy, overfit_batches=0.0)
    loader = data.val_dataloader()
    assert loader.pin_memory is pinned
    assert loader.persistent_workers
    assert loader.num_workers == 1


def test_ranks_of_the_loaders_see_each_example_once():
    seen = []
    for rank in range(3):
        data = Counting(batch_size=4)
        data.setup()
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(world_size=3, global_rank=rank, strategy=strategy, overfit_batches=0.0)
        for loader in (data.train_dataloader(), data.test_dataloader()):
            seen.extend(i for batch in loader for i in batch.ids.tolist())
    assert sorted(seen) == sorted([*range(5)] * 2)
