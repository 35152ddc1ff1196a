from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gatescope.commands.report import main

SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"


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


def test_root_and_out_are_taken(tmp_path: Path) -> None:
    record(tmp_path / "else where")
    assert main(["study=toy", f"root={tmp_path / 'else where'}", f"out={tmp_path / 'o'}"]) == 0
    assert (tmp_path / "o" / "toy" / "runs.csv").exists()


def test_runs_are_looked_for_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "elsewhere")
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "elsewhere"))
    assert main(["study=toy", f"out={tmp_path / 'o'}"]) == 0


@pytest.mark.parametrize("status", [None, "failed"])
def test_nothing_to_report_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str | None
) -> None:
    if status:
        record(tmp_path, status)
    assert main(["study=toy", f"root={tmp_path}"]) == 1
    said = capsys.readouterr().err
    expected = "no run of toy has finished (1 failed)" if status else f"no runs in {tmp_path}/toy"
    assert said.startswith(f"report: {expected}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["studdy=toy"],
            "report: studdy: unknown key, did you mean study? Allowed: by, figures, findings, freeze",
        ),
        (["study=toy", "source=disk"], "source: given \"disk\", allowed: 'records', 'wandb' or 'frozen'"),
        (["toy"], "'toy' is not of the form key=value"),
        (["study="], 'study: given "", allowed: String should have at least 1 character'),
        ([], "study: missing, report needs it: give study=…"),
        (["study=toy", "select=optimizer.lr"], "select=KEY and by=METRIC are given together"),
        (["study=toy", "figures=["], "figures=[: "),
        (["study=toy", "study.primery=a"], "study.primery: unknown key, did you mean study.primary? Allowed"),
        (["study=toy", "study.margin=-1"], "study.margin: given -1, allowed: "),
    ],
)
def test_wrong_arguments_name_the_right_ones(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def reproduce(folder: Path) -> list[str]:
    """Return the commands of the block "To reproduce it" of a report."""
    return (folder / "README.md").read_text(encoding="utf-8").split("```")[1].strip().splitlines()


def test_the_report_says_how_it_was_made_in_a_folder_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "my runs")
    run_file = tmp_path / "my runs" / "toy" / "gru-none-s0" / "run.json"
    recorded = json.loads(run_file.read_text()) | {"command": ["/there/train.py", "study=toy", "seed=0"]}
    run_file.write_text(json.dumps(recorded))
    monkeypatch.chdir(tmp_path)
    words = ["study=toy", "root=my runs", "out=o", "figures=pareto,metric_by_variant", "findings=comparison"]
    assert main([*words, "paper=false"]) == 0
    train, report = reproduce(tmp_path / "o" / "toy")
    assert train == "gatescope train study=toy seed=0"
    assert report.startswith("gatescope report study=toy ")
    assert set(shlex.split(report)[2:]) == {*words, "paper=false"}
    before = {path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()}
    assert main(shlex.split(report)[2:]) == 0, "the command that is printed works"
    assert {path: path.read_bytes() for path in before} == before


def test_in_a_checkout_the_report_names_its_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path)
    monkeypatch.chdir(SCRIPT.parents[1])
    assert main(["study=toy", f"root={tmp_path}", f"out={tmp_path / 'o'}", "figures=pareto"]) == 0
    train, report = reproduce(tmp_path / "o" / "toy")
    assert train == "python train.py study=toy"
    assert report.startswith("python scripts/report.py study=toy ")


def test_a_study_that_nobody_knows_is_not_suggested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path)
    assert main(["study=tyo", f"root={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert f"no runs in {tmp_path}/tyo: did you mean study=toy? Studies with runs there: toy;" in error
    assert "train" not in error
    assert main(["study=first_light", f"root={tmp_path}"]) == 1
    assert "start them with `python train.py study=first_light`" in capsys.readouterr().err


def test_a_wrong_selection_names_the_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    arguments = ["study=toy", f"root={tmp_path}", f"out={tmp_path / 'o'}"]
    assert main([*arguments, "select=foo", "by=validation/accuracy"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("report: select: foo does not differ among the runs of toy; keys that differ: ")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "study.primary=test/acuracy",
            "has test/acuracy, did you mean test/accuracy?",
        ),
        ("study.reference=gru", "study.reference: no finished run has gru, did you mean gru-none?"),
        (
            "study.contrasts=[[gru-none,lstm]]",
            "no finished run has lstm. There are: gru-none",
        ),
    ],
)
def test_what_a_report_declares_must_be_in_its_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, said: str
) -> None:
    record(tmp_path)
    assert main(["study=toy", f"root={tmp_path}", f"out={tmp_path / 'o'}", word]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path)
    (tmp_path / "file").touch()
    assert main(["study=toy", f"root={tmp_path}", f"out={tmp_path / 'file'}"]) == 1
    out = tmp_path / "file"
    expected = f"report: {out}/toy: Not a directory; out={out} must be a place that can be written\n"
    assert capsys.readouterr().err == expected


@pytest.mark.slow
def test_a_reader_that_ends_early_is_no_error(tmp_path: Path) -> None:
    record(tmp_path)
    root = SCRIPT.parents[1]
    for command in (
        [SCRIPT, "study=toy", f"root={tmp_path}", f"out={tmp_path / 'o'}", "figures=pareto", "paper=false"],
        [root / "scripts" / "status.py", f"root={tmp_path}", "data=adding"],
        [root / "train.py", "--help"],
    ):
        line = f"{shlex.join([sys.executable, *map(str, command)])} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=root)
        assert (done.returncode, "Broken" in done.stderr, "Traceback" in done.stderr) == (0, False, False)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "study=NAME" in capsys.readouterr().out


def test_the_list_of_reports_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "runs")
    out = tmp_path / "o"
    assert main(["study=toy", f"root={tmp_path / 'runs'}", f"out={out}", "paper=false"]) == 0
    assert not (out / "toy" / "paper").exists()
    index = out / "README.md"
    assert "[toy](toy/README.md)" in index.read_text(encoding="utf-8")
    index.unlink()
    capsys.readouterr()
    assert main(["index", f"out={out}"]) == 0
    assert capsys.readouterr().out.strip() == str(index)
    assert "[toy](toy/README.md)" in index.read_text(encoding="utf-8")


def test_figures_may_be_chosen(tmp_path: Path) -> None:
    record(tmp_path)
    arguments = ["study=toy", f"root={tmp_path}", f"out={tmp_path / 'o'}", "paper=no"]
    assert main([*arguments, "figures=pareto,metric_by_variant"]) == 0
    assert {path.stem for path in (tmp_path / "o" / "toy").glob("*.png")} == {"metric_by_variant"}
    page = (tmp_path / "o" / "toy" / "report.html").read_text(encoding="utf-8")
    assert "Metric by variant" in page
    assert "Metric against cost" in page  # left out, with the reason


def test_paper_is_true_or_false(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study=toy", "paper=maybe"]) == 2
    assert 'paper: given "maybe", allowed: true or false' in capsys.readouterr().err
