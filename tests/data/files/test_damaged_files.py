"""Files damaged at random: each is read, or refused in one message that names it, before any training."""

from __future__ import annotations

import io
import random
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat, wavfile

from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.files.audio_folder import AudioFolder
from gatescope.data.files.characters import Characters
from gatescope.data.files.conll_file import ConllFile
from gatescope.data.files.labels import to_number
from gatescope.data.files.pairs_file import PairsFile
from gatescope.data.files.polyphonic_file import PolyphonicFile
from gatescope.data.files.series_file import SeriesFile
from gatescope.data.files.text_file import TextFile

TEXTS = "".join(
    f"{'a good' if i % 2 else 'a bad'} film no {i},{'pn'[i % 2]},{i / 7:.3f}\n" for i in range(60)
)
JSONL = "".join(f'{{"text": "a film no {i}", "label": "{"pn"[i % 2]}", "stars": {i}}}\n' for i in range(60))
CONLL = "".join(f"Ann B-P\nsaw O\nno{i} O\n\n" for i in range(60))
PAIRS = "source\ttarget\n" + "".join(f"word{i}\tdrow{i}\n" for i in range(60))
TS = "@classLabel true 0 1\n@data\n" + "".join(f"{i},2,3:4,5,{i}:{i % 2}\n" for i in range(60))


def npz() -> bytes:
    file = io.BytesIO()
    y = np.arange(40) % 2
    np.savez(file, x=np.random.default_rng(0).normal(size=(40, 6, 2)), y=y, lengths=np.full(40, 6))
    return file.getvalue()


def mat() -> bytes:
    file = io.BytesIO()
    cells = np.empty((1, 3), dtype=object)
    for i in range(3):
        cells[0, i] = (np.random.default_rng(i).random((9, 88)) < 0.1).astype(np.uint8)
    savemat(file, {"traindata": cells, "validdata": cells, "testdata": cells})
    return file.getvalue()


def wav(dtype: type = np.int16, rate: int = 8000, count: int = 800) -> bytes:
    file = io.BytesIO()
    tone = 0.5 * np.sin(np.arange(count) / 3)
    largest = {np.uint8: 127, np.int16: 2**15 - 1, np.int32: 2**31 - 1}.get(dtype, 1)
    wavfile.write(file, rate, (tone * largest + 128 * (dtype is np.uint8)).astype(dtype))
    return file.getvalue()


def sounds(path: Path) -> AudioFolder:
    """A folder of good files, and the given one."""
    folder = path.parent / "sounds"
    folder.mkdir(exist_ok=True)
    for speaker in range(12):
        (folder / f"{'ab'[speaker % 2]}_s{speaker}_0.wav").write_bytes(wav())
    (folder / "a_s12_0.wav").write_bytes(path.read_bytes())
    return AudioFolder(str(folder), mels=8)


