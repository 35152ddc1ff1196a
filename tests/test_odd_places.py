"""`python train.py` where little is as usual: streams, folders, users, limits; and what it never writes."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, ROOT, SMALL

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


def test_in_the_c_locale_below_an_odd_path_with_an_unwritable_home_no_secret_is_written(
    tmp_path: Path,
) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    environment = SECRETS | {"LC_ALL": "C", "LANG": "C", "HOME": "/proc/none", "ODD": ODD}
    done = train(cwd=place, env=environment | {"RUNS_DIR": str(place / ODD)})
    assert done.returncode == 0, done.stderr
    assert status(place / ODD)["status"] == "finished"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in written)
    texts = [done.stdout.encode(), done.stderr.encode(), *(path.read_bytes() for path in written)]
    assert [name for name, value in SECRETS.items() if any(value.encode() in text for text in texts)] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        '"$@" <&- >&- 2>&-',
        '"$@" > /dev/full 2> /dev/full',
        '"$@" > /dev/full',
        '"$@" | true',
        'ulimit -n 24; "$@"',
        'cd /; "$@"',
        'mkdir gone; cd gone; rmdir ../gone; "$@"',
    ],
)
def test_without_usual_streams_folders_and_file_descriptors(tmp_path: Path, line: str) -> None:
    done = train(f"root={tmp_path}/runs", shell=line, cwd=tmp_path)
    content = next(iter((tmp_path / "runs").glob("*/*/run.json")), None)
    if "ulimit" in line and content is None:
        assert done.returncode in (1, 2), "too few descriptors: one message, and nothing half done"
        assert "Traceback" not in done.stderr
    else:
        assert status(tmp_path / "runs")["status"] == "finished", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_with_a_checkout_that_it_cannot_write(tmp_path: Path) -> None:
    user = pwd.getpwnam("nobody")
    if subprocess.run(["test", "-r", str(ROOT)], user=user.pw_uid, check=False).returncode:
        pytest.skip(f"{ROOT} cannot be read by another user")
    runs = Path("/tmp") / f"gatescope-nobody-{tmp_path.name}"
    runs.mkdir()
    os.chown(runs, user.pw_uid, user.pw_gid)
    for path in (sys.executable, str(Path(sys.executable).resolve())):
        if subprocess.run(["test", "-x", path], user=user.pw_uid, check=False).returncode:
            pytest.skip(f"{path} cannot be run by another user")
    done = train(f"root={runs}", cwd="/", user=user.pw_uid, group=user.pw_gid, env={"HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    assert status(runs)["status"] == "finished"
