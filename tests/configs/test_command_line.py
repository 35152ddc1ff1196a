"""train.py as a user meets it: real processes, their exit codes and what they print."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from gatescope.cli import FAILED, INTERRUPTED, USAGE, job, report_error
from gatescope.config import ConfigError
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, collate
from gatescope.tracking.directory import RecordError, ensure_writable, run_lock
from gatescope.tracking.identity import run_dir
from gatescope.tracking.outcomes import SweepFailed

ROOT = Path(__file__).parents[2]
SMALL = (
    "data=adding",
    "data.steps=8",
    "data.train=64",
    "data.validation=32",
    "data.test=32",
    "data.batch_size=16",
)
FAST = ("model.hidden_size=6", "trainer.max_epochs=1", "trainer.threads=1", "tracking=off")


def train(*arguments: str, runs: Path, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, str(ROOT / "train.py"), *arguments]
    env = {"PATH": "/usr/bin:/bin", "RUNS_DIR": str(runs), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=runs, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=gru", "modle.hidden=3"], "modle: unknown key, did you mean model?"),
        pytest.param(["model=gruu"], "did you mean model=gru?", marks=pytest.mark.slow),
        pytest.param(["model.hidden_size=0"], "model.hidden_size: given 0", marks=pytest.mark.slow),
        pytest.param(
            ["-m", "model=gru,gruu", "seed=0,1"],
            "2 of 4 jobs are invalid, none started:",
            marks=pytest.mark.slow,
        ),
        pytest.param(["seed=0,1"], "--multirun", marks=pytest.mark.slow),
        pytest.param(
            ["~model"],
            "model: missing, every run needs it: give model=…, and no ~model",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_wrong_command_is_one_message_and_exit_code_2(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = train(*arguments, runs=tmp_path)
    assert done.returncode == USAGE
    assert words in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(tmp_path.rglob("run.json"))


def test_the_path_of_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "été=1, (neu).csv").touch()
    done = train("data=text_file", "data.path=été=1, (neu).csv", "--cfg", "job", runs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.create(done.stdout).data.path == "été=1, (neu).csv"
    done = train("data=text_file", "data.path=none=1.csv", runs=tmp_path)
    assert done.returncode == USAGE
    assert done.stderr.endswith("""write key=value, with such characters 'data.path="none=1.csv"'\n""")


def test_help_explains_each_group_without_torch(tmp_path: Path) -> None:
    done = train("--help", runs=tmp_path, python=("-X", "importtime"))
    assert done.returncode == 0
    folders = {p.name for p in (ROOT / "conf").iterdir() if p.is_dir() and list(p.glob("*.yaml"))}
    groups = folders - {"sweeps"}  # files for `wandb sweep`
    explained = done.stdout.split("Groups")[1].split("Options")[0].splitlines()[1:]
    assert {line.split()[0] for line in explained if line} == groups
    assert "python train.py" not in done.stdout, "the working directory has no train.py"
    commands = [line for line in done.stdout.splitlines() if line.startswith("  gatescope train")]
    assert len(commands) == 7  # the form of a command, and six that are worked out
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "gatescope.cli" in imported
    assert not imported & {"torch", "pytorch_lightning", "wandb"}


def test_a_flag_may_stand_between_overrides(tmp_path: Path) -> None:
    done = train("model=lstm", "--cfg", "job", "seed=7", "--resolve", runs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seed: 7" in done.stdout
    assert "lstm" in done.stdout


def write_options(folder: Path) -> None:
    """Write two models of one's own, as a user of `--config-dir` has them."""
    (folder / "model").mkdir(parents=True)
    for name, size in (("small", 5), ("tiny", 3)):
        (folder / "model" / f"{name}.yaml").write_text(
            f"defaults: [gru]\nname: {name}\nhidden_size: {size}\n"
        )


