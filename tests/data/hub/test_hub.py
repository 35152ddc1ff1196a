"""Datasets of the hub, from a local one in the hub's format; one message without a network."""

from __future__ import annotations

import builtins
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from gatescope.cli import USAGE, report_error
from gatescope.data.errors import DataError
from gatescope.data.hub import loading
from gatescope.data.hub.loading import load_hub, reachable
from gatescope.data.hub.speech import HubSpeech
from gatescope.data.hub.texts import HubTexts


@pytest.fixture
def datasets() -> Any:
    return pytest.importorskip("datasets", reason="extra hub: pip install -c constraints.txt -e '.[hub]'")


@pytest.fixture
def saved(datasets: Any, tmp_path: Path) -> Path:
    """Two splits of 40 texts with a ClassLabel, and one without labels, as the hub's SST-2 has it."""
    kind = datasets.Features(
        {
            "idx": datasets.Value("int32"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
        }
    )

    def split(labels: list[int]) -> Any:
        texts = [("an awful day", "a good day")[label == 1] + f" {i}" for i, label in enumerate(labels)]
        return datasets.Dataset.from_dict({"idx": range(len(labels)), "text": texts, "label": labels}, kind)

    parts = {"train": split([0, 1] * 20), "test": split([1, 0, 0, 1]), "blind": split([-1, -1])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def load(path: Path, **options: Any) -> HubTexts:
    data = HubTexts("some", "someone/something", path=str(path), **options)
    data.setup()
    return data


def test_texts_of_a_local_dataset(saved: Path) -> None:
    data = load(saved, min_freq=1)
    splits = data.splits
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [36, 4, 4]
    assert data.task.labels == ("bad", "good")
    assert splits.test.targets.tolist() == [1, 0, 0, 1]
    words = [data.task.vocabulary[i] for i in splits.test.inputs[1]]
    assert words == ["an", "awful", "day", "1"]
    assert splits.validation.targets.tolist().count(1) == 2
    assert len(load(saved, limit=10).splits.train) == 10
    assert len(load(saved, validation_split="test").splits.train) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_split": "blind"}, "split 'blind' holds texts without a label"),
        ({"test_split": "dev"}, "no split 'dev'; it has train, test, blind"),
        ({"text": "review"}, "no column 'review'; it has idx, text, label"),
        ({"label": "idx"}, "column 'idx' is Value"),
    ],
)
def test_invalid_datasets(saved: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"^someone/something: ") as caught:
        load(saved, **options)
    assert message in str(caught.value)


def test_a_folder_without_a_dataset(datasets: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset written by save_to_disk"):
        load(tmp_path)


def test_clips_of_a_local_dataset(datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kaldi_native_fbank")
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))

    def clip(label: int) -> dict[str, Any]:
        file = io.BytesIO()
        time = np.arange(2400) / 8000
        wavfile.write(file, 8000, np.sin(2 * np.pi * (400, 2500)[label] * time).astype(np.float32))
        return {"bytes": file.getvalue(), "path": None}

    def split(labels: list[int]) -> Any:
        kind = datasets.Features(
            {"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
        )
        kind["label"] = datasets.ClassLabel(names=["low", "high"])
        return datasets.Dataset.from_dict({"audio": [clip(i) for i in labels], "label": labels}, kind)

    parts = {"train": split([0, 1, 0]), "validation": split([1]), "test": split([0, 1])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = HubSpeech("clips", "someone/clips", path=str(tmp_path / "saved"), mels=10, rate=8000)
    data.setup()
    assert [len(s) for s in (data.splits.train, data.splits.validation, data.splits.test)] == [3, 1, 2]
    assert data.task.labels == ("low", "high")
    assert data.splits.test.targets.tolist() == [0, 1]
    low, high = (x.mean(0) for x in data.splits.test.inputs)
    assert (high - low).argmax() > (low - high).argmax()


def test_without_a_network_one_message_follows_immediately(
    datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "reachable", lambda endpoint: False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    before = datasets.config.HF_HUB_OFFLINE
    started = time.perf_counter()
    with pytest.raises(DataError) as caught:
        HubTexts("imdb", "stanfordnlp/imdb").setup()
    assert time.perf_counter() - started < 10
    assert before == datasets.config.HF_HUB_OFFLINE
    assert report_error(caught.value) == USAGE
    told = capsys.readouterr().err
    for word in ("stanfordnlp/imdb", "HF_HOME", "cannot be reached", "data=tweets"):
        assert word in told
    assert len(told.splitlines()) == 1


def test_the_offline_mode_of_the_user(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        load_hub("fancyzhx/ag_news_none", None, None, None)


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    assert not reachable("https://127.0.0.1:9")


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *given: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError("No module named 'datasets'")
        return real(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        DataError, match=r"stanfordnlp/sst2 comes from .*pip install -c constraints\.txt -e '\.\[hub\]'"
    ):
        load_hub("stanfordnlp/sst2", None, None, None)
