"""`python train.py` where little is as usual: streams, folders, users, limits; and what it never writes."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, ROOT, SMALL
from wandb_standin import serving

SECRETS = {
    name: f"sesame-{name.lower()}-5f1d"
    for name in (
        "WANDB_API_KEY",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "DATABASE_URL",
        "PASSWORD",
    )
}
URL = f"http://me:{SECRETS['PASSWORD']}@127.0.0.1:9"
ENVIRONMENT = SECRETS | {"HTTP_PROXY": URL, "HTTPS_PROXY": URL, "PIP_INDEX_URL": URL, "NO_PROXY": "127.0.0.1"}
ODD = "a b'c\"d$e;f(g)[h]{i}~j#k&l*m?n!o=p,q%r\\s|t<u>v^ü—日本\n.x"
WORDS = ("train.py", *SMALL, *FAST, "tracking=offline", "instruments=default", "kernel=torch")


def train(*words: str, shell: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python train.py` under a line of bash, such as a limit or a redirection at its end."""
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"} | options.pop("env", {})
    command = [sys.executable, str(ROOT / "train.py"), *WORDS[1:], *words]
    line = shell or '"$@"'
    return subprocess.run(
        ["bash", "-c", line, "bash", *command], capture_output=True, text=True, env=environment, **options
    )  # fmt: skip


def status(root: Path) -> dict[str, Any]:
    (record,) = root.glob("*/*/run.json")
    content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return content


def leaks(texts: Iterable[bytes]) -> list[str]:
    """Return the names of the secrets whose values are in a text."""
    found = list(texts)
    return [name for name, value in SECRETS.items() if any(value.encode() in text for text in found)]


