"""Recordings to words, from the command's config to the scores: CTC and a decoder with attention."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import FAST, Compose
from scipy.io import wavfile
from torchmetrics.text import CharErrorRate, WordErrorRate

import gatescope
from gatescope.commands.evaluate import evaluate
from gatescope.commands.predict import predict
from gatescope.config import ConfigError, check
from gatescope.data.encoding.spec_augment import SpecAugment
from gatescope.data.errors import DataError
from gatescope.explain import explain, page
from gatescope.run import RunResult, run
from gatescope.sequences import Batch

pytest.importorskip("kaldi_native_fbank")
RATE, TONES = 8000, {"a": 400, "b": 1500, " ": 0}
OPTIONS = (
    "kernel=torch",
    "data=audio_manifest",
    "data.mels=8",
    f"data.rate={RATE}",
    "data.stack=2",
    "data.batch_size=8",
    *FAST,
)


def record(path: Path, text: str) -> None:
    """A tone of 80 ms for each letter, and a silence for a space."""
    times = np.arange(int(0.08 * RATE)) / RATE
    noise = np.random.default_rng(len(text)).normal(0, 0.01, len(text) * len(times))
    samples = np.concatenate([np.sin(2 * np.pi * TONES[one] * times) for one in text])
    wavfile.write(path, RATE, (10_000 * (samples + noise)).astype(np.int16))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    rows = ["path,sentence"]
    for i in range(40):
        words = ("".join(rng.choice(["a", "b"], rng.integers(1, 4))) for _ in range(rng.integers(1, 4)))
        text = " ".join(words)
        record(folder / f"{i}.wav", text)
        rows.append(f"{i}.wav,{text.upper()}!")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


@pytest.fixture
def finished(manifest: Path, config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunResult:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))
    masked, mask = [], SpecAugment.__call__

    def counted(self: SpecAugment, batch: Batch) -> Batch:
        masked.append(len(batch.ids))
        return mask(self, batch)

    monkeypatch.setattr(SpecAugment, "__call__", counted)
    search = ("decoder.beam=3", "decoder.ngram=2")
    masks = ("data.time_masks=1", "data.band_masks=1", "data.band_width=2")
    result = run(config(*OPTIONS, f"data.path={manifest}", *search, *masks, "trainer.max_epochs=2"))
    assert masked == [8, 8, 8, 8] * 2  # Lightning calls the hook for batches of training alone
    return result


def test_a_run_and_what_is_done_with_it(
    finished: RunResult, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = pd.read_csv(finished.directory / "predictions.csv", keep_default_na=False)
    texts = {
        name: ["".join(one.split()).replace("␣", " ") for one in predictions[name]]
        for name in ("prediction", "target")
    }
    words, characters = WordErrorRate(), CharErrorRate()
    for metric in (words, characters):
        metric.update(texts["prediction"], texts["target"])
    assert finished.summary["test/word_error_rate"] == pytest.approx(float(words.compute()), abs=1e-6)
    assert finished.summary["test/character_error_rate"] == pytest.approx(
        float(characters.compute()), abs=1e-6
    )

    trained = gatescope.load(finished.directory)
    assert trained.model.ngram is not None  # type: ignore[union-attr]
    assert float(trained.model.ngram.exp().sum()) == pytest.approx(4, abs=1e-4)  # type: ignore[union-attr]
    test = trained.data.recordings["test"]  # type: ignore[attr-defined]
    answers = trained.predict([one.path for one in test])
    assert ["".join(answer.symbols) for answer in answers] == texts["prediction"]

    out = finished.directory / "answers.jsonl"
    predict(run=str(finished.directory), file=str(test[0].path), out=str(out))
    answer = json.loads(out.read_text())
    assert (answer["file"], answer["prediction"]) == (str(test[0].path), texts["prediction"][0])

    table = finished.directory / "test.csv"
    lines = [f"{one.path},{one.text}" for one in test]
    table.write_text("\n".join(["path,sentence", *lines]) + "\n")
    scores = finished.directory / "scores.json"
    evaluate(run=str(finished.directory), file=str(table), out=str(scores))
    found = json.loads(scores.read_text())["metrics"]
    for name in ("word_error_rate", "character_error_rate", "exact_match"):
        assert found[name]["value"] == pytest.approx(finished.summary[f"test/{name}"], abs=1e-6)

    explanation = explain(trained, trained.example(0), "test 0", has_target=True)
    assert explanation.target is not None
    assert len(explanation.features) == 8
    assert len(explanation.features[0]) == 2 * len(explanation.steps)
    (finished.directory / "page.html").write_text(content := page(explanation), encoding="utf-8")
    assert "test 0" in content
    with pytest.raises(DataError, match=r"no\.wav: no such recording"):
        trained.predict(["no.wav"])


def test_a_run_starts_from_the_symbols_that_another_knows(
    finished: RunResult, manifest: Path, config: Compose
) -> None:
    words = ("data.alphabet='bca '", "freeze=[head]", f"from={finished.directory}", "decoder.ngram=2")
    result = run(config(*OPTIONS, f"data.path={manifest}", *words))
    assert result.module is not None
    before, after = gatescope.load(finished.directory), result.module.model
    for symbol in "ab ":
        old, new = (task.target_vocabulary.index(symbol) for task in (before.task, after.task))
        weights = (before.model.head.weight[old], after.head.weight[new])  # type: ignore[union-attr]
        assert weights[0].tolist() == weights[1].tolist()


def test_a_decoder_with_attention_learns_the_same_data(
    manifest: Path, config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))
    result = run(config(*OPTIONS, f"data.path={manifest}", "decoder=recurrent", "attention=additive"))
    assert result.summary["test/character_error_rate"] >= 0
    assert (result.directory / "predictions.csv").exists()


def test_a_recording_that_is_too_short_for_its_transcript(
    manifest: Path, config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))
    cfg = config(*OPTIONS, f"data.path={manifest}", "data.stack=16")
    with pytest.raises(
        DataError, match=r"\.wav: \d+ steps, and CTC needs \d+ for its transcript: use a smaller"
    ):
        run(cfg)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("attention=additive",), "decoder=ctc has an output at every step, without attention"),
        (("loss.label_smoothing=0.1",), "loss.label_smoothing: given 0.1; decoder=ctc"),
        (("decoder=none",), "decoder: given none, and these data need one; Allowed: ctc, input_feeding"),
    ],
)
def test_what_does_not_fit_together(config: Compose, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(config("data=spoken_numbers", *words))
