"""Kernels and arrays are loaded only from folders and files that nobody else may write."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gatescope.cells.kernels import build
from gatescope.data import cache
from gatescope.private import private_folder, writable_by_others


def opened(path: Path) -> None:
    path.chmod(0o777)


def given_away(path: Path) -> None:
    os.chown(path, 12345, -1)


BAD = [opened, pytest.param(given_away, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GATESCOPE_CACHE, and another cache folder of the user."""
    private_folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    (tmp_path / "cache").mkdir(mode=0o700)
    return tmp_path / "cache"


@pytest.mark.skipif(not build.available(), reason="no C++ compiler")
@pytest.mark.parametrize("change", BAD)
@pytest.mark.parametrize("where", ["cache", "folder", "file"])
def test_a_library_that_others_could_have_written_is_not_loaded(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
    where: str,
) -> None:
    def compile_into(place: Path) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        (place / "made.so").write_bytes(b"ours")
        return place / "made.so"

    monkeypatch.setattr(build, "compile_into", compile_into)
    place = build.directory()
    assert place.is_relative_to(folder)
    place.mkdir(parents=True, mode=0o700)
    planted = place / f"{build.NAME}.so"
    planted.write_bytes(b"theirs")
    change({"cache": folder, "folder": place, "file": planted}[where])
    private_folder.cache_clear()
    caplog.set_level(logging.WARNING)
    path = build.built(build.directory())
    assert path.read_bytes() == b"ours"
    assert writable_by_others(path) is None
    if where != "file":
        assert not path.is_relative_to(folder)
        assert [str(folder) in record.message for record in caplog.records] == [True]
    assert build.built(build.directory()) == path


@pytest.mark.parametrize("change", BAD)
@pytest.mark.parametrize("where", ["cache", "file"])
def test_an_entry_that_others_could_have_written_is_computed_again(
    folder: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Path], None], where: str
) -> None:
    made = {"x": np.arange(3)}
    cache.cached("set", "1.0", {}, lambda: {"x": np.zeros(3)})
    (entry,) = folder.glob("*.npz")
    change(folder if where == "cache" else entry)
    private_folder.cache_clear()
    assert cache.cached("set", "1.0", {}, lambda: made)["x"].tolist() == [0, 1, 2]
    assert len(caplog.records) == 1
    assert str(folder) in caplog.text
    assert cache.cached("set", "1.0", {}, lambda: {})["x"].tolist() == [0, 1, 2], "and then kept"


def test_a_link_of_another_user_and_a_folder_that_can_be_replaced_are_refused(tmp_path: Path) -> None:
    (tmp_path / "open" / "mine").mkdir(parents=True)
    assert writable_by_others(tmp_path / "open" / "mine" / "new") is None
    (tmp_path / "open").chmod(0o777)
    assert writable_by_others(tmp_path / "open" / "mine" / "new") == (
        f"{tmp_path}/open can be written by other users"
    )
    (tmp_path / "open").chmod(0o1777)
    assert writable_by_others(tmp_path / "open" / "mine") is None, "as in /tmp, nobody else can rename it"
    if os.geteuid() == 0:
        (tmp_path / "link").symlink_to(tmp_path / "open" / "mine")
        os.chown(tmp_path / "link", 12345, -1, follow_symlinks=False)
        assert "belongs to another user" in str(writable_by_others(tmp_path / "link"))
