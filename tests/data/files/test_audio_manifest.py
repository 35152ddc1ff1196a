"""Recordings with transcripts: layouts of lists, resampling, and messages on what cannot be learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from gatescope.data.encoding.audio import Sound, read_sound
from gatescope.data.encoding.spec_augment import SpecAugment
from gatescope.data.encoding.speech import SpeechFeatures
from gatescope.data.errors import DataError
from gatescope.data.files.audio_manifest import AudioManifest
from gatescope.sequences import END, Batch

pytest.importorskip("kaldi_native_fbank")
soundfile = pytest.importorskip("soundfile")
RATE = 8000
TONES = {"a": 400, "b": 900, "c": 1700, " ": 0}


def spoken(text: str, rate: int = RATE, shift: float = 0.0) -> np.ndarray:
    """A tone of 100 ms for each letter, and a silence for a space."""
    times = np.arange(rate // 10) / rate
    return np.concatenate(
        [0.3 * np.sin(2 * np.pi * (TONES[one] + shift) * times) for one in text.lower() if one in TONES]
    )


def write(path: Path, text: str, rate: int = RATE) -> Path:
    wavfile.write(path, rate, (32767 * spoken(text, rate)).astype(np.int16))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))


TEXTS = ["abc", "ab c", "ca b", "bac", "cab", "a b c", "cb a", "bc a", "acb", "b ca"]
Rows = list[dict[str, Any]]


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., str]:
    """A table of ten recordings, changed by a function of its rows."""

    def made(change: Callable[[Rows], None] = lambda rows: None, suffix: str = ".jsonl") -> str:
        rows: Rows = []
        for i, text in enumerate(TEXTS):
            write(tmp_path / f"{i}.wav", text)
            rows.append({"path": f"{i}.wav", "sentence": text.capitalize() + ".", "client_id": f"s{i // 2}"})
        change(rows)
        path = tmp_path / f"list{suffix}"
        if suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            path.write_text("\n".join("\t".join(line) for line in [rows[0], *(row.values() for row in rows)]))
        return str(path)

    return made


def load(path: str, **options: Any) -> AudioManifest:
    data = AudioManifest(path, **({"mels": 10, "rate": RATE} | options))
    data.setup()
    return data


def refused(path: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_common_voice(manifest: Callable[..., str], suffix: str) -> None:
    data = load(manifest(suffix=suffix), split_by="speaker", validation=0.2, test=0.2)
    assert data.task.target_vocabulary == ("<end>", " ", "a", "b", "c")
    speakers = [{one.speaker for one in data.recordings[split]} for split in ("train", "validation", "test")]
    assert [len(one) for one in speakers] == [3, 1, 1]
    assert len(set().union(*speakers)) == 5
    assert data.splits is not None
    first = data.splits.train.targets[0].tolist()
    letters = "".join(data.task.target_vocabulary[i] for i in first[:-1])
    assert (letters, first[-1]) == (data.recordings["train"][0].text, END)
    assert letters in TEXTS


def test_libri_speech_and_flac(tmp_path: Path) -> None:
    for part, chapters in {"train": (1, 2, 3), "dev": (4,), "test": (5,)}.items():
        for chapter in chapters:
            folder = tmp_path / part / "84" / str(chapter)
            folder.mkdir(parents=True)
            soundfile.write(folder / f"84-{chapter}-0000.flac", spoken("abc"), RATE)
            (folder / f"84-{chapter}.trans.txt").write_text(f"84-{chapter}-0000 AB C\n")
    data = load(*(str(tmp_path / part) for part in ("train",)), validation_path=str(tmp_path / "dev"),
                test_path=str(tmp_path / "test"))  # fmt: skip
    assert [len(data.recordings[split]) for split in ("train", "validation", "test")] == [3, 1, 1]
    assert data.recordings["train"][0].text == "ab c"
    assert data.recordings["train"][0].speaker == "84"


def test_sounds_of_any_rate_and_format_have_the_same_features(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", spoken("abc", 22050), 22050)
    features = SpeechFeatures(10, RATE, stack=3)
    wav = features(read_sound(write(tmp_path / "a.wav", "abc")))
    flac = features(read_sound(tmp_path / "a.flac"))
    assert wav.shape == flac.shape == (-(-28 // 3), 30)
    loud = wav > wav.max() - 3
    assert float(np.abs(wav - flac)[loud].mean()) < 0.2


def test_the_loudness_of_a_recording_does_not_matter() -> None:
    sound = spoken("abc") + np.random.default_rng(0).normal(0, 0.01, 3 * RATE // 10)
    quiet, loud = (
        SpeechFeatures(10, RATE)(Sound(part * sound.astype(np.float32), RATE)) for part in (0.5, 1)
    )
    np.testing.assert_allclose(quiet, loud, atol=1e-3)  # the mean spectrum is subtracted


BAD: dict[str, tuple[Callable[[Rows], Any], dict[str, Any], str]] = {
    "no recording": (lambda rows: rows[2].update(path="no.wav"), {}, "row 3 (line 3): no recording '"),
    "no transcript": (lambda rows: rows[1].update(sentence=" "), {}, "row 2 (line 2): the transcript is"),
    "nothing spoken": (
        lambda rows: rows[1].update(sentence="…"),
        {},
        "row 2 (line 2): the transcript holds no",
    ),
    "no speaker": (
        lambda rows: rows[4].update(client_id=""),
        {"split_by": "speaker"},
        "row 5 (line 5): the speaker is missing",
    ),
    "alphabet": (
        lambda rows: rows[0].update(sentence="50 %"),
        {"alphabet": "abc "},
        "row 1 (line 1): the transcript holds '%' '0' '5', which is not in data.alphabet: write it",
    ),
    "no column": (lambda rows: [row.pop("sentence") for row in rows], {}, "choose by data.transcript=NAME"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows(manifest: Callable[..., str], case: str) -> None:
    change, options, said = BAD[case]
    assert said in refused(manifest(change), **options)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(4000), "the recording is silent"),
        (np.zeros(0), "no samples"),
        (np.arange(99), "12 ms long, shorter than a window of 25 ms"),
    ],
)
def test_bad_recordings(manifest: Callable[..., str], tmp_path: Path, samples: np.ndarray, said: str) -> None:
    path = manifest()
    wavfile.write(tmp_path / "3.wav", RATE, samples.astype(np.int16))
    assert f"row 4 (line 4), 3.wav: {said}" in refused(path)


def test_spec_augment_masks_periods_and_bands() -> None:
    torch.manual_seed(0)
    inputs = torch.ones(50, 60, 2 * 8)
    lengths = torch.full((50,), 40)
    batch = Batch(inputs, lengths, torch.zeros(50, 1), torch.arange(50))
    periods = SpecAugment(2, 5, 0, 0, 8)(batch).inputs
    masked = (periods == 0).all(-1)
    assert ((periods == 0).any(-1) == masked).all()
    assert not masked[:, 40:].any()
    counts = masked.sum(1)
    assert 0 < counts.max() <= 10
    assert counts.float().mean() == pytest.approx(5, abs=1)
    bands = (SpecAugment(0, 0, 1, 3, 8)(batch).inputs == 0).all(1)
    assert torch.equal(bands[:, :8], bands[:, 8:])  # both windows of a step
    assert set(bands[:, :8].sum(1).tolist()) == {0, 1, 2, 3}
    same = SpecAugment(0, 9, 0, 9, 8)(batch).inputs
    assert torch.equal(same, inputs)
