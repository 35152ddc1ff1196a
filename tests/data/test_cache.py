"""The cache computes an entry once, and again if it is damaged."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.data import cache

ARRAYS = {"bits": np.arange(400, dtype=np.uint8).reshape(20, 20), "lengths": np.array([7, 13])}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return ARRAYS


def ask(make, source="package 1.0", **options):
    found = cache.cached("set", source, options, make)
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)


def test_computed_once_per_version_and_settings():
    make = Maker()
    for _ in range(3):
        ask(make, grid=1, names=None)
        ask(make, names=None, grid=1)
    assert make.calls == 1
    ask(make, grid=2, names=None)
    ask(make, source="package 1.1", grid=1, names=None)
    assert make.calls == 3


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_damaged_entry_is_computed_again(data):
    make = Maker()
    ask(make)
    (entry,) = cache.cache_folder().glob("*.npz")
    whole = entry.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans(), label="cut"):
        entry.write_bytes(whole[:at])
    else:  # a byte of an array's own, behind zip's header
        at = whole.index(b"bits.npy") + 28 + at % 20
        entry.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    ask(make)
    ask(make)
    assert entry.read_bytes() == whole
    entry.unlink()


def test_a_failed_computation_leaves_no_file(folder):
    def fails():
        raise ValueError("no such piece")

    with pytest.raises(ValueError, match="no such piece"):
        cache.cached("set", "1", {}, fails)
    assert not list(folder.glob("*.npz"))
    ask(Maker(), source="1")


def test_an_unwritable_folder_is_not_an_error(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path / "file" / "cache"))
    make = Maker()
    ask(make)
    ask(make)
    assert make.calls == 2
    assert "set GATESCOPE_CACHE to another folder" in caplog.text


CHILD = """
import runpy, sys, time, numpy as np
cached = runpy.run_path(sys.argv[2])["cached"]
def make():
    time.sleep(0.3)
    with open(sys.argv[1], "a") as file:
        file.write("made\\n")
    return {"x": np.arange(1000)}
assert cached("set", "1", {}, make)["x"].sum() == 499500
"""


def test_concurrent_processes_compute_once(tmp_path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "made"), cache.__file__], stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors.decode()
    assert (tmp_path / "made").read_text() == "made\n"


def test_the_users_cache_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.delenv("GATESCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "gatescope"
