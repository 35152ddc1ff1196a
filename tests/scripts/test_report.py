from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(root: Path, status: str = "finished") -> None:
    folder = root / "toy" / "gru-none-s0"
    folder.mkdir(parents=True)
    tags = {"cell": "gru", "attention": "none", "data": "tweets", "seed": 0, "variant": "gru-none"}
    summary = {"test/accuracy": 0.7}
    identity = {"run_id": folder.name, "study": "toy", "status": status, "tags": tags, "summary": summary}
    (folder / "run.json").write_text(json.dumps(identity))
    (folder / "config.yaml").write_text("study: {name: toy, primary: test/accuracy, direction: max}\n")


def test_it_prints_where_the_report_is(tmp_path: Path) -> None:
    record(tmp_path / "runs")
    command = [sys.executable, str(SCRIPT), "study=toy"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == Path("reports/toy/README.md")
    assert "0.700" in (tmp_path / "reports" / "toy" / "README.md").read_text(encoding="utf-8")


def test_root_and_out_are_taken(script: ModuleType, tmp_path: Path) -> None:
    record(tmp_path / "else where")
    assert script.main(["study=toy", f"root={tmp_path / 'else where'}", f"out={tmp_path / 'o'}"]) == 0
    assert (tmp_path / "o" / "toy" / "runs.csv").exists()


def test_runs_are_looked_for_where_the_environment_says(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "elsewhere")
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "elsewhere"))
    assert script.main(["study=toy", f"out={tmp_path / 'o'}"]) == 0


@pytest.mark.parametrize("status", [None, "failed"])
def test_nothing_to_report_is_one_line(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str | None
) -> None:
    if status:
        record(tmp_path, status)
    assert script.main(["study=toy", f"root={tmp_path}"]) == 1
    said = capsys.readouterr().err
    expected = "no run of toy has finished (1 failed)" if status else f"no runs in {tmp_path}/toy"
    assert said.startswith(f"report: {expected}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["studdy=toy"], "; did you mean study?"),
        (["studdy=toy"], "unknown key 'studdy' in 'studdy=toy'; keys: study, root, source, project, out"),
        (["study=toy", "source=disk"], "source=disk: one of records, wandb"),
        (["toy"], "'toy' is not of the form key=value"),
        (["study="], "'study=' is not of the form key=value"),
        ([], "which study?"),
    ],
)
def test_wrong_arguments_name_the_right_ones(
    script: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert script.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_help(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--help"]) == 0
    assert "study=NAME" in capsys.readouterr().out
