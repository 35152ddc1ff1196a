"""A text as streams that continue from batch to batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data.errors import DataError
from gatescope.data.files.characters import Characters


def made(path, text, **options):
    path.write_text(text, encoding="utf-8")
    data = Characters(path=str(path), **options)
    data.setup()
    return data


def letters(data, rows):
    return ["".join(data.task.vocabulary[i] for i in row) for row in rows.tolist()]


@settings(deadline=None, max_examples=30)
@given(
    text=st.text("abcd \n", min_size=200, max_size=400),
    streams=st.integers(1, 5),
    steps=st.integers(1, 30),
)
def test_rows_of_consecutive_batches_are_the_text(tmp_path_factory, text, streams, steps):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    data = made(path, text, batch_size=streams, steps=steps, validation=0.2, test=0.2)
    parts = {"train": data.train_dataloader(), "test": data.test_dataloader()}
    read = {name: list(loader) for name, loader in parts.items()}
    for name, whole in {"train": text[: int(len(text) * 0.6)], "test": text[int(len(text) * 0.8) :]}.items():
        inputs = torch.cat([batch.inputs for batch in read[name]], dim=1)
        targets = torch.cat([batch.targets for batch in read[name]], dim=1)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        found = [x + y[-1] for x, y in zip(letters(data, inputs), letters(data, targets), strict=True)]
        length = len(whole) // streams
        expected = [whole[i * length : (i + 1) * length] for i in range(streams)]
        known = set(data.task.vocabulary)
        assert found == [
            "".join(c if c in known else "<unk>" for c in stream)[: len(found[i])]
            if not set(stream) <= known
            else stream
            for i, stream in enumerate(expected)
        ]
        assert all(batch.inputs.shape[1] <= steps for batch in read[name])


def test_every_epoch_has_the_same_order(tmp_path):
    data = made(tmp_path / "text.txt", "hello, world. " * 50, batch_size=3, steps=7)
    loader = data.train_dataloader()
    first = [batch.ids.tolist() for batch in loader]
    loader.batch_sampler.set_epoch(1)
    assert first == np.arange(len(first) * 3).reshape(-1, 3).tolist()
    assert [batch.ids.tolist() for batch in loader] == first


def test_a_character_that_train_lacks_is_unknown(tmp_path):
    data = made(tmp_path / "text.txt", "ab" * 100 + "z" * 30, batch_size=2, validation=0.1, test=0.1)
    assert data.task.vocabulary == ("<unk>", "a", "b")
    assert data.splits.test.inputs.flat.eq(0).all()


def test_line_ends_and_byte_order_mark(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + b"one\r\ntwo\r\n" * 40)
    data = Characters(path=str(path), batch_size=2)
    data.setup()
    assert data.task.vocabulary == ("<unk>", "\n", "e", "n", "o", "t", "w")


def test_without_a_file_the_articles_are_read_in_an_order_of_the_seed():
    data, other = Characters(limit=5000, batch_size=4), Characters(limit=5000, batch_size=4, seed=1)
    data.setup()
    other.setup()
    assert data.task.notes["characters"] == 5000
    assert letters(data, data.splits.train.inputs[0][None]) != letters(
        other, other.splits.train.inputs[0][None]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "text.txt: no such file"),
        (b"", "the file is empty"),
        (b"fine until \xff here" * 9, "byte 11 is not UTF-8"),
        (b"too short", r"split has \d+ characters, too few for data.batch_size=64 streams"),
    ],
)
def test_an_unreadable_file(tmp_path, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Characters(path=str(path)).setup()
