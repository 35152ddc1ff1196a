"""`scripts/audit.py`, `soak.py` and `kill_study.py`."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def database(answer: bytes) -> Iterator[tuple[str, list[Any]]]:
    """A server with one answer; the questions that it got."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_audit_names_vulnerable_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text("# pinned\nnumpy==2.0.0\ntorch==2.8.0+cpu \\\n    --hash=sha256:ab\nloose>=1\n")
    audit = script("audit")
    assert audit.pinned(path) == [("numpy", "2.0.0"), ("torch", "2.8.0")]
    with database(b'{"results": [{}, {"vulns": [{"id": "PYSEC-2"}, {"id": "GHSA-1"}]}]}') as (url, asked):
        assert audit.main([str(path)], url) == 1
    assert asked[0]["queries"][1] == {"package": {"name": "torch", "ecosystem": "PyPI"}, "version": "2.8.0"}
    assert "torch==2.8.0: GHSA-1, PYSEC-2" in capsys.readouterr().out
    with database(b'{"results": [{}, {}]}') as (url, _):
        assert audit.main([str(path)], url) == 0
    with database(b"<html>Please log in</html>") as (url, _):
        assert audit.main([str(path)], url) == 3
    assert audit.main([str(path)], url) == 3  # nobody listens
    assert capsys.readouterr().err.count("nothing was checked; try again online") == 2
    assert audit.main(["no such file"]) == 2


def test_every_pinned_version_is_asked_about() -> None:
    packages = script("audit").pinned(ROOT / "constraints.txt")
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    assert len(packages) == len(lines)


def test_what_the_kill_study_counts() -> None:
    differences = script("kill_study").differences
    whole = {"a": [1, 2], "b": b"x", "c": [3]}
    assert differences(whole, whole) == {"lost": 0, "doubled": 0, "different": 0}
    assert differences(whole, {"a": [1], "b": b"y", "c": [3, 3]}) == {"lost": 1, "doubled": 1, "different": 1}


@pytest.mark.parametrize("name", ["soak", "kill_study"])
def test_wrong_arguments_of_the_long_scripts(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert script(name).main(["jobz=3"]) == 2
    assert script(name).main(["--help"]) == 0
    assert "benchmarks/results" in capsys.readouterr().out


@pytest.mark.slow
def test_few_jobs_leave_nothing_behind() -> None:
    result = script("soak").measure(jobs=12, workers=2)
    assert {row["measure"] for row in result.rows} >= {"file descriptors", "threads"}
    assert all(row["met"] for row in result.rows if row["measure"] != "resident memory (MiB)")
