"""Nothing that W&B's server does ends a run or makes it wait for long."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import Compose
from wandb_standin import StandIn, serving

from gatescope.run import run
from gatescope.tracking import lifecycle, wandb_outage
from gatescope.tracking.wandb_upload import finish_upload

HTML = b"<html><body>Welcome to our hotel. Please log in.</body></html>"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(wandb_outage, "_dead", {})
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bytes], list[str]]]:
    """Start a server that gives one answer to everything; it returns the list of what was asked."""
    stop, servers = threading.Event(), []

    def serve(code: int, content: bytes) -> list[str]:
        asked: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def answer(self) -> None:
                asked.append(self.path)
                if not code:
                    stop.wait(60)
                    return
                self.send_response(code)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_HEAD = answer

            def log_message(self, *arguments: Any) -> None:
                pass

        one = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        one.daemon_threads = True
        threading.Thread(target=one.serve_forever, daemon=True).start()
        servers.append(one)
        url = f"http://127.0.0.1:{one.server_address[1]}"
        for name, value in (StandIn(url).environment).items():
            monkeypatch.setenv(name, value)
        return asked

    yield serve
    stop.set()
    for one in servers:
        one.shutdown()
        one.server_close()


OTHERS = [
    pytest.param(code, HTML[:size], marks=pytest.mark.slow) for code, size in ((302, 99), (403, 99), (200, 0))
]


@pytest.mark.parametrize(("code", "content"), [(200, HTML), (0, b""), *OTHERS])
def test_a_server_that_answers_with_something_else_does_not_end_the_run(
    small: Compose,
    server: Callable[[int, bytes], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    content: bytes,
) -> None:
    monkeypatch.setattr("gatescope.tracking.wandb.INIT_SECONDS", 2.0)
    asked = server(code, content)
    result = run(small("tracking=online", "tracking.finish_seconds=4", "instruments=off"))
    kept = json.loads((result.directory / "run.json").read_text())
    assert kept["status"] == "finished"
    assert caplog.text.count("recorded offline, `wandb sync` sends it later") == 1
    assert list(result.directory.parent.glob("wandb/offline-run-*/*.wandb"))
    asked.clear()
    again = run(small("tracking=online", "instruments=off", "seed=1"))
    assert json.loads((again.directory / "run.json").read_text())["status"] == "finished"
    assert "is not waited for again" in caplog.text
    assert not asked


def test_the_end_of_a_run_waits_once_and_for_a_bounded_time(
    small: Compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    seconds: list[float] = []
    with serving() as standin:
        for name, value in standin.environment.items():
            monkeypatch.setenv(name, value)

        def at_the_end(*arguments: Any) -> None:
            standin.lock.acquire()  # from now on no request gets an answer
            started = time.monotonic()
            finish_upload(*arguments)
            seconds.append(time.monotonic() - started)

        monkeypatch.setattr(lifecycle, "finish_upload", at_the_end)
        result = run(small("tracking=online", "tracking.finish_seconds=6", "instruments=off"))
        standin.lock.release()
    assert json.loads((result.directory / "run.json").read_text())["status"] == "finished"
    assert "W&B failed" in caplog.text
    assert "is not waited for again" in caplog.text
    assert list(result.directory.parent.glob("wandb/offline-run-*/*.wandb"))
    assert len(seconds) == 1
    assert seconds[0] < 60, "at worst 6 s and the end of its service, on a busy machine"
