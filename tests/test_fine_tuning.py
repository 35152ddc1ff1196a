"""`from=RUN` and `freeze=[…]`, through `run(cfg)`: which weights are kept, new, and left alone."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import gatescope
from gatescope.config import ConfigError
from gatescope.fine_tuning import start_from
from gatescope.run import RunResult, run
from gatescope.run_options import with_options_of_start
from gatescope.tracking.identity import run_id

SIZES = ("model.hidden_size=8", "model.embedding_size=6")
OPTIONS = ("data=text_file", "data.min_freq=1", "attention=dot", *SIZES)
FAST = ("trainer.max_epochs=1", "trainer.threads=1", "tracking=off", "instruments=off")
WORDS = {"high": ("great", "lovely", "fine"), "low": ("dull", "awful", "poor")}


def write_texts(path: Path, words: dict[str, tuple[str, ...]]) -> Path:
    """Write 60 texts, as many of each class."""
    rows = [f"a {words[label][i % 3]} film,{label}" for i in range(60 // len(words)) for label in words]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


def config(root: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", ["recipe=none", f"root={root}", *FAST, *OPTIONS, *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(scope="module")
def first(folder: Path) -> RunResult:
    return run(config(folder / "runs", f"data.path={write_texts(folder / 'first.csv', WORDS)}"))


def weights(result: RunResult) -> dict[str, torch.Tensor]:
    assert result.module is not None
    return result.module.model.state_dict()


def test_frozen_parts_stay_and_the_others_are_trained(
    folder: Path, first: RunResult, caplog: pytest.LogCaptureFixture
) -> None:
    options = (f"data.path={folder / 'first.csv'}", f"from={first.directory.name}")
    with caplog.at_level(logging.INFO):
        result = run(
            config(folder / "runs", *options, "freeze=[embedding,stack]", "optimizer.weight_decay=0.1")
        )
    before, after = weights(first), weights(result)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("frozen")] == [
        f"frozen: embedding, {before['embedding.weight'].numel()} parameters",
        f"frozen: stack, {sum(v.numel() for k, v in before.items() if k.startswith('stack'))} parameters",
    ]
    assert not [r for r in caplog.records if r.getMessage().startswith("from ")], "nothing is new"


def test_training_continues_where_the_weights_are(folder: Path, first: RunResult) -> None:
    """With a learning rate of nearly 0 the scores are those of the other run."""
    options = (f"data.path={folder / 'first.csv'}", f"from={first.directory}", "optimizer.lr=1e-9")
    result = run(config(folder / "runs", *options))
    assert result.summary["test/loss"] == pytest.approx(first.summary["test/loss"], abs=1e-5)
    assert result.directory != first.directory


def test_both_keys_are_part_of_the_id_wherever_the_run_is(folder: Path, first: RunResult) -> None:
    path = f"data.path={folder / 'first.csv'}"
    starts = [f"from={first.directory.name}", f"from={first.directory}"]
    by_id, by_path = (run_id(config(folder / "runs", path, start)) for start in starts)
    frozen = run_id(config(folder / "runs", path, starts[0], "freeze=[stack]"))
    assert by_id == by_path
    assert len({first.directory.name, by_id, frozen}) == 3


def test_new_words_and_new_labels(folder: Path, first: RunResult, caplog: pytest.LogCaptureFixture) -> None:
    words = {
        "high": ("superb", "great", "fine"),
        "low": ("dull", "grim", "grim"),
        "none": ("new", "new", "new"),
    }
    path = write_texts(folder / "second.csv", words)
    start = (f"data.path={path}", f"from={first.directory}", "freeze=[stack]")
    with caplog.at_level(logging.INFO):
        result = run(config(folder / "runs", *start))
    old, new = first.data.task.vocabulary, result.data.task.vocabulary
    assert new[: len(old)] == old, "every word keeps its id"
    assert set(new) - set(old) == {"superb", "grim", "new"}
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("from ")]
    name = first.directory.name
    assert said == [
        f"from {name}: 3 new words get new rows in the embedding, {len(old)} of {len(old)} are kept",
        f"from {name}: a new head for high, low, none instead of high, low",
    ]
    unused = old.index("awful")  # not among the new texts, so that training leaves its row alone
    torch.testing.assert_close(
        weights(result)["embedding.weight"][unused],
        weights(first)["embedding.weight"][unused],
        rtol=0,
        atol=0,
    )
    answers = gatescope.load(result.directory).predict(["a grim film", "an awful film"])
    assert [answer.warning for answer in answers] == ["", ""]
    assert list(answers[0].probabilities) == ["high", "low", "none"]
    assert "drawn at random" not in caplog.text, "the frozen stack is not new"
    assert result.module is not None
    start_from(result.module.model, gatescope.load(first.directory), ["embedding", "stack", "head"])
    assert re.findall(r"freeze=\[(\w+)\]: .* drawn at random", caplog.text) == ["embedding", "head"]


def test_the_subwords_of_the_other_run_are_kept(folder: Path, first: RunResult) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed (the extra subwords)")
    options = ("data.tokenizer=subwords", "data.max_tokens=40")
    start = run(config(folder / "runs", f"data.path={folder / 'first.csv'}", *options))
    path = write_texts(folder / "third.csv", {"high": ("zz", "zzz", "zzzz"), "low": ("yy", "yyy", "yyyy")})
    result = run(config(folder / "runs", f"data.path={path}", *options, f"from={start.directory}"))
    assert result.data.task.tokenizer == start.data.task.tokenizer
    known = start.data.task.vocabulary
    assert result.data.task.vocabulary[: len(known)] == known


def test_the_rows_of_a_decoder_follow_their_symbols(tmp_path: Path) -> None:
    sizes = ("data=dates", "data.train=32", "data.validation=8", "data.test=8", "attention=dot", *SIZES)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        start = run(compose("config", ["recipe=none", f"root={tmp_path}", *FAST, *sizes]))
        other = ("data.seed=1", f"from={start.directory.name}", "freeze=[embedding,stack,decoder.output]")
        result = run(compose("config", ["recipe=none", f"root={tmp_path}", *FAST, *sizes, *other]))
    old, new = start.data.task, result.data.task
    assert old.target_vocabulary != new.target_vocabulary, "other dates, other frequencies"
    before, after = weights(start), weights(result)
    for i, symbol in enumerate(new.target_vocabulary):
        row = old.target_vocabulary.index(symbol)
        assert torch.equal(after["decoder.output.weight"][i], before["decoder.output.weight"][row])
    for i, character in enumerate(new.vocabulary):
        if character in old.vocabulary:
            row = old.vocabulary.index(character)
            assert torch.equal(after["embedding.weight"][i], before["embedding.weight"][row])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("model.hidden_size=9",), r"from=\S+: its architecture is another one: give model\.hidden_size=8$"),
        (("model=lstm",), r"give model\.cell\._target_=gatescope\.cells\.gru\.GRU"),
        (("attention=additive",), r"give attention\._target_="),
        pytest.param(("from=gru-none",), "from=gru-none: no run 'gru-none' under", marks=pytest.mark.slow),
        pytest.param(
            ("freeze=[heads]",),
            "freeze=heads: no part with parameters; Allowed: embedding, stack, head$",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("freeze=[embedding,stack,head]",),
            r"freeze=\[embedding,stack,head\]: nothing is left to train",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("data=adding",),
            r"it reads texts, and these data have 2 features per step: choose other data",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("model=majority",), "from: a model without a network has no weights", marks=pytest.mark.slow
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_does_not_fit_is_one_message(
    folder: Path, first: RunResult, options: tuple[str, ...], said: str
) -> None:
    path = [] if options[0].startswith("data=") else [f"data.path={folder / 'first.csv'}"]
    rest = [one for one in OPTIONS if not (options[0].startswith("data=") and one.startswith("data"))]
    words = [*rest, *path, f"from={first.directory}", *options]
    if options[0] == "model=majority":
        words = [word for word in words if not word.startswith("model.")]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", ["recipe=none", f"root={folder / 'runs'}", *FAST, *words])
    with pytest.raises(ConfigError, match=said):
        run(cfg)


def test_the_command_takes_data_and_model_of_the_run(
    folder: Path, first: RunResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    words = [f"from={first.directory.name}", "root=runs", "data.batch_size=32", "trainer.max_epochs=3"]
    added = with_options_of_start(words)
    printed = capsys.readouterr().out
    assert added[-len(words) :] == words
    assert printed == f"{words[0]}: {' '.join(added[: -len(words)])}\n"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", added)
    saved = OmegaConf.load(first.directory / "config.yaml")
    assert cfg.data == {**saved.data, "batch_size": 32}
    assert (cfg.model, cfg.attention) == (saved.model, saved.attention)


def test_what_the_command_chooses_itself_is_left_to_it(
    folder: Path, first: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"from={first.directory}", "data=tweets"]
    added = with_options_of_start(words)
    assert not [word for word in added if word.startswith("data.")]
    assert "model.hidden_size=8" in added
    assert with_options_of_start([*words, "experiment=tweets"]) == [*words, "experiment=tweets"]
    assert with_options_of_start(["model=gru"]) == ["model=gru"]
    # What is minimised and compared is chosen anew, and that is said in a line.
    capsys.readouterr()
    OmegaConf.update(
        saved := OmegaConf.load(first.directory / "config.yaml"), "loss.class_weights", "balanced"
    )
    saved.monitor, other = "macro_f1", folder / "other"
    shutil.copytree(first.directory, other)
    OmegaConf.save(saved, other / "config.yaml")
    with_options_of_start([f"from={other}", "data=tweets"])
    left = "not taken over, give again what is to stay: loss.class_weights='balanced' monitor='macro_f1'"
    assert capsys.readouterr().out.splitlines()[1] == f"from={other}: {left}"
    with_options_of_start([f"from={other}", "data=tweets", "monitor=loss"])
    assert "monitor" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match="from=nothing: no run 'nothing' under"):
        with_options_of_start(["from=nothing", f"root={folder}"])
