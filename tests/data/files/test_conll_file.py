"""A tag for each token: from CoNLL and JSONL files to training, spans, answers and scores."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, ROOT, Compose
from hydra import compose, initialize_config_dir
from torch.nn import functional as F

import gatescope
from gatescope.commands.data import main as describe
from gatescope.commands.evaluate import main as evaluate
from gatescope.commands.explain import main as explain
from gatescope.commands.predict import main as predict
from gatescope.data.errors import DataError
from gatescope.data.files.conll_file import ConllFile
from gatescope.run import RunResult, run
from gatescope.tracking import predictions

seqeval_metrics = pytest.importorskip("seqeval.metrics")

Sentences = list[tuple[list[str], list[str]]]
PARTS = {
    "PER": (["Anna Berg", "Tom Falk", "Lena"], "PER"),
    "LOC": (["New York", "Kiel", "Oslo"], "LOC"),
    "O": (["met", "in", "saw", ","], "O"),
}


def sentences(count: int = 120) -> Sentences:
    """Return sentences of names and places, whose tags follow from their words."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(count):
        tokens, tags = [], []
        for kind in rng.choice(list(PARTS), rng.integers(2, 6), p=[0.3, 0.3, 0.4]):
            words = str(rng.choice(PARTS[kind][0])).split()
            tokens += words
            tags += ["O"] if kind == "O" else [f"B-{kind}", *[f"I-{kind}"] * (len(words) - 1)]
        rows.append((tokens, tags))
    return rows


def conll(path: Path, rows: Sentences, separator: str = " ") -> Path:
    """Write four columns, of which the first and the last are those that are read."""
    blocks = ["-DOCSTART- -X- -X- O\n"]
    for tokens, tags in rows:
        blocks.append(
            "".join(f"{separator.join((t, 'x', 'y', g))}\n" for t, g in zip(tokens, tags, strict=True))
        )
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def jsonl(path: Path, rows: Sentences) -> Path:
    path.write_text("".join(json.dumps({"tokens": t, "tags": g}) + "\n" for t, g in rows))
    return path


def loaded(path: Path, **options: Any) -> ConllFile:
    data = ConllFile(str(path), **{"min_freq": 1} | options)
    data.setup()
    return data


def read_back(data: ConllFile) -> list[tuple[list[str], list[str]]]:
    """Return the sentences of all splits, sorted."""
    assert data.splits is not None
    found = []
    for split in (data.splits.train, data.splits.validation, data.splits.test):
        for ids, target in zip(split.inputs, split.targets, strict=True):
            words = [data.task.vocabulary[i] for i in ids]
            found.append((words, [data.task.labels[i] for i in target.tolist()]))
    return sorted(found)


