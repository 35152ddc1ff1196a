"""Runs are identified by the content of their files: moved files keep their run, edited ones do not."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, Compose
from omegaconf import DictConfig
from tracking.records import at_step, record, rows, send

import gatescope
from gatescope.cli import job, report_error
from gatescope.config import ConfigError, resolved
from gatescope.data.errors import DataError
from gatescope.run import run
from gatescope.tracking import content
from gatescope.tracking.content import find_inputs, replace_paths
from gatescope.tracking.identity import run_dir, run_id
from gatescope.tracking.outcomes import is_finished

TEXTS = "text,label\n" + "good day here,1\nbad day there,0\n" * 20
Own = Callable[..., DictConfig]


@pytest.fixture
def own(config: Compose, tmp_path: Path) -> Own:
    """Return a function that composes a run with the texts in folder/my.csv, which it creates."""

    def configured(folder: str = "here", *overrides: str) -> DictConfig:
        path = tmp_path / folder / "my.csv"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(TEXTS)
        words = (f"data.path={path}", "data.batch_size=8", "data.min_freq=1", "instruments=off")
        return config("data=text_file", *FAST, *words, *overrides)

    return configured


def edit(cfg: DictConfig, old: str = "good", new: str = "fine") -> None:
    path = Path(cfg.data.path)
    path.write_text(path.read_text().replace(old, new))


def test_an_edited_file_gets_a_new_run_and_a_moved_one_keeps_its_run(own: Own) -> None:
    cfg = own()
    first = run(cfg).directory
    assert is_finished(cfg)
    moved = own("there")
    assert is_finished(moved)
    assert run_dir(moved) == first
    edit(cfg)
    assert not is_finished(cfg)
    second = run(cfg).directory
    assert second != first
    assert second.name.rpartition("-")[0] == first.name.rpartition("-")[0]
    assert record(second)["data"]["vocabulary"] != record(first)["data"]["vocabulary"]
    edit(cfg, "fine", "good")
    assert run_dir(cfg) == first


@pytest.mark.slow
def test_an_interrupted_run_starts_again_if_its_file_was_edited(
    own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    long = ("trainer.max_epochs=3", "checkpoint.every_n_steps=1", "instruments=default")
    cfg = own("here", *long, *at_step(6, send(signal.SIGTERM)))
    with pytest.raises(SystemExit):
        run(cfg)
    stopped = run_dir(cfg)
    assert record(stopped)["status"] == "preempted"
    at_step(0, lambda: None)
    edit(cfg, ",1", ",2")
    result = run(cfg)
    assert result.directory != stopped
    assert record(result.directory)["resumed"] == []
    assert "continues from step" not in caplog.text
    assert rows(result.directory)[0]["step"] == 1
    edit(cfg, ",2", ",1")
    assert run(cfg).directory == stopped
    assert [one["step"] for one in record(stopped)["resumed"]] == [6]


def test_editing_a_file_while_it_is_read_fails_the_run(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    from gatescope.data.files.text_file import TextFile

    build, cfg = TextFile.build, own()

    def edited_meanwhile(self: TextFile):  # type: ignore[no-untyped-def]
        splits = build(self)
        edit(cfg)
        return splits

    monkeypatch.setattr(TextFile, "build", edited_meanwhile)
    with pytest.raises(DataError, match="was changed while it was read") as caught:
        run(cfg)
    assert report_error(caught.value) == 2


def test_a_missing_file_is_named_in_one_message(own: Own, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = own()
    path = Path(cfg.data.path)
    path.unlink()
    with pytest.raises(ConfigError) as caught:
        run(cfg)
    assert report_error(caught.value) == 2
    assert capsys.readouterr().err == f"{path}: no such file\n"


def test_a_run_is_loaded_whatever_became_of_its_file(own: Own) -> None:
    cfg = own()
    directory, path = run(cfg).directory, Path(cfg.data.path)
    expected = gatescope.load(directory).predict(["good day"])
    with path.open("a") as file:
        file.write("unheard of words,1\n" * 10)
    assert gatescope.load(directory).predict(["good day"]) == expected
    path.rename(path.with_name("elsewhere.csv"))
    assert gatescope.load(directory).predict(["good day"]) == expected


def test_a_sweep_repeats_only_runs_with_edited_files(own: Own) -> None:
    first, second = own(), own("there")
    edit(second)
    assert run_id(first) != run_id(second)
    for cfg in (first, second):
        assert isinstance(job(cfg), float)
    edit(first)
    assert run_id(first) == run_id(second)
    assert is_finished(first)


@pytest.mark.parametrize(
    ("data", "key", "name"),
    [
        ("text_file", "data.path", "a.csv"),
        ("text_file", "data.validation_path", "a.csv"),
        ("text_file", "data.test_path", "a.csv"),
        pytest.param("text_file", "data.vectors", "glove", marks=pytest.mark.slow),
        pytest.param("pairs_file", "data.path", "a.tsv", marks=pytest.mark.slow),
        pytest.param("pairs_file", "data.test_path", "a.tsv", marks=pytest.mark.slow),
        pytest.param("series_file", "data.path", "a.npz", marks=pytest.mark.slow),
        pytest.param("series_file", "data.validation_path", "a.ts", marks=pytest.mark.slow),
        pytest.param("polyphonic_file", "data.path", "a.mat", marks=pytest.mark.slow),
        pytest.param("audio_folder", "data.manifest", "list.csv", marks=pytest.mark.slow),
        pytest.param("characters", "data.path", "book", marks=pytest.mark.slow),
        pytest.param("tweets", "data.vectors", "glove.txt", marks=pytest.mark.slow),
        pytest.param("imdb", "data.vectors", "glove.txt", marks=pytest.mark.slow),
        pytest.param(
            "adding", "+data.corpus", "own.bin", marks=pytest.mark.slow
        ),  # of a class that a user adds
    ],
)
def test_each_key_that_names_a_file(config: Compose, tmp_path: Path, data: str, key: str, name: str) -> None:
    path, moved = tmp_path / name, tmp_path / "moved" / name
    path.write_bytes(b"one")
    moved.parent.mkdir()
    shutil.copy(path, moved)
    rest = () if key == "data.path" or data not in NEED_A_PATH else ("data.path=none",)

    def identity(at: Path) -> str:
        return run_id(config(f"data={data}", f"{key}={at}", *rest))

    before = identity(path)
    assert identity(moved) == before
    path.write_bytes(b"two")
    assert identity(path) != before


NEED_A_PATH = ("text_file", "pairs_file", "conll_file", "series_file", "polyphonic_file", "audio_folder")


def test_a_folder_is_identified_by_names_and_contents_of_its_files(config: Compose, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    (folder / "yes").mkdir(parents=True)
    (folder / "yes" / "1.wav").write_bytes(b"one")
    (folder / "no.wav").write_bytes(b"two")

    def identity(at: Path = folder) -> str:
        content._folder_digests.clear()
        return run_id(config("data=audio_folder", f"data.path={at}"))

    before = identity()
    assert identity(Path(shutil.copytree(folder, tmp_path / "moved" / "recordings"))) == before
    (folder / ".DS_Store").write_bytes(b"of the system")
    assert identity() == before
    (folder / "yes" / "1.wav").write_bytes(b"new")
    edited = identity()
    assert edited != before
    (folder / "yes" / "1.wav").rename(folder / "yes" / "2.wav")
    assert identity() not in (before, edited)


def test_values_that_are_not_paths_do_not_depend_on_the_working_directory(
    config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_id(config())
    monkeypatch.chdir(tmp_path)
    for word in ("text", "label", "train", "tweets", "default"):
        (tmp_path / word).write_text("in the way")
    assert run_id(config()) == before


def test_relative_paths_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = [replace_paths({"path": p}) for p in ("my.csv", "./my.csv", "~/my.csv", str(tmp_path / "my.csv"))]
    assert found[0]["path"].startswith("sha256:")
    assert found[0]["path"].endswith(".csv"), "another ending is read as another format"
    assert all(one == found[0] for one in found)
    assert [key for key, _, _ in find_inputs({"a": {"path": "my.csv", "b": "none.csv"}}, "data")] == [
        "data.a.path"
    ]


def test_a_file_is_read_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my.csv"
    path.write_text("one")
    time.sleep(content.CLOCK_RESOLUTION / 1e9 * 1.5)
    digested: list[Path] = []
    digest = content.hashlib.file_digest
    monkeypatch.setattr(
        content.hashlib, "file_digest", lambda file, kind: digested.append(path) or digest(file, kind)
    )
    first = replace_paths({"path": str(path)})
    for _ in range(1000):
        assert replace_paths({"path": str(path)}) == first
    assert len(digested) == 1
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, and its time set back
    assert replace_paths({"path": str(path)}) != first


def test_the_jobs_of_a_sweep_read_a_file_once(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = own()
    Path(cfg.data.path).write_bytes(np.random.default_rng(0).bytes(2_000_000))
    time.sleep(content.CLOCK_RESOLUTION / 1e9 * 1.5)
    plain = resolved(cfg)
    digests: list[None] = []
    digest = content.hashlib.file_digest
    monkeypatch.setattr(
        content.hashlib, "file_digest", lambda file, kind: digests.append(None) or digest(file, kind)
    )
    for seed in range(100):
        run_dir({**plain, "seed": seed})
    assert len(digests) == 1
