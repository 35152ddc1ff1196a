"""Without its sources or a compiler, the native kernel is not available, and torch's modules are used."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gatescope.cells.kernels import build


@pytest.mark.parametrize("missing", ["sources", "compiler"])
def test_available_says_why_there_is_no_kernel(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GATESCOPE_CACHE", str(tmp_path))
    if missing == "sources":
        monkeypatch.setattr(build, "SOURCES", tmp_path)
        reason = f"no C++ sources in {tmp_path}"
    else:
        monkeypatch.setenv("CXX", "no-such-compiler")
        reason = "no C++ compiler: no-such-compiler is not on the path"
    monkeypatch.setattr(build, "library", build.library.__wrapped__)  # without its cache
    with caplog.at_level(logging.WARNING):
        assert not build.available.__wrapped__()
    assert [record.getMessage() for record in caplog.records] == [
        f"no native kernel ({reason}): using torch's recurrent modules"
    ]
