"""`scripts/audit.py`, `hashes.py`, `soak.py` and `kill_study.py`."""

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
def database(*answers: bytes) -> Iterator[tuple[str, list[Any]]]:
    """A server with these answers, the last of which it repeats; the questions that it got."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[min(len(asked), len(answers)) - 1])

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
    path.write_text(
        "# pinned\nnumpy==2.0.0\ntorch[cuda] == 2.8.0+cpu \\\n    --hash=sha256:ab\n-r other.txt\n"
    )
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


def test_the_audit_asks_for_all_pages_and_names_what_is_not_pinned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, audit = tmp_path / "constraints.txt", script("audit")
    path.write_text("a==1\nb==2\n")
    first = b'{"results": [{}, {"vulns": [{"id": "V-2"}], "next_page_token": "more"}]}'
    with database(first, b'{"results": [{"vulns": [{"id": "V-1"}]}]}') as (url, asked):
        assert audit.main([str(path)], url) == 1
    (query,) = asked[1]["queries"]
    assert (query["package"]["name"], query["page_token"]) == ("b", "more")
    assert "b==2: V-1, V-2" in capsys.readouterr().out
    path.write_text("a==1\nloose>=1\nstar==1.*\n")
    with database(b'{"results": [{}, {}]}') as (url, _):
        assert audit.main([str(path)], url) == 1
    assert capsys.readouterr().err.count("pins no version: not checked") == 2


def test_every_pinned_version_is_asked_about() -> None:
    assert script("audit").loose(ROOT / "constraints.txt") == []
    packages = script("audit").pinned(ROOT / "constraints.txt")
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    assert len(packages) == len(lines)


def test_wrong_arguments_of_the_hashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hashes = script("hashes")
    assert hashes.main([str(tmp_path / "none.txt")]) == 2
    assert "none.txt: no such file" in capsys.readouterr().err
    assert hashes.main(["a", "b", "c"]) == 2
    assert hashes.main(["--help"]) == 0


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