def composed(root: Path, *overrides: str) -> Any:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", ["recipe=none", f"root={root}", *overrides])


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A bidirectional tagger whose training file is gone."""
    folder = tmp_path_factory.mktemp("names")
    path = conll(folder / "names.conll", sentences())
    words = ("data=conll_file", f"data.path={path}", "model.bidirectional=true", "data.test=0.2")
    fast = (*FAST, "trainer.max_epochs=12", "instruments=off", "optimizer.lr=0.05", "data.batch_size=16")
    found = run(composed(folder, *words, *fast, "model.embedding_size=10"))
    path.rename(folder / "moved.conll")
    return found


@pytest.mark.parametrize("form", ["conll", "tabs", "jsonl", "gz"])
def test_forms_are_equivalent(tmp_path: Path, form: str) -> None:
    rows = sentences(40)
    path = conll(tmp_path / "a.txt", rows, "\t" if form == "tabs" else " ")
    if form == "jsonl":
        path = jsonl(tmp_path / "a.jsonl", rows)
    if form == "gz":
        packed = tmp_path / "a.conll.gz"
        packed.write_bytes(gzip.compress(path.read_bytes().replace(b"\n", b"\r\n")))
        path = packed
    data = loaded(path)
    assert read_back(data) == sorted(rows)
    assert data.task.labels == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    assert (data.task.kind, data.task.metric) == ("tagging", "span_f1")


def test_parts_of_speech_of_a_conllu_file(tmp_path: Path) -> None:
    lines = ["# sent_id = 1", "1-2\tdu\t_\t_\t_", "1\tde\tde\tADP\tx", "2\tle\tle\tDET\tx", "2.1\t_\t_\t_\t_",
             "3\tlac\tlac\tNOUN\tx", ""]  # fmt: skip
    path = tmp_path / "a.conllu"
    path.write_text("\n".join(lines * 20))
    data = loaded(path)
    assert read_back(data)[0] == (["de", "le", "lac"], ["ADP", "DET", "NOUN"])
    assert data.task.metric == "accuracy"  # these tags mark no spans
    assert read_back(loaded(path, tags=3))[0][1] == ["de", "le", "lac"]


def test_from_a_file_to_tags(result: RunResult) -> None:
    assert result.summary["test/span_f1"] > 0.9
    model = gatescope.load(result.directory)
    first, second, unknown, empty = model.predict(
        ["Anna Berg met Lena, in Kiel", ["Tom", "in", "New", "York"], "qq xx", ""]
    )
    assert first.tokens == ["Anna", "Berg", "met", "Lena", ",", "in", "Kiel"]
    assert first.tags == ["B-PER", "I-PER", "O", "B-PER", "O", "O", "B-LOC"]
    assert second.tags == ["B-PER", "O", "B-LOC", "I-LOC"]
    assert (len(unknown.tags), unknown.warning) == (2, "only unknown tokens")
    assert (empty.tags, empty.tokens, empty.warning) == ([], [], "no token")
    long = model.predict("in " * 200)[0]
    assert len(long.tags) == 200
    assert long.warning.startswith("200 tokens, the longest in training had")


def test_reported_scores_are_those_of_seqeval(result: RunResult) -> None:
    data, model = result.data, gatescope.load(result.directory)
    assert data.splits is not None
    batch = data.batch("test", range(len(data.splits.test)))
    found = [answer.tags for answer in model.answers(batch)]
    true = [[data.task.labels[i] for i in row.tolist()] for row in data.splits.test.targets]
    summary = result.summary
    assert summary["test/span_f1"] == pytest.approx(seqeval_metrics.f1_score(true, found))
    assert summary["test/accuracy"] == pytest.approx(seqeval_metrics.accuracy_score(true, found))
    with torch.no_grad():
        values = model.model(batch).values
    losses = [
        F.cross_entropy(values[i, : len(row)], data.splits.test.targets[i]).item()
        for i, row in enumerate(true)
    ]
    table = predictions.read(result.directory / "predictions.csv")
    assert table.loss.to_numpy() == pytest.approx(losses, rel=1e-3, abs=1e-5)
    f1 = 2 * table.span_hits.sum() / (table.span_predictions.sum() + table.spans.sum())
    assert f1 == pytest.approx(summary["test/span_f1"])


def test_the_commands(result: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sentences(30)
    rows[0][1][0] = "B-LOC" if rows[0][1][0] != "B-LOC" else "O"  # a tag that the model gets wrong
    new, out = jsonl(tmp_path / "new.jsonl", rows), tmp_path / "answers.jsonl"
    words = [f"run={result.directory}"]
    assert predict([*words, f"file={new}", f"out={out}"]) == 0
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    found = [answer["prediction"] for answer in answers]
    assert found == [a.tags for a in gatescope.load(result.directory).predict([t for t, _ in rows])]
    assert predict([*words, "text=Lena in Oslo"]) == 0
    assert "Lena\tB-PER\nin\tO\nOslo\tB-LOC\n" in capsys.readouterr().out
    scores = tmp_path / "scores.json"
    file = conll(tmp_path / "new.conll", rows)
    assert evaluate([*words, f"file={file}", f"out={scores}"]) == 0
    assert "Spans. n: spans of the type." in capsys.readouterr().out
    content, true = json.loads(scores.read_text()), [tags for _, tags in rows]
    assert content["metrics"]["span_f1"]["value"] == pytest.approx(seqeval_metrics.f1_score(true, found))
    drawn = np.random.default_rng(1).integers(30, size=(150, 30))
    samples = [seqeval_metrics.f1_score([true[i] for i in r], [found[i] for i in r]) for r in drawn]
    bounds = [content["metrics"]["span_f1"][end] for end in ("low", "high")]
    assert bounds == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=0.04)
    report = seqeval_metrics.classification_report(true, found, output_dict=True)
    for name in ("PER", "LOC"):
        assert content["spans"][name]["f1"]["value"] == pytest.approx(report[name]["f1-score"])
        assert content["spans"][name]["recall"]["n"] == report[name]["support"]
    jsonl(new, [(["in"], ["B-ORG"])])
    assert evaluate([*words, f"file={new}"]) == 1
    assert "row 1 (line 1): 'B-ORG' is no tag of the run, which are: B-LOC" in capsys.readouterr().err
    page = tmp_path / "page.html"
    assert explain([*words, "text=Anna in Kiel", f"out={page}"]) == 0
    assert "B-PER O B-LOC" in page.read_text()


def test_instruments_description_and_weights(
    config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "names.jsonl", sentences(60))
    words = ("data=conll_file", f"data.path={path}", "model.bidirectional=true")
    every = ("instruments=full", "instruments.every_n_steps=2", "loss.class_weights=balanced")
    result = run(config(*words, *FAST, *every))
    lines = (result.directory / "readings.jsonl").read_text().splitlines()
    names = {json.loads(line)["name"] for line in lines}
    assert any("gradient" in name for name in names)
    assert any("gate" in name for name in names)
    assert result.module is not None
    batch = result.data.batch("train", range(5))
    values = result.module(batch)
    weights = result.module.objective.class_weights  # type: ignore[attr-defined]
    flat = torch.cat([targets[targets >= 0] for targets in result.data.splits.train.targets])  # type: ignore[union-attr]
    assert weights[flat].mean().item() == pytest.approx(1)
    expected = [
        (weights[t[:n]] * F.cross_entropy(v[:n], t[:n], reduction="none")).mean().item()
        for v, t, n in zip(values, batch.targets, batch.lengths.tolist(), strict=True)
    ]
    found = result.module.objective.training_loss(values, batch.targets)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert describe([*words[:2], f"out={tmp_path}"]) == 0
    assert "tagging of tokens" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.conll", "Kiel LOC\nin\n\n" * 20, {"tags": 2}, r"line 2: nothing in column 2; the line has"),
        ("a.conll", "Kiel\n\n" * 20, {}, r"sentence 1 \(line 1\): one column, and a tag is needed for each"),
        ("a.conll", "Kiel O\n\n" * 20, {}, r"every token has the tag 'O', two are needed"),
        ("a.conll", "Kiel O\n\n" * 20, {"tags": "ner"}, r"data.tags: given ner, .* the position of one"),
        ("a.conll", "\n\n", {}, r"a.conll: no sentences"),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', {}, r"row 1 \(line 1\): 2 tokens and 1 tags"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["O"]}\n', {}, r"column tokens: expected a list, found 'a b'"),
        ("a.jsonl", '{"words": ["a"], "tags": ["O"]}\n', {}, r"no column 'tokens'"),
        ("a.conll", "Kiel X\nin Y\n\n" * 20, {"spans": True}, r"data.spans: given true, and the tags are"),
    ],
)  # fmt: skip
def test_invalid_files_are_one_message(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        loaded(path, **options)


def test_a_tag_that_train_lacks(tmp_path: Path) -> None:
    train = jsonl(tmp_path / "a.jsonl", sentences(40))
    test = jsonl(tmp_path / "b.jsonl", [(["in", "Rome"], ["O", "B-ORG"])])
    with pytest.raises(
        DataError, match=r"b.jsonl: row 1 \(line 1\), column tags: label 'B-ORG' is not in a.json"
    ):
        loaded(train, test_path=str(test))


def test_without_seqeval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "a.jsonl", sentences(40))
    monkeypatch.setitem(sys.modules, "seqeval.metrics.sequence_labeling", None)
    with pytest.raises(
        DataError, match=r"pip install 'gatescope\[tagging\]'; data.spans=false compares tags"
    ):
        loaded(path)
    assert loaded(path, spans=False).task.metric == "accuracy"


def test_folds_test_each_sentence_once(tmp_path: Path) -> None:
    rows = [([f"word{n}", "x"], ["B-PER", "O"]) for n in range(20)]
    path = jsonl(tmp_path / "a.jsonl", rows)
    tested = []
    for fold in range(4):
        splits = loaded(path, folds=4, fold=fold, spans=False).splits
        assert splits is not None
        tested.append(len(splits.test))
        assert len(splits.train) + len(splits.validation) + len(splits.test) == 20
    assert sum(tested) == 20


def test_words_in_lower_case(tmp_path: Path) -> None:
    data = loaded(jsonl(tmp_path / "a.jsonl", sentences(40)), tokenizer="words")
    assert "anna" in data.task.vocabulary
    assert data.tokenize("Anna Berg, in") == ["anna", "berg", ",", "in"]
