"""Numbers in words, and their sound: the same every time, in voices that no two splits share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gatescope.data.encoding import espeak
from gatescope.data.encoding.espeak import Utterance, speak
from gatescope.data.encoding.number_words import cardinal, ordinal, year
from gatescope.data.errors import DataError
from gatescope.data.generated.spoken_numbers import SpokenNumbers

pytest.importorskip("espeakng_loader")
pytest.importorskip("kaldi_native_fbank")
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpokenNumbers:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATESCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = SpokenNumbers(train=12, validation=4, test=6, mels=10, seed=3)
        made.setup()
        again = SpokenNumbers(train=12, validation=4, test=6, mels=10, seed=3)
        again.setup()  # from the cache
        assert again.identity == made.identity
    return made


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (21, "twenty one"),
        (100, "one hundred"),
        (205, "two hundred and five"),
        (1_001, "one thousand and one"),
        (40_300, "forty thousand three hundred"),
        (999_999, "nine hundred and ninety nine thousand nine hundred and ninety nine"),
    ],
)
def test_cardinals(number: int, words: str) -> None:
    assert cardinal(number) == words


def test_ordinals_and_years() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 12, 20, 31)] == [
        "first", "second", "third", "twelfth", "twentieth", "thirty first",
    ]  # fmt: skip
    years = [year(n) for n in (1900, 1906, 1987, 2005)]
    assert years == ["nineteen hundred", "nineteen oh six", "nineteen eighty seven", "two thousand and five"]


def test_speech_is_the_same_to_the_last_sample_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = [Utterance("seven", f"en+{voice}", 250) for voice in ("f2", "klatt", "m3", "whisper")]
    monkeypatch.setattr(espeak, "CHUNK", 2)
    first, second = ([one.sound.samples for one in speak(utterances, seed=1)] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert 0.1 * 22_050 < len(first[0]) < 2 * 22_050
    assert not np.array_equal(first[0][:2000], first[2][:2000])


@pytest.mark.parametrize(
    ("text", "voice", "said"),
    [
        ("one", "en+nobody", "no voice variant 'nobody'"),
        ("one", "xx", "no voice 'xx'"),
        (" ", "en", "no sound of ' '"),
    ],
)
def test_what_cannot_be_spoken(text: str, voice: str, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        list(speak([Utterance(text, voice)]))


def test_no_voice_is_in_two_splits(data: SpokenNumbers) -> None:
    voices = [{one.voice.partition("+")[2] for one in data.utterances[split]} for split in SPLITS]
    assert sum(map(len, voices)) == len(set().union(*voices))
    families = [{re.sub(r"(?<=..)\d+$", "", one).lower() for one in of_split} for of_split in voices]
    assert sum(map(len, families)) == len(set().union(*families))


def test_words_are_aligned_with_the_steps_in_which_they_are_spoken(data: SpokenNumbers) -> None:
    rows = list(range(6))
    batch = data.batch("test", rows)
    known = data.alignment("test", batch)
    assert known.shape == (*batch.targets.shape, batch.inputs.shape[1])
    for row in rows:
        text = data.utterances["test"][row].text
        starts = [int(known[row, i].nonzero()[0]) for i, letter in enumerate(text) if letter != " "]
        assert starts == sorted(starts)
        assert not known[row, [i for i, letter in enumerate(text) if letter == " "]].any()
        assert not known[row, :, int(batch.lengths[row]) :].any()
    covered = known.any(1).sum(1) / batch.lengths
    assert (covered > 0.9).all()


def test_features_are_standardised_over_train(data: SpokenNumbers) -> None:
    assert data.splits is not None
    flat = data.splits.train.inputs.flat  # type: ignore[attr-defined]
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(flat.std(0), 1, atol=1e-2)
    assert data.task.sound == {"mels": 10, "rate": 22050, "stack": 3, "subtract_mean": 1}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"espeakng-loader, GPL-3\.0-or-later.*speech"):
        SpokenNumbers(train=1, validation=1, test=1).build()


def test_mandarin_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path))
    data = SpokenNumbers(train=10, validation=1, test=2, language="mandarin", mels=8)
    data.setup()
    assert set(data.task.target_vocabulary[1:]) <= set(" 零一二三四五六七八九")
    batch = data.batch("test", [0, 1])
    said = [one.text.split() for one in data.utterances["test"]]
    assert data.alignment("test", batch).any(-1).sum(1).tolist() == [len(digits) for digits in said]


def test_noise_at_a_ratio() -> None:
    data = SpokenNumbers(snr=(20.0, 20.0))
    sound = espeak.Sound(np.sin(np.arange(22_050) / 10).astype(np.float32), 22_050)
    noise = data._with_noise(sound, np.random.default_rng(0)).samples - sound.samples
    ratio = (sound.samples**2).mean() / (noise**2).mean()
    assert 10 * np.log10(ratio) == pytest.approx(20, abs=0.2)