LOADERS: dict[str, tuple[str, bytes, Callable[[Path], SequenceData]]] = {
    "csv": ("csv", f"text,label,stars\n{TEXTS}".encode(), lambda path: TextFile(str(path))),
    "numbers": (
        "csv",
        f"text,label,stars\n{TEXTS}".encode(),
        lambda path: TextFile(str(path), label="stars", kind="regression"),
    ),
    "jsonl": ("jsonl", JSONL.encode(), lambda path: TextFile(str(path))),
    "conll": ("conll", CONLL.encode(), lambda path: ConllFile(str(path))),
    "pairs": ("tsv", PAIRS.encode(), lambda path: PairsFile(str(path), unit="character")),
    "ts": ("ts", TS.encode(), lambda path: SeriesFile(str(path))),
    "npz": ("npz", npz(), lambda path: SeriesFile(str(path))),
    "mat": ("mat", mat(), lambda path: PolyphonicFile(str(path))),
    "characters": ("txt", ("to be or not to be\n" * 200).encode(), lambda path: Characters(str(path))),
    "wav": ("wav", wav(), sounds),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return content with one to four changes: bytes that differ, are missing, doubled, or from elsewhere."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(min(len(content), draw.choice([64, len(content)])) or 1)
        end = start + draw.choice([1, 1, 2, 8, 64])
        piece = draw.choice(
            [
                draw.randbytes(end - start), b"", content[start:end] * 2, b"\0", b"\xff\xfe", b'"', b"\n\n",
                b"nan", b"1e300", b"1_000", b",,", b"\xc3", b"-1", b"\t", b"\r",
            ]
        )  # fmt: skip
        content = content[:start] + piece + content[end:]
        if draw.random() < 0.1:
            content = content[: draw.randrange(len(content) + 1)]
    return content


def not_as_it_should_be(kind: str, folder: Path, count: int, seed: int) -> list[str]:
    """Return what was neither read into finite values nor refused in a message that names file or key."""
    suffix, good, make = LOADERS[kind]
    draw, wrong = random.Random(seed), []
    for number in range(count):
        path = folder / f"mine.{suffix}"
        path.write_bytes(damaged(good, draw))
        try:
            data = make(path)
            data.setup()
            assert data.splits is not None
            inputs: Any = data.splits.train.inputs[0]
            assert not inputs.is_floating_point() or bool(inputs.isfinite().all())
        except DataError as error:
            if not any(name in str(error) for name in (path.name, "sounds", "data.", "jsonl", "_0.wav")):
                wrong.append(f"{number}: {error}")
        except Exception as error:
            wrong.append(f"{number}: {type(error).__name__}: {error}")
    return wrong


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", LOADERS)
def test_a_damaged_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    assert not_as_it_should_be(kind, tmp_path, 20 if kind != "wav" else 6, seed=0) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", LOADERS)
def test_many_damaged_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    assert not_as_it_should_be(kind, tmp_path, 200, seed=1) == []


def refused(data: SequenceData) -> str:
    with pytest.raises(DataError) as caught:
        data.setup()
    return str(caught.value)


def test_a_number_too_large_for_float32_is_named(tmp_path: Path) -> None:
    x = np.zeros((40, 3, 1))
    x[7, 1, 0] = 1e300
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(40) % 2)
    assert "x[7], step 1, feature 0" in refused(SeriesFile(str(tmp_path / "x.npz")))
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"a {i},{i}\n" for i in range(40)) + "b,1e300\n")
    assert "row 41" in refused(TextFile(str(tmp_path / "x.csv"), kind="regression"))


def test_an_array_that_claims_60_gb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = io.BytesIO()
    array: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": (40, 200_000, 2000)}
    np.lib.format.write_array_header_1_0(header, array)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(1000))
    np.savez(tmp_path / "y.npz", y=np.arange(40) % 2)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive, zipfile.ZipFile(tmp_path / "y.npz") as other:
        archive.writestr("y.npy", other.read("y.npy"))
    assert "array 'x' is cut off: (40, 200000, 2000) needs" in refused(SeriesFile(str(tmp_path / "x.npz")))


def test_what_only_python_reads_as_a_number_is_none() -> None:
    assert to_number("1_000") is None
    assert to_number("1000") == 1000


def test_points_between_thousands_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"a house {i};{150 + i}.000\n" for i in range(40))
    (tmp_path / "x.csv").write_text("text;label\n" + rows)
    TextFile(str(tmp_path / "x.csv"), kind="regression").setup()
    assert "column label: every number has a point before its last three digits" in caplog.text
    assert "such as 189.000, which is read as 189" in caplog.text
    caplog.clear()
    (tmp_path / "x.csv").write_text("text;label\n" + rows + "a hut;0.5\n")
    TextFile(str(tmp_path / "x.csv"), kind="regression").setup()
    assert "three digits" not in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav(count=0), "no samples"),
        (wav()[:500], "not a readable WAV file"),
        (wav(rate=3), "a rate of 3 Hz"),
        (wav(rate=16000), "16000 Hz, and the first file has 8000 Hz"),
        (b"", "not a readable WAV file"),
        (wav(count=20), "shorter than a window"),
    ],
)
def test_sounds_that_cannot_be_used_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    found = refused(sounds(tmp_path / "x.wav"))
    assert "a_s12_0.wav" in found
    assert message in found


def test_sounds_of_8_16_24_and_32_bits_are_the_same(tmp_path: Path) -> None:
    from gatescope.data.encoding.audio import read_wav

    expected = read_wav(wav(np.float32)).samples
    for dtype in (np.uint8, np.int16, np.int32, np.float64):
        assert np.abs(read_wav(wav(dtype)).samples - expected).max() < 0.02
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(3)
        sound.setframerate(8000)
        values = (0.5 * np.sin(np.arange(800) / 3) * (2**23 - 1)).astype("<i4")
        sound.writeframes(values.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    assert np.abs(read_wav(file.getvalue()).samples - expected).max() < 1e-4
