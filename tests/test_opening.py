"""A record from a stranger: what it names outside this package is not run, by any command that opens one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Compose
from omegaconf import OmegaConf
from trained_runs import SERIES, TEXTS, trained_run

import gatescope
from gatescope.commands import errors, evaluate, explain, export, predict, report
from gatescope.config import ConfigError
from gatescope.fine_tuning import source_run
from gatescope.opening import BUILT, NotTrusted, is_own_class, targets

MARKS = {
    "outside": "setuptools._distutils.spawn.spawn",
    "through the package": "gatescope.distributed.subprocess.Popen",
    "a function of ours": "gatescope.components.locate",
    "a class of another section": "gatescope.tracking.record.Record",
    "through a module of ours": "gatescope.cells.gru.torch.nn.GRU",
    "through datasets of ours": "gatescope.data.files.npz.zipfile.ZipFile",
    "own": "evil.Part",
}
EVIL = """
from pathlib import Path
Path({marker!r}).touch()

class Part:
    def __init__(self, *args, **kwargs):
        Path({marker!r}).touch()

def findings(comparison):
    raise ValueError
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("runs"), *TEXTS)


@pytest.fixture
def stranger(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A copy of a run whose config was changed, in a working directory with the module `evil`."""
    (tmp_path / "evil.py").write_text(EVIL.format(marker=str(tmp_path / "ran")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if not Path(one, "evil.py").exists()])
    monkeypatch.delitem(sys.modules, "evil", raising=False)

    def changed(key: str, value: Any) -> Path:
        copy = tmp_path / "default" / run.name
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        cfg = OmegaConf.load(copy / "config.yaml")
        OmegaConf.update(cfg, key, value)
        OmegaConf.save(cfg, copy / "config.yaml")
        return copy

    return changed


@pytest.mark.parametrize("path", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize(
    "key", ["model.cell._target_", "attention._target_", "data._target_", "data.text.other"]
)
def test_nothing_outside_the_package_is_run(stranger: Callable[..., Path], key: str, path: str) -> None:
    nested = {"_target_": path} if key.endswith("other") else path
    copy = stranger(key, nested)
    with pytest.raises(NotTrusted, match=rf"{key.partition('._')[0]}.*{path}.*trust=true"):
        gatescope.load(copy)
    assert not Path("ran").exists()


@pytest.mark.parametrize("key", ["model.cell._target_", "data._target_"])
def test_each_command_refuses_in_one_message(
    stranger: Callable[..., Path], capsys: pytest.CaptureFixture[str], key: str
) -> None:
    run = f"run={stranger(key, 'evil.Part')}"
    for main, words in (
        (explain.main, ["text=good"]),
        (predict.main, ["text=good"]),
        (evaluate.main, ["file=evil.py"]),
        (export.main, ["out=folder"]),
    ):
        assert main([run, *words]) == 1
        message = capsys.readouterr().err
        assert f"{key} is evil.Part" in message, message
        assert message.count("\n") == 1
    assert not Path("ran").exists()
    assert not Path("folder").exists()


def test_errors_and_report_leave_out_what_is_not_trusted(
    stranger: Callable[..., Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    copy = stranger("data._target_", "evil.Part")
    cfg = OmegaConf.load(copy / "config.yaml")
    cfg.study.figures, cfg.study.findings = ["evil", "learning_curves"], "evil"
    OmegaConf.save(cfg, copy / "config.yaml")
    assert errors.main([f"run={copy}"]) == 0
    assert "data._target_ is evil.Part" in caplog.text
    caplog.clear()
    assert report.main(["study=default", f"root={tmp_path}", "paper=false"]) == 0
    page = Path("reports/default/README.md").read_text()
    assert "evil is no figure of this package" in page
    assert "could not be written: evil is no findings module" in page
    assert "data._target_ is evil.Part" in caplog.text
    assert not Path("ran").exists()
    assert report.main(["study=default", f"root={tmp_path}", "paper=false", "trust=true"]) == 0
    assert Path("ran").exists()


def test_trust_opens_it(stranger: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="Part"):
        gatescope.load(stranger("model.cell._target_", "evil.Part"), trust=True)
    assert Path("ran").exists()


def test_an_interpolation_that_calls_a_function_is_refused(stranger: Callable[..., Path]) -> None:
    with pytest.raises(NotTrusted, match=r"\$\{oc\.env:"):
        gatescope.load(stranger("data.path", "/x/${oc.env:HOME}"))


def test_a_value_of_the_wrong_type_is_named(stranger: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"model\.cell\.bias_of_mine: unknown key"):
        gatescope.load(stranger("model.cell.bias_of_mine", 3))


def test_a_run_that_starts_from_a_record_names_the_part_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Compose
) -> None:
    cell = "class Mine(RNN):\n    pass\n"
    (tmp_path / "mine.py").write_text(f"from gatescope.cells.rnn import RNN\n\n\n{cell}")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ("model=rnn", "model.cell._target_=mine.Mine")
    run = trained_run(tmp_path, *SERIES, *own)
    with pytest.raises(NotTrusted, match=r"mine\.Mine"):
        gatescope.load(run)
    assert source_run(config(*SERIES, *own, f"+from={run}")) is not None
    with pytest.raises(ConfigError, match=r"from=.*mine\.Mine.*give the same part"):
        source_run(config(*SERIES, f"+from={run}"))


def test_every_option_of_the_package_can_be_opened(config: Compose) -> None:
    for section, package in BUILT.items():
        for path in (ROOT / "conf" / section).glob("*.yaml"):
            for key, target in targets(OmegaConf.to_container(OmegaConf.load(path)), section):
                if target != "???" and ".baselines." not in target:
                    assert is_own_class(target, package), (key, target)
