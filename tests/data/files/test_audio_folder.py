"""Recordings of the user: features compared with a spectrum, names and manifests, invalid files."""

from __future__ import annotations

import builtins
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Compose
from scipy.io import wavfile

from gatescope.data.encoding.audio import LogMel, Sound, read_wav
from gatescope.data.errors import DataError
from gatescope.data.files import audio_folder
from gatescope.data.files.audio_folder import AudioFolder, compile_pattern
from gatescope.run import run

pytest.importorskip("kaldi_native_fbank")
RATE = 8000
TONES = {"low": 300, "high": 2000}


def tone(hertz: float, seconds: float = 0.2, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two words by five speakers, four takes each, of unlike lengths."""
    path = tmp_path / "recordings"
    path.mkdir()
    for word, hertz in TONES.items():
        for speaker in range(5):
            for take in range(4):
                sound = tone(hertz + 10 * speaker, 0.1 + 0.02 * take)
                wavfile.write(path / f"{word}_s{speaker}_{take}.wav", RATE, (sound * 32767).astype(np.int16))
    return path


def load(path: Path, **options: Any) -> AudioFolder:
    data = AudioFolder(str(path), **({"mels": 12} | options))
    data.setup()
    return data


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("hertz", [250, 700, 1500, 3000])
def test_a_tone_is_loudest_in_the_band_around_its_pitch(hertz: int) -> None:
    features = LogMel(20, RATE)(Sound(tone(hertz), RATE))

    def mel(f: float) -> float:
        return 1127 * np.log(1 + f / 700)

    centres = np.linspace(mel(20), mel(RATE / 2), 22)[1:-1]  # triangles, evenly spaced in mel
    nearest = int(np.abs(centres - mel(hertz)).argmin())
    assert abs(int(features.mean(0).argmax()) - nearest) <= 1


def test_windows_of_25_ms_every_10_ms_and_logarithms() -> None:
    sound = tone(700, 0.5)
    features = LogMel(16, RATE)(Sound(sound, RATE))
    assert features.shape == (1 + (4000 - 200) // 80, 16)
    louder = LogMel(16, RATE)(Sound(2 * sound, RATE))
    band = features.mean(0).argmax()
    np.testing.assert_allclose(louder[:, band] - features[:, band], np.log(4), atol=1e-3)
    np.testing.assert_array_equal(features, LogMel(16, RATE)(Sound(sound, RATE)))


def test_resampling_keeps_the_features() -> None:
    direct = LogMel(16, RATE)(Sound(tone(700), RATE))
    brought = LogMel(16, RATE)(Sound(tone(700, rate=16000), 16000))
    band = direct.mean(0).argmax()
    np.testing.assert_allclose(brought[2:-2, band], direct[2:-2, band], atol=0.05)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_samples_of_every_type_are_within_one(tmp_path: Path, kind: Any) -> None:
    sound = tone(440)
    if kind == np.uint8:
        stored = (sound * 127 + 128).astype(kind)
    else:
        stored = sound if kind == np.float32 else (sound * np.iinfo(kind).max).astype(kind)
    wavfile.write(tmp_path / "a.wav", RATE, np.stack([stored, stored], axis=1))
    found = read_wav((tmp_path / "a.wav").read_bytes())
    np.testing.assert_allclose(found.samples, sound, atol=0.02)
    assert found.rate == RATE


def test_labels_match_the_sounds(folder: Path) -> None:
    data = load(folder, standardise=False)
    assert data.task.labels == ("high", "low")
    assert data.task.input_size == 12
    splits = (data.splits.train, data.splits.validation, data.splits.test)
    assert [len(s) for s in splits] == [32, 4, 4]
    for split in splits:
        for x, label in zip(split.inputs, split.targets.tolist(), strict=True):
            assert (x.mean(0).argmax() > 5) == (label == 0)
    assert data.task.notes["speakers"] == 5


def test_no_speaker_is_in_two_splits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_folder, "series_splits", lambda *given: given)
    options = {"split_by": "speaker", "test": 0.2, "validation": 0.2}
    _, _, _, rows, *_ = AudioFolder(str(folder), mels=12, **options).build()  # type: ignore[misc]
    names = sorted(p.name for p in folder.iterdir())
    speakers = [{names[i].split("_")[1] for i in part} for part in rows]
    assert [len(s) for s in speakers] == [3, 1, 1]
    assert len(set.union(*speakers)) == 5


def test_the_mean_spectrum_is_subtracted_for_new_speakers(folder: Path) -> None:
    shares = {"test": 0.2, "validation": 0.2, "standardise": False}
    plain = load(folder, split_by="speaker", subtract_mean=False, **shares)
    centred = load(folder, split_by="speaker", **shares)
    assert len(centred.splits.train) == 24
    for x, y in zip(plain.splits.train.inputs, centred.splits.train.inputs, strict=True):
        torch.testing.assert_close(y, x - x.mean(dim=0))
    assert centred.task.notes["subtract_mean"] is True
    assert "subtract_mean" not in load(folder).task.notes
    by_example = load(folder, standardise=False, subtract_mean=True).splits.test.inputs
    assert max(float(x.mean(dim=0).abs().max()) for x in by_example) < 1e-4


def test_a_run_by_speaker_subtracts_the_mean_spectrum(folder: Path, config: Compose) -> None:
    words = (
        "data=audio_folder",
        f"data.path={folder}",
        "data.mels=12",
        "data.test=0.2",
        "data.validation=0.2",
    )
    for split, subtracted in (("speaker", True), ("example", False)):
        cfg = config(*words, f"data.split_by={split}", *FAST, "instruments=off")
        notes = json.loads((run(cfg).directory / "run.json").read_text())["task"]["notes"]
        assert notes.get("subtract_mean", False) is subtracted


def test_features_are_computed_once(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    assert len(list(cache.glob("*.npz"))) == 1

    def fail(*given: Any) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patched:
        patched.setattr(audio_folder, "read_wav", fail)
        assert load(folder).splits.train.lengths.tolist() == first.splits.train.lengths.tolist()
        with pytest.raises(AssertionError, match="computed again"):
            load(folder, mels=16)
    wavfile.write(folder / "low_s0_0.wav", RATE, tone(300, 0.5))
    changed = load(folder)
    assert changed.task.notes["sha256"] != first.task.notes["sha256"]


def test_a_manifest(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    names = sorted(p.name for p in folder.iterdir())
    rows = [f"{name},{name.split('_')[2][0]},{name.split('_')[1]}\n" for name in names]
    manifest.write_text("file,label,speaker\n" + "".join(rows))
    assert load(folder, manifest=str(manifest)).task.labels == ("0", "1", "2", "3")
    manifest.write_text("file,label,speaker\nnone.wav,a,b\n" + rows[0].replace("s0", ""))
    message = refused(folder, manifest=str(manifest), split_by="speaker")
    assert "row 1 (line 2), column file: no file 'none.wav' in" in message


def test_patterns() -> None:
    match = compile_pattern("{label}/{speaker}_nohash_{take}.wav").fullmatch("yes/0a7c_nohash_1.WAV")
    assert match is not None
    assert match.groupdict() == {"label": "yes", "speaker": "0a7c", "take": "1"}
    assert compile_pattern("{label}_{take}.wav").fullmatch("turn_left_1.wav") is None, "two ways to read it"
    for wrong in ("{word}.wav", "{label}_{label}.wav", "{take}.wav"):
        with pytest.raises(DataError, match=r"data\.pattern"):
            compile_pattern(wrong)


def test_invalid_folders(folder: Path, tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no WAV file" in refused(tmp_path / "empty")
    assert "{label}/{take}.wav holds no {speaker}" in refused(
        folder, pattern="{label}/{take}.wav", split_by="speaker"
    )
    (folder / "odd.wav").write_bytes(b"")
    assert "odd.wav: the name does not match the pattern {label}_{speaker}_{take}.wav" in refused(folder)


def test_invalid_recordings(folder: Path) -> None:
    whole = (folder / "low_s0_3.wav").read_bytes()
    (folder / "low_s0_0.wav").write_bytes(b"no sound at all")
    (folder / "low_s0_1.wav").write_bytes(whole[:400])
    wavfile.write(folder / "low_s0_2.wav", RATE, tone(300, 0.02))
    wavfile.write(folder / "low_s0_3.wav", 2 * RATE, tone(300))
    wavfile.write(folder / "low_s1_0.wav", RATE, tone(300) * np.float32(np.nan))
    (folder / "low_s1_1.wav").write_bytes(b"RIFF" + struct.pack("<I", 4) + b"WAVE")
    message = refused(folder)
    assert "6 problems, the first 5:" in message
    assert "low_s0_0.wav: not a readable WAV file" in message
    assert "low_s0_1.wav: not a readable WAV file" in message
    assert "low_s0_2.wav: 20 ms long, shorter than a window of 25 ms" in message
    assert "low_s0_3.wav: 16000 Hz, and the first file has 8000 Hz: data.rate=8000 resamples" in message
    assert "low_s1_0.wav: NaN or infinity in the samples" in message


def test_one_label_only(folder: Path) -> None:
    for path in folder.glob("high*"):
        path.unlink()
    assert "all 20 rows have the label 'low'" in refused(folder)


def test_a_missing_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *given: Any, **more: Any) -> Any:
        if name.startswith("kaldi"):
            raise ImportError(name)
        return real(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refused(folder).endswith("pip install -c constraints.txt -e '.[speech]'")
