"""Every config file composes and passes; every kind of wrong value is refused by name."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gatescope.components import component_problems, nearest
from gatescope.composition import compose, make_loader
from gatescope.config import ConfigError, check, check_structure
from gatescope.overrides import with_quoted_paths

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("data", "model", "attention", "optimizer", "scheduler", "trainer", "instruments", "tracking")
FILES = sorted(p.relative_to(CONF) for p in CONF.glob("*/*.yaml") if not p.name.startswith("_"))
CHOICES = [f"{p.parent}={p.stem}" for p in FILES if p.parent.name in (*GROUPS, "experiment", "study")]

OWN = {
    f"data={path.stem}": ("data.path=mine",)
    for path in FILES
    if OmegaConf.is_missing(OmegaConf.load(CONF / path), "path")
}
"""Datasets that need a path."""

LOADER = make_loader(CONF)
DEFAULTS = OmegaConf.to_container(compose(LOADER, []))


def problems(*overrides: str) -> list[str]:
    """What is wrong with the config of these overrides."""
    try:
        own = [] if any(word.startswith("recipe") for word in overrides) else ["recipe=none"]
        check(compose(LOADER, [*own, *overrides]))
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_of_every_group_composes_and_passes(choice: str) -> None:
    needed = ["data._target_=gatescope.data.generated.adding.Adding"] if choice == "data=custom" else []
    needed += ["data.path=JSB_Chorales.mat"] if choice.startswith("experiment=published_jsb") else []
    assert problems(choice, *needed, *OWN.get(choice, ())) == []


@pytest.mark.parametrize("choice", OWN)
def test_data_of_ones_own_ask_for_their_path(choice: str) -> None:
    assert problems(choice) == ["data.path: needs a value, give data.path=…"]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_says_what_it_is(path: Path) -> None:
    assert (CONF / path).read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("group", [*GROUPS, "early_stopping", "study"])
def test_a_key_that_no_group_has_is_refused_by_its_full_name(group: str) -> None:
    found = problems(f"+{group}.nonsense=1", *(["scheduler=cosine"] if group == "scheduler" else []))
    assert len(found) == 1
    assert found[0].startswith(f"{group}.nonsense: unknown key")
    assert "Allowed in" in found[0]


WRONG = {
    "data.batch_size=abc": "data.batch_size",
    "model.layers=abc": "model.layers",
    "model.bidirectional=1": "model.bidirectional",
    "attention.reduce=first": "attention.reduce",
    "optimizer.betas=[0.9]": "optimizer.betas",
    "optimizer.lr=fast": "optimizer.lr",
    "scheduler.eta_min=low": "scheduler.eta_min",
    "trainer.max_epochs=2.5": "trainer.max_epochs",
    "trainer.precision=31": "trainer.precision",
    "trainer.accelerator=1": "trainer.accelerator",
    "instruments.every_n_steps=true": "instruments.every_n_steps",
    "instruments.readers=3": "instruments.readers",
    "tracking.mode=offlin": "tracking.mode",
    "early_stopping.patience=1.5": "early_stopping.patience",
    "early_stopping=3": "early_stopping",
    "study.name=a/b": "study.name",
    "force=1": "force",
    "seed=zero": "seed",
    # out of range
    "model.hidden_size=0": "model.hidden_size",
    "model.dropout=1.5": "model.dropout",
    "model.dropout=1.0": "model.dropout",
    "optimizer.lr=-1": "optimizer.lr",
    "optimizer.lr=inf": "optimizer.lr",
    "optimizer.lr=nan": "optimizer.lr",
    "optimizer.weight_decay=-0.1": "optimizer.weight_decay",
    "seed=-1": "seed",
    "seed=4294967296": "seed",
    "trainer.max_epochs=-2": "trainer.max_epochs",
    "trainer.gradient_clip_val=0": "trainer.gradient_clip_val",
    "trainer.devices=-2": "trainer.devices",
    "data.batch_size=0": "data.batch_size",
    "instruments.examples=0": "instruments.examples",
    # contradictions
    "trainer.max_epochs=-1": "trainer.max_epochs",
    "+trainer.check_val_every_n_epoch=null": "trainer.check_val_every_n_epoch",
    # arguments of the Trainer that the shipped configs do not name
    "+trainer.limit_train_batches=-1": "trainer.limit_train_batches",
    "+trainer.limit_train_batches=0": "trainer.limit_train_batches",
    "+trainer.limit_val_batches=1.5": "trainer.limit_val_batches",
    "+trainer.limit_test_batches=half": "trainer.limit_test_batches",
    "+trainer.overfit_batches=-2": "trainer.overfit_batches",
    "+trainer.val_check_interval=foo": "trainer.val_check_interval",
    "+trainer.val_check_interval=0": "trainer.val_check_interval",
    "+trainer.max_time=1h": "trainer.max_time",
    "+trainer.max_time={weekss:1}": "trainer.max_time",
    "+trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches",
    "+trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch",
    "+trainer.num_nodes=2": "trainer.num_nodes",
    "+trainer.num_sanity_val_steps=-2": "trainer.num_sanity_val_steps",
    "+trainer.min_epochs=-1": "trainer.min_epochs",
    "+trainer.reload_dataloaders_every_n_epochs=-1": "trainer.reload_dataloaders_every_n_epochs",
    "+trainer.fast_dev_run=-1": "trainer.fast_dev_run",
    "+trainer.use_distributed_sampler=true": "trainer.use_distributed_sampler",
    "+trainer.barebones=true": "trainer.barebones",
    "+trainer.callbacks=[early]": "trainer.callbacks",
}


@pytest.mark.parametrize(("override", "key"), WRONG.items(), ids=list(WRONG))
def test_a_wrong_value_is_named_with_what_is_allowed(override: str, key: str) -> None:
    found = problems(override, *(["scheduler=cosine"] if "scheduler" in override else []))
    assert len(found) == 1, found
    assert found[0].startswith(f"{key}: ")
    assert "allowed: " in found[0] or "null needs" in found[0]


@pytest.mark.parametrize("heads", [0, -1, 1.5])
def test_attention_needs_heads(heads: float) -> None:
    (problem,) = problems("attention=additive", f"attention.heads={heads}")
    assert problem.startswith(f"attention.heads: given {heads}")


def test_heads_divide_the_width_of_both_directions() -> None:
    assert (
        problems("attention=dot", "attention.heads=4", "model.hidden_size=6", "model.bidirectional=true")
        == []
    )
    (problem,) = problems("attention=dot", "attention.heads=4", "model.hidden_size=6")
    assert "width of the states, 6" in problem


def test_all_problems_are_told_at_once() -> None:
    found = problems("model.layers=0", "optimizer.lr=-1", "data.batch_size=0", "+trainer.max_epoch=1")
    assert [text.split(":")[0] for text in found] == [
        "model.layers",
        "optimizer.lr",
        "data.batch_size",
        "trainer.max_epoch",
    ]


def test_a_budget_needs_no_hidden_size_of_its_own() -> None:
    assert problems("model.parameters=50000") == []
    assert problems("model.parameters=0") != []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("gatescope.cells.gru.GRUU", "did you mean gatescope.cells.gru.GRU?"),
        ("gatescope.cells.grru.GRU", "cannot be imported"),
        ("GRU", "not a dotted path"),
    ],
)
def test_a_target_that_does_not_exist_is_one_message(target: str, words: str) -> None:
    (problem,) = problems(f"model.cell._target_={target}")
    assert problem.startswith("model.cell._target_: given")
    assert words in problem


def test_a_target_is_needed() -> None:
    (problem,) = problems("~data._target_")
    assert problem.startswith("data: given")
    assert "_target_" in problem


def test_a_value_that_must_be_given_is_asked_for() -> None:
    assert problems("seed=???") == ["seed: needs a value, give seed=…"]
    assert problems("~model.dropout") == [
        "model.dropout: missing, every run needs it: give model.dropout=…, and no ~model.dropout"
    ]
    assert problems("~model") == ["model: missing, every run needs it: give model=…, and no ~model"]


def test_an_interpolation_that_leads_nowhere_names_its_key() -> None:
    (problem,) = problems("model.layers=${trainer.layers}")
    assert "model.layers" in problem
    assert "trainer.layers" in problem


def build(size: int, factor: float = 1.0, *, shape: tuple[int, int] = (1, 1), **rest: object) -> None: ...


def wrap(inner: object, name: str) -> None: ...


def node(**arguments: object) -> dict[str, object]:
    return {"_target_": f"{__name__}.build", **arguments}


def test_a_signature_is_read_as_python_reads_it() -> None:
    assert list(component_problems(node(size=2, factor=1, shape=[3, 4], anything="goes"), "x")) == []
    assert list(component_problems(node(), "x")) == ["x.size: missing, build needs it"]
    assert list(component_problems(node(_partial_=True), "x")) == []
    (problem,) = component_problems(node(size="2"), "x")
    assert problem == 'x.size: given "2", allowed: an integer'


def test_components_are_found_however_deep() -> None:
    outer = {"_target_": f"{__name__}.wrap", "inner": node(size=True), "name": "a"}
    (problem,) = component_problems({"list": [{"deep": outer}]}, "x")
    assert problem.startswith("x.list.0.deep.inner.size: given true")


def test_structure_is_checked_without_importing_targets() -> None:
    cfg = compose(LOADER, ["model.cell._target_=no.such.Cell"])
    check_structure(cfg)
    with pytest.raises(ConfigError, match=r"no\.such\.Cell"):
        check(cfg)


def leaves(tree: object, prefix: str = "") -> list[str]:
    if not isinstance(tree, dict):
        return [prefix]
    return [key for name, child in tree.items() for key in leaves(child, f"{prefix}.{name}".lstrip("."))]


KEYS = sorted(k for k in leaves(DEFAULTS) if len(k.split(".")[-1]) >= 4 and "_target_" not in k)


@st.composite
def typos(draw: st.DrawFn) -> tuple[str, str]:
    """A key of the default config, and the same key with a letter of its last name lost or two swapped."""
    key = draw(st.sampled_from(KEYS))
    parent, _, name = key.rpartition(".")
    at = draw(st.integers(0, len(name) - 2))
    lost = draw(st.booleans())
    wrong = name[:at] + name[at + 1 :] if lost else name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    return key, f"{parent}.{wrong}".lstrip(".")


@pytest.mark.slow
@given(typo=typos())
@settings(deadline=None, max_examples=25)
def test_a_typo_in_any_key_is_answered_with_the_right_key(typo: tuple[str, str]) -> None:
    key, wrong = typo
    if wrong == key:  # two like letters swapped
        return
    with pytest.raises(ConfigError) as refused:
        compose(LOADER, [f"{wrong}=1"])
    assert f"{wrong}: unknown key, did you mean {key}?" in str(refused.value)


def test_a_typo_in_a_group_or_in_an_option_is_answered_too() -> None:
    with pytest.raises(ConfigError, match="modle: unknown key, did you mean model"):
        compose(LOADER, ["modle.hidden=3"])
    with pytest.raises(
        ConfigError, match=r"model=gruu: unknown option, did you mean model=gru\?.*lstm, .*rnn"
    ):
        compose(LOADER, ["model=gruu"])
    with pytest.raises(ConfigError, match=r"study=frist_light: .* study=first_light\?"):
        compose(LOADER, ["study=frist_light"])


def test_all_unknown_keys_of_a_command_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        compose(LOADER, ["modle.hidden=3", "data.batchsize=3"])
    assert [p.split(":")[0] for p in refused.value.problems] == ["modle", "data.batchsize"]


def test_a_command_that_is_no_override_is_told_where_it_breaks() -> None:
    with pytest.raises(ConfigError, match=r"model=\[: .*key=value"):
        compose(LOADER, ["model=["])
    with pytest.raises(ConfigError) as refused:
        compose(LOADER, ["data=text_file", "data.path=a, b.csv", "data.text=a"])
    assert refused.value.problems == [
        "data.path=a, b.csv: several values; add -m (--multirun) to sweep over them, or write one list as "
        "'data.path=[a, b.csv]', one text as 'data.path=\"a, b.csv\"'"
    ]


REQUIRED = [
    (f"{path.parent.name}={path.stem}", f"{path.parent.name}.{line.split(':')[0]}")
    for path in sorted(CONF.glob("*/*.yaml"))
    if not path.stem.startswith("_")
    for line in path.read_text(encoding="utf-8").splitlines()
    if ": ???" in line
]


@pytest.mark.parametrize(("choice", "key"), REQUIRED, ids=str)
def test_a_required_key_is_not_blamed_for_another(choice: str, key: str) -> None:
    group = key.split(".")[0]
    with pytest.raises(ConfigError) as refused:
        compose(LOADER, [choice, f"{key}=x", f"{group}.nonsense=1"])
    (problem,) = refused.value.problems
    assert problem.startswith(f"{group}.nonsense: unknown key")


@pytest.mark.parametrize("name", ["a=b.csv", "my été.csv", "中文.csv", "a (1).csv", "it's.csv", "a,b.csv"])
def test_the_path_of_a_file_needs_no_quotes_for_hydra(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    word = with_quoted_paths(f"data.path={tmp_path / name}")
    assert compose(LOADER, ["data=text_file", word]).data.path == str(tmp_path / name)


def test_the_home_directory_and_several_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert with_quoted_paths("root=~/new runs") == f"root='{tmp_path}/new runs'"
    paths = f"'{tmp_path}/a.csv','{tmp_path}/b.csv'"
    assert with_quoted_paths("data.path=~/a.csv,~/b.csv") == f"data.path={paths}"
    assert with_quoted_paths("~model") == "~model"
    assert with_quoted_paths("seed=0,1") == "seed=0,1"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("data.label=标签", "标签"),
        ("data.label=[Preis,Größe]", ["Preis", "Größe"]),
        ("data.label=[a,b]", ["a", "b"]),
        ("data.label=[1,2]", [1, 2]),
    ],
)
def test_names_of_columns_in_any_script_need_no_quotes(word: str, value: str | list[str]) -> None:
    config = compose(LOADER, ["data=text_file", "data.path=a.csv", with_quoted_paths(word)])
    assert config.data.label == value


def test_a_list_is_shown_with_quotes_around_its_elements() -> None:
    with pytest.raises(ConfigError) as refused:
        compose(LOADER, ["data=text_file", "data.path=a.csv", "data.label=[Preis,Größe (m)]"])
    (word,) = shlex.split(refused.value.problems[0].partition("with such characters ")[2])
    config = compose(LOADER, ["data=text_file", "data.path=a.csv", word])
    assert config.data.label == ["Preis", "Größe (m)"]


@pytest.mark.parametrize("value", ["no=no.csv", "été.csv", 'a "b" é.csv', "(1).csv", "a\\é.csv", "$é.csv"])
def test_the_quotes_that_a_message_shows_are_those_that_work(value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(LOADER, ["data=text_file", f"data.path={value}"])
    (problem,) = refused.value.problems
    (word,) = shlex.split(problem.partition("with such characters ")[2])
    assert compose(LOADER, ["data=text_file", word]).data.path == value


def test_nothing_is_suggested_when_nothing_is_near() -> None:
    assert nearest("zzz", ["hidden_size", "layers"]) is None


def test_a_word_that_yaml_reads_as_a_boolean(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text("defaults:\n  - override /tracking: off\n")
    with pytest.raises(ConfigError, match=r"study=mine\): Unsupported .* write \"off\" in quotes"):
        compose(LOADER, [f"hydra.searchpath=['file://{tmp_path}']", "study=mine"], sweep=True)