@pytest.mark.slow
def test_config_dir_adds_options_to_a_run_and_to_a_sweep(tmp_path: Path) -> None:
    write_options(tmp_path / "it's mine")
    command = (*SMALL, *FAST[1:], "instruments=off", "--config-dir", "it's mine")
    done = train("model=small", *command, runs=tmp_path)
    assert done.returncode == 0, done.stderr
    done = train("-m", "model=small,tiny", *command, runs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 runs, 1 finished already, 1 to run" in done.stdout
    configs = [OmegaConf.load(path).model for path in tmp_path.rglob("config.yaml")]
    assert {(model.name, model.hidden_size) for model in configs} == {("small", 5), ("tiny", 3)}


def test_options_of_config_dir_are_named_where_one_is_wrong(tmp_path: Path) -> None:
    write_options(tmp_path / "mine")
    done = train("model=smal", "--config-dir", "mine", runs=tmp_path)
    assert done.returncode == USAGE
    assert "did you mean model=small?" in done.stderr
    assert "tiny" in done.stderr
    done = train("--config-dir", "missing", runs=tmp_path)
    assert done.returncode == USAGE
    assert done.stderr.startswith("--config-dir missing: no such directory")


def test_an_unwritable_place_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = train("-m", "seed=0,1", f"root={tmp_path}/file/runs", runs=tmp_path)
    assert done.returncode == FAILED
    assert done.stderr.startswith("cannot write to ")
    assert "RUNS_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_is_finished_is_not_run_again(small: Callable[..., DictConfig]) -> None:
    cfg = small()
    ensure_writable(run_dir(cfg))
    metric = job(cfg)
    assert isinstance(metric, float)
    record = (run_dir(cfg) / "run.json").read_text()
    assert json.loads(record)["status"] == "finished"
    assert job(cfg) == metric
    assert (run_dir(cfg) / "run.json").read_text() == record
    assert isinstance(job(small("force=true")), float)
    assert (run_dir(cfg) / "run.json").read_text() != record


@pytest.mark.slow
def test_a_sweeper_that_optimises_gets_the_metric_again(
    small: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """Hydra's own sweeper calls the task through the launcher, as that of Optuna does."""
    version.setbase("1.3")
    handlers = logging.getLogger().handlers[:]
    words = [*SMALL, *FAST, f"root={tmp_path}", "hydra/sweeper=basic", "seed=0,1"]
    returned = []
    for _ in range(2):
        hydra = Hydra.create_main_hydra2("train", create_config_search_path(str(ROOT / "conf")))
        try:
            (results,) = hydra.multirun("config", job, words)
        finally:
            GlobalHydra.instance().clear()
            logging.getLogger().handlers[:] = handlers
        returned.append([float(result.return_value) for result in results])
    recorded = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/*/run.json"))]
    assert returned[0] == returned[1] == [run["summary"]["best/validation/mse"] for run in recorded]


def test_a_run_that_is_under_way_elsewhere_is_waited_for(
    small: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = small()
    ensure_writable(run_dir(cfg))
    said: list[str] = []
    monkeypatch.setattr("gatescope.cli.log.info", lambda *words: said.append(words[0] % words[1:]))
    code = (
        "import sys, time; from pathlib import Path; from gatescope.tracking.directory import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", code, str(run_dir(cfg))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def interrupted(_: float) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", interrupted)
            with pytest.raises(KeyboardInterrupt):
                job(cfg)
        assert not (run_dir(cfg) / "run.json").exists()
        said.clear()
        Timer(0.5, lambda: holder.communicate("\n")).start()
        assert isinstance(job(cfg), float)
    assert said[0].startswith(
        "another process executes this run: waiting until it ends (Ctrl-C stops waiting): "
    )
    assert json.loads((run_dir(cfg) / "run.json").read_text())["status"] == "finished"


def raised_by_us() -> DataError:
    with pytest.raises(DataError) as caught:
        Examples([], [0])  # type: ignore[arg-type]
    return caught.value


def raised_elsewhere() -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        collate(None, [0])  # type: ignore[arg-type]
    return caught.value


def test_each_failure_has_its_exit_code_and_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(ConfigError(["model.layers: given 0"])) == USAGE
    assert "model.layers: given 0" in capsys.readouterr().err
    assert report_error(KeyboardInterrupt()) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert report_error(SweepFailed("1 of 2 runs failed")) == FAILED
    assert capsys.readouterr().err == "1 of 2 runs failed\n"
    assert report_error(raised_by_us()) == USAGE
    assert capsys.readouterr().err == "0 inputs but 1 targets\n"


def test_a_fault_of_ours_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(raised_elsewhere()) == FAILED
    assert "Traceback" in capsys.readouterr().err


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="file/runs: Not a directory; choose another place"):
        ensure_writable(tmp_path / "file" / "runs")


def test_a_run_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gatescope.tracking.directory import run_lock\n"
        "with run_lock(Path(sys.argv[1])) as mine: print(mine)"
    )

    def elsewhere() -> str:
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with run_lock(tmp_path) as mine:
        assert mine
        assert elsewhere() == "False"
    assert elsewhere() == "True"


def test_a_run_that_fails_is_one_message_and_exit_code_1(tmp_path: Path) -> None:
    diverging = ("optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    done = train(*SMALL, *FAST, *diverging, runs=tmp_path)
    assert done.returncode == FAILED
    assert done.stderr.count("the train loss became") == 1
    assert "Traceback" not in done.stderr
    assert "Error executing job" not in done.stderr
    (record,) = tmp_path.rglob("run.json")
    assert json.loads(record.read_text())["status"] == "failed"


def test_the_help_lists_the_options_that_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "my_study.yaml").write_text(
        "# @package _global_\nstudy: {name: my_study}\n"
    )
    done = train("--help", "--config-dir", "conf", runs=tmp_path)
    assert done.returncode == 0, done.stderr
    options = dict(
        line.split(": ") for line in done.stdout.split("Options:\n")[1].split("\n\n")[0].splitlines()
    )
    assert options["model"].startswith("gru, gru_article, irnn, ")
    assert "my_study" in options["study"].split(", ")
    assert not [name for names in options.values() for name in names.split(", ") if name.startswith("_")]
    assert {"hydra", "sweeps"}.isdisjoint(options)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("text_file data.path=no.csv data.text=a data.label=b", "no.csv: no such file"),
        pytest.param("series_file data.path=no.npz", "no.npz: no such file", marks=pytest.mark.slow),
        pytest.param("characters data.path=no.txt", "no.txt: no such file", marks=pytest.mark.slow),
        pytest.param("audio_folder data.path=no", "no: no such folder", marks=pytest.mark.slow),
    ],
)
def test_data_that_are_missing_leave_no_record(tmp_path: Path, data: str, said: str) -> None:
    done = train(*shlex.split(f"data={data}"), "tracking=off", runs=tmp_path)
    assert (done.returncode, done.stderr) == (USAGE, f"{said}\n")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.slow
def test_a_sweep_with_missing_data_starts_no_run(tmp_path: Path) -> None:
    present, missing = tmp_path / "a.csv", tmp_path / "b.csv"
    present.write_text("text,label\n" + "good day,1\nbad day,0\n" * 20)
    data = ("data=text_file", f"data.path={present},{missing}", "data.text=text", "data.label=label")
    done = train("-m", *data, *FAST, runs=tmp_path)
    assert done.returncode == USAGE
    assert f"{missing}: no such file" in done.stderr
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_a_component_may_be_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from gatescope.data.generated.adding import Adding\n\n\nclass Mine(Adding):\n    pass\n"
    )
    words = (*SMALL, *FAST, "instruments=off", "data._target_=mine.Mine")
    done = train(*words, runs=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("default/gru-none-mine-*/run.json"))
