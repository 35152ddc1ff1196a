"""The console command `gatescope`, its subcommands, and the scripts that call them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, first_few

from gatescope.commands import COMMANDS, USAGE, help_text, main
from gatescope.commands.arguments import parse_value


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    listed = capsys.readouterr().out
    for name, (_, description) in COMMANDS.items():
        assert f"  {name} " in listed
        assert description in listed


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reprot", "study=toy"])
    assert ended.value.code == USAGE
    error = capsys.readouterr().err
    assert error.startswith("gatescope: unknown command reprot, did you mean report? Commands: train, ")
    assert all(name in error for name in COMMANDS)
    assert len(error.splitlines()) == 1


def test_the_module_names_itself_as_the_command() -> None:
    command = [sys.executable, "-m", "gatescope", "status", "--nope"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == USAGE
    assert done.stderr.splitlines()[-1].startswith("gatescope status: error: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train modle=gru", "modle: unknown key, did you mean model?"),
        ("status modle=gru", "modle: unknown key, did you mean model?"),
        ("report studdy=toy", "studdy: unknown key, did you mean study?"),
        ("compare a b pgn=x", "pgn: unknown key, did you mean png?"),
        ("explain rn=a text=b", "rn: unknown key, did you mean run?"),
        ("errors rn=a", "rn: unknown key, did you mean run?"),
        ("dashboard studdy=toy", "studdy: unknown key, did you mean study?"),
    ],
)
def test_a_wrong_key_is_one_line_and_exit_code_2(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gatescope"])
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == USAGE
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_a_command_has_a_short_script(name: str) -> None:
    script = ROOT / "scripts" / f"{'describe_data' if name == 'data' else name}.py"
    assert len(script.read_text().splitlines()) < 10


SCRIPTS = sorted((ROOT / "scripts").glob("*.*"))


@pytest.mark.parametrize("script", first_few(SCRIPTS, 3), ids=[path.name for path in SCRIPTS])
def test_every_script_explains_itself(script: Path) -> None:
    program = sys.executable if script.suffix == ".py" else "bash"
    done = subprocess.run([program, script, "-h"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    name = "data" if script.stem == "describe_data" else script.stem
    assert (f"gatescope {name}" if name in COMMANDS else f"scripts/{script.name}") in done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "gatescope"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == help_text()


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("20", int, 20),
        ("true", bool, True),
        ("no", bool, False),
        ("it's (good), or not", str, "it's (good), or not"),
        ("'it\\'s', [quoted]", str, "'it\\'s', [quoted]"),
        ('"in quotes, [or not]"', str | None, "in quotes, [or not]"),
        ("20", str, "20"),
        ("a,b", list[str], ["a", "b"]),
        ("[a,b]", list[str] | None, ["a", "b"]),
        ("a", list[str] | None, ["a"]),
    ],
)
def test_values_have_hydra_s_grammar(text: str, annotation: object, value: object) -> None:
    assert parse_value("key", text, annotation) == value