def repository(folder: Path) -> Path:
    """Return a new checkout whose remote has a password in its address; W&B records the address."""
    folder.mkdir()
    for words in (
        ["init", "-q"],
        ["remote", "add", "origin", f"https://me:{SECRETS['PASSWORD']}@host/x.git"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_in_the_c_locale_below_an_odd_path_with_an_unwritable_home_no_secret_is_written(
    tmp_path: Path,
) -> None:
    place = repository(tmp_path / "elsewhere")
    environment = ENVIRONMENT | {"LC_ALL": "C", "LANG": "C", "HOME": "/proc/none", "ODD": ODD}
    done = train(cwd=place, env=environment | {"RUNS_DIR": str(place / ODD)})
    assert done.returncode == 0, done.stderr
    assert status(place / ODD)["status"] == "finished"
    written = [path for path in tmp_path.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert any(path.suffix == ".wandb" for path in written)
    assert leaks([done.stdout.encode(), done.stderr.encode(), *(path.read_bytes() for path in written)]) == []


@pytest.mark.slow
def test_no_secret_is_sent_to_wandb_or_is_in_a_failed_record_a_report_or_an_export(tmp_path: Path) -> None:
    place = repository(tmp_path / "elsewhere")
    with serving() as server:
        environment = ENVIRONMENT | server.environment | {"HOME": str(place), "RUNS_DIR": str(place / "runs")}
        SECRETS["the key of W&B"] = server.environment["WANDB_API_KEY"]
        try:
            outputs = [train("tracking=online", cwd=place, env=environment)]
            failed = train("loss._target_=torch.nn.Identity", cwd=place, env=environment)
            assert failed.returncode != 0
            (run,) = (one for one in server.runs.values() if one.state == "finished" or one.history)
            for words in (
                ["report", "study=default", f"out={place}/reports"],
                ["export", f"run={run.name}", f"out={place}/export"],
            ):
                command = [sys.executable, str(ROOT / "scripts" / f"{words[0]}.py"), *words[1:]]
                options: Any = {"cwd": place, "env": os.environ | environment, "capture_output": True}
                outputs.append(subprocess.run(command, text=True, **options))
            assert [done.returncode for done in outputs] == [0, 0, 0], [done.stderr for done in outputs]
            written = [path for path in place.rglob("*") if path.is_file() and ".git" not in path.parts]
            texts = [text.encode() for done in [*outputs, failed] for text in (done.stdout, done.stderr)]
            sent = [repr(one).encode() for one in server.runs.values()]
            files = [content for one in server.runs.values() for content in one.files.values()]
            assert leaks([*texts, *sent, *files, *(path.read_bytes() for path in written)]) == []
        finally:
            del SECRETS["the key of W&B"]


ASCII = "export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
CASES = {
    "closed streams": ('"$@" <&- >&- 2>&-', 0),
    "closed input": ('"$@" <&-', 0),
    "full streams": ('"$@" > /dev/full 2> /dev/full', 0),
    "full output": ('"$@" > /dev/full', 0),
    "a reader that ends": ('"$@" | true', 0),
    "24 file descriptors": ('ulimit -n 24; "$@"', 0),
    "another folder": ('cd /; "$@"', 0),
    "a folder that is gone": ('mkdir gone; cd gone; rmdir ../gone; "$@"', 2),
    "files of at most 8 KiB": ('ulimit -f 8; "$@"', 1),
    "ASCII": (ASCII + '; "$@" && "$1" "${2%train.py}scripts/compare.py" --help', 0),
}
"""Lines of bash around the command, and the exit codes."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_without_usual_streams_folders_and_file_descriptors(tmp_path: Path, case: str) -> None:
    line, code = CASES[case]
    done = train(f"root={tmp_path}/runs", shell=f"set -o pipefail; {line}", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code == 2:
        assert "the working folder is gone" in done.stderr
        assert not (tmp_path / "runs").exists()
    else:
        assert status(tmp_path / "runs")["status"] == ("failed" if code else "finished")
        assert code == 0 or "No space left on device" in done.stderr


@pytest.mark.slow
def test_own_data_a_working_folder_and_records_with_every_odd_character_in_their_paths(
    tmp_path: Path,
) -> None:
    place = tmp_path / ODD
    place.mkdir()
    rows = "".join(f"a {'good' if i % 2 else 'bad'} film no {i},{'pn'[i % 2]}\n" for i in range(60))
    (place / f"{ODD}.csv").write_text("text,label\n" + rows)
    words = ["data=text_file", f"data.path={place / ODD}.csv", "data.batch_size=16", *FAST]
    command = [sys.executable, str(ROOT / "train.py"), *words, "kernel=torch"]
    environment = os.environ | {"RUNS_DIR": "runs"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert status(place / "runs")["status"] == "finished"


def as_nobody(folder: Path) -> list[str] | None:
    """Return the start of a command that runs as another user, who may read this Python; None where none can.

    Where Python is below the home of root, which nobody else may enter, a folder takes the place of the home
    in a mount namespace of the command.
    """
    user, home = pwd.getpwnam("nobody"), Path.home()
    drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    start = drop
    if Path(sys.base_prefix).is_relative_to(home):
        inside = folder / "home" / Path(sys.base_prefix).relative_to(home)
        inside.mkdir(parents=True)
        script = 'mount --bind "$1" "$2" && mount --rbind "$3" "$4" && shift 4 && exec "$@"'
        places = [sys.base_prefix, str(inside), str(folder / "home"), str(home)]
        start = ["unshare", "--mount", "bash", "-c", script, "bash", *places, *drop]
    with suppress(FileNotFoundError):
        probe = [*start, sys.executable, "-c", f"open({str(ROOT / 'train.py')!r})"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return start
    return None


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_with_a_checkout_that_it_cannot_write(tmp_path: Path) -> None:
    runs = Path(tempfile.mkdtemp(prefix="gatescope-nobody-", dir="/tmp"))  # below tmp_path only root may go
    try:
        runs.chmod(0o755)
        if (start := as_nobody(runs)) is None:
            pytest.skip("neither Python nor the checkout can be read by another user here")
        (runs / "own").mkdir()
        os.chown(runs / "own", pwd.getpwnam("nobody").pw_uid, -1)
        line = f'exec {shlex.join(start)} "$@"'
        done = train(f"root={runs}/own", shell=line, cwd="/", env={"HOME": "/nonexistent"})
        assert done.returncode == 0, done.stderr
        assert status(runs / "own")["status"] == "finished"
        assert {path.owner() for path in (runs / "own").rglob("*")} == {"nobody"}
    finally:
        shutil.rmtree(runs)
