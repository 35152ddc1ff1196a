"""An invalid run.json is rebuilt, and no measurement is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose, first_few
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tracking.records import assert_same, at_step, record, rows, send

from gatescope.analysis.runs import RecordSource
from gatescope.cli import job
from gatescope.data.errors import DataError
from gatescope.run import run
from gatescope.tracking import directory as on_disk
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import is_finished, monitored_value, sweep_table
from gatescope.tracking.progress import Job, read_progress, report
from gatescope.tracking.runfile import read_run, read_valid_run, repair_run

DAMAGED = {
    "missing": None,
    "empty": b"",
    "wrong bytes": b"\x80\x00\xff",
    "a list": b"[]",
    "half": b'{"status": "finis',
    "no number": b'{"status": "finished", "summary": 3}',
}
ILL_TYPED: dict[str, Any] = {"resumed": None, "summary": 3, "status": "done", "seconds": "1", "task": []}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def damage(directory: Path, data: bytes | None) -> None:
    path = directory / "run.json"
    path.unlink() if data is None else path.write_bytes(data)


def kept(directory: Path) -> dict[str, bytes]:
    """Return the content of rows and checkpoints of a run."""
    files = [*directory.glob("*.jsonl"), *directory.glob("checkpoints/*.ckpt")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[..., Any], Path]:
    """Return a function that composes a config for a root, and the directory of a finished run to copy."""
    from conftest import FAST, ROOT, SMALL
    from hydra import compose, initialize_config_dir

    def composed(root: Path, *words: str) -> Any:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("config", [*SMALL, *FAST, f"root={root}", "trainer.max_epochs=2", *words])

    root = tmp_path_factory.mktemp("whole")
    run(composed(root))
    return composed, root


@pytest.mark.parametrize(
    "data", first_few([*DAMAGED.values(), *ILL_TYPED.items()], 3), ids=[*DAMAGED, *ILL_TYPED]
)
def test_a_finished_run_stays_finished(
    whole: tuple[Callable[..., Any], Path], tmp_path: Path, data: bytes | tuple[str, Any] | None
) -> None:
    composed, root = whole
    cfg = composed(shutil.copytree(root, tmp_path / "runs"))
    directory = run_dir(cfg)
    before, told = kept(directory), record(directory)
    if isinstance(data, tuple):
        data = json.dumps(told | {data[0]: data[1]}).encode()
    damage(directory, data)
    assert not is_finished(cfg)
    assert job(cfg) == told["summary"]["best/validation/mse"]
    assert kept(directory) == before
    assert (directory / "run.json.broken").exists() == (data is not None)
    assert data is None or (directory / "run.json.broken").read_bytes() == data
    again = record(directory)
    same = ("run_id", "study", "status", "exit_code", "tags", "task", "parameters", "kernel")
    assert {name: again[name] for name in same} == {name: told[name] for name in same}
    for name in ("test/mse", "test/loss", "best/validation/mse", "seconds_per_epoch"):
        assert again["summary"][name] == pytest.approx(told["summary"][name])
    assert is_finished(cfg)


@pytest.mark.parametrize(
    "data", [None, pytest.param(b"", marks=pytest.mark.slow), pytest.param(b"[]", marks=pytest.mark.slow)]
)
def test_a_stopped_run_continues_from_its_checkpoint(
    small: Compose, tmp_path: Path, data: bytes | None
) -> None:
    often = ("checkpoint.every_n_steps=1", "instruments.every_n_steps=1", "checkpoint.keep=all")
    words = ("trainer.max_epochs=2", *often)
    expected = run(small(*words, f"root={tmp_path}/whole")).directory
    cfg = small(*words, f"root={tmp_path}/stopped", *at_step(6, send(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    at_step(-1, lambda: None)
    damage(run_dir(cfg), data)
    assert isinstance(job(cfg), float)
    assert_same(expected, run_dir(cfg))
    assert [one["step"] for one in record(run_dir(cfg))["resumed"]] == [5]


def test_a_baseline_stays_finished(config: Compose) -> None:
    cfg = config("data=gunpoint", "model=majority", "tracking=off")
    expected = run(cfg)
    assert expected.monitored == monitored_value(expected.directory)
    damage(expected.directory, b"[]")
    before = kept(expected.directory)
    found = run(cfg)
    assert found.summary["test/accuracy"] == expected.summary["test/accuracy"]
    assert found.monitored == expected.monitored
    assert kept(expected.directory) == before


def test_without_a_checkpoint_the_earlier_record_is_kept(
    small: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = small("checkpoint.every_seconds=null", *at_step(3, send(signal.SIGINT)), "trainer.max_epochs=2")
    with pytest.raises(KeyboardInterrupt):
        run(cfg)
    at_step(-1, lambda: None)
    before = kept(run_dir(cfg))
    assert before["metrics.jsonl"]
    damage(run_dir(cfg), b"[]")
    run(cfg)
    assert kept(run_dir(cfg) / "earlier" / "1") == before
    assert rows(run_dir(cfg))[0]["step"] <= 1
    assert "the earlier record is kept in" in caplog.text


def test_a_finished_run_is_not_run_again_from_python_either(small: Compose) -> None:
    cfg = small()
    first = run(cfg)
    before = kept(first.directory)
    again = run(cfg)
    assert (again.summary, again.monitored) == (record(first.directory)["summary"], first.monitored)
    assert kept(first.directory) == before
    assert again.module is not None
    run(small("force=true"))
    assert not (first.directory / "earlier").exists()
    assert kept(first.directory).keys() == before.keys()


def test_readers_show_a_damaged_record_without_changing_it(
    whole: tuple[Callable[..., Any], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    composed, root = whole
    cfg = composed(shutil.copytree(root, tmp_path / "runs"))
    damage(run_dir(cfg), b"[]")
    found = RecordSource(tmp_path / "runs", "default").tables()
    assert list(found.runs.status) == ["finished"]
    assert list(found.runs.variant) == ["gru-none"]
    assert "run.json is damaged: the run is shown from the rest of its record" in caplog.text
    assert (run_dir(cfg) / "run.json").read_bytes() == b"[]"


@pytest.fixture(scope="module")
def victim(whole: tuple[Callable[..., Any], Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    composed, root = whole
    return composed(shutil.copytree(root, tmp_path_factory.mktemp("victim") / "runs"))


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
@example(data=b'{"status": "finished", "seconds": 1e400, "reason": "\\ud800"}')
@example(data=b"[" * 100_000)
def test_any_bytes_are_read_without_a_traceback(victim: Any, data: bytes) -> None:
    read_all(victim, data)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_value_of_any_field_is_read_without_a_traceback(
    whole: tuple[Callable[..., Any], Path], victim: Any, data: st.DataObject
) -> None:
    composed, root = whole
    node = told = record(run_dir(composed(root)))
    name = data.draw(st.sampled_from(sorted(told)))
    if isinstance(told[name], dict) and told[name] and data.draw(st.booleans()):
        node, name = told[name], data.draw(st.sampled_from(sorted(told[name])))
    node[name] = data.draw(json_values)
    read_all(victim, json.dumps(told).encode())


def read_all(cfg: Any, data: bytes) -> None:
    """Call every reader of run.json, then `repair_run`."""
    directory = run_dir(cfg)
    before = kept(directory)
    damage(directory, data)
    found = read_run(directory)
    assert found["status"] in ("running", "finished", "failed", "preempted", "interrupted")
    report([read_progress(Job("gru-none", cfg, directory))])
    sweep_table([cfg], {})
    is_finished(cfg)
    monitored_value(directory)
    RecordSource(directory.parents[1], "default").tables()
    assert repair_run(directory) == found
    assert read_valid_run(directory) == json.loads(json.dumps(found))
    assert kept(directory) == before


def test_a_run_writes_a_valid_file(whole: tuple[Callable[..., Any], Path]) -> None:
    composed, root = whole
    directory = run_dir(composed(root))
    assert read_valid_run(directory) == record(directory)


def test_run_json_is_flushed_before_and_after_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    real, replace = os.fsync, Path.replace

    def fsync(number: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        real(number)

    def renamed(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    on_disk.write_atomically(tmp_path / "run.json", "{}\n")
    assert events == [f".run.json.{os.getpid()}", "rename", tmp_path.name]


def test_a_finished_run_without_its_weights_returns_none(
    whole: tuple[Callable[..., Any], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    composed, root = whole
    cfg = composed(shutil.copytree(root, tmp_path / "runs"))
    best = run_dir(cfg) / "checkpoints" / "best.ckpt"
    assert run(cfg).module is not None
    best.write_bytes(b"xx")
    with pytest.raises(DataError, match=r"best.ckpt is damaged: force=true trains the run again"):
        run(cfg)
    best.unlink()
    result = run(cfg)
    assert result.module is None
    assert result.summary == record(run_dir(cfg))["summary"]
    assert "has no weights: the recorded scores" in caplog.text


def test_a_reason_with_bytes_that_are_not_text_is_recorded(config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "bytes.csv"
    path.write_bytes(b"\x80\xff,label\n\xfe,1\n")
    cfg = config("data=text_file", f"data.path={path}", "tracking=off")
    with pytest.raises(DataError):
        run(cfg)
    told = read_valid_run(run_dir(cfg))
    assert told is not None
    assert told["status"] == "failed"
