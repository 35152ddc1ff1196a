"""The schema of the configs: one dataclass per group, checked strictly before anything is built.

Groups whose file names a `_target_` are also checked against its signature (`components`), so that a new
dataset, cell or attention needs no schema here.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from gatescope.components import argument_problems, component_problems, disallowed, unknown_key
from gatescope.conflicts import conflicts
from gatescope.data_seed import vary_data_problems
from gatescope.fold_keys import fold_problems
from gatescope.moved import current_targets
from gatescope.value_limits import limit_problems, optimizer_problems

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
"""For groups whose other keys are the arguments of a target, checked against its signature."""


class ConfigError(ValueError):
    """An invalid config; `problems` has one message for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return ConfigError, (self.problems,)  # pickled by worker processes


def _named(node: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(node.get("_target_"), str):
        raise ValueError("a mapping with a _target_, the dotted path of a class")
    return node


def _devices(value: Any) -> Any:
    if value == "auto" or (type(value) is int and (value == -1 or value > 0)):
        return value
    raise ValueError("a number from 1, or auto (CUDA_VISIBLE_DEVICES=1 in the environment selects card 1)")


def _epochs(value: Any) -> Any:
    if value == "auto" or (type(value) is int and (value == -1 or value > 0)):
        return value
    raise ValueError("a number of epochs from 1, -1 for no limit, or auto, the length of the recipe")


def _steps(value: Any) -> Any:
    if type(value) is int and (value == -1 or value > 0):
        return value
    raise ValueError("a number of updates from 1, or -1 for no limit")


def _batches(lowest: int) -> Callable[[Any], Any]:
    """Return a check for a number of batches from `lowest`, or a share of them."""

    def check(value: Any) -> Any:
        if value is None or (type(value) is int and value >= lowest):
            return value
        if type(value) is float and 0 <= value <= 1 and (value or not lowest):
            return value
        raise ValueError(f"a number of batches from {lowest}, or a share of them up to 1.0")

    return check


def _interval(value: Any) -> Any:
    if isinstance(value, str | dict):
        return _duration(value)
    try:
        return _batches(1)(value)
    except ValueError as error:
        raise ValueError(f"{error}, or a time, {TIME}") from error


def _duration(value: Any) -> Any:
    if value is None:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,8}:\d\d:\d\d:\d\d", value.strip()):
        if set(value) & set("123456789"):
            return value
    elif isinstance(value, dict):
        try:
            if timedelta(**value) > timedelta(0):
                return value
        except (TypeError, OverflowError):
            pass
    raise ValueError(f"a time above 0, {TIME}")


def _only(allowed: Any, reason: str) -> Callable[[Any], Any]:
    """Return a check for the one allowed value, whose message gives the reason."""

    def check(value: Any) -> Any:
        if type(value) is type(allowed) and value == allowed:
            return value
        raise ValueError(f"{json.dumps(allowed)}: {reason}")

    return check


TIME = "days:hours:minutes:seconds (00:01:30:00) or a mapping ({minutes: 90})"
SomeComponent = Annotated[dict[str, Any], AfterValidator(lambda node: _named(node) if node else node)]
Component = Annotated[dict[str, Any], AfterValidator(_named)]
Count = Annotated[int, Field(ge=1)]
Limit = Annotated[int, Field(ge=-1)]
Amount = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[\w-]+$")]
ModulePath = Annotated[str, Field(pattern=r"^[\w-]+(\.\w+)*$")]


@dataclass(config=STRICT)
class ModelConfig:
    """A recurrent network.

    `parameters` is the number of parameters between embedding and head. If it is given, it determines the
    hidden size, and `hidden_size` is ignored.
    """

    name: Name
    cell: Component
    hidden_size: Annotated[int, Field(ge=1, le=100_000_000)]
    parameters: Count | None
    layers: Annotated[int, Field(ge=1, le=1000)]
    bidirectional: bool
    dropout: Share
    embedding_size: Annotated[int, Field(ge=1, le=100_000)]
    embedding_std: Annotated[float, Field(gt=0, le=100)] = 1.0


@dataclass(config=STRICT)
class BaselineConfig:
    """A model without recurrence (`gatescope.baselines`), fitted by scikit-learn and recorded as a run."""

    name: Name
    baseline: Component


def _family(node: Any) -> str:
    return "<baseline>" if isinstance(node, Mapping) and "baseline" in node else "<network>"


AnyModel = Annotated[
    Annotated[ModelConfig, Tag("<network>")] | Annotated[BaselineConfig, Tag("<baseline>")],
    Discriminator(_family),
]
MODELS: dict[str, type] = {"<network>": ModelConfig, "<baseline>": BaselineConfig}


@dataclass(config=OPEN)
class OptimizerConfig:
    """An optimizer: its common arguments; the others are those of its `_target_`."""

    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


@dataclass(config=OPEN)
class TrainerConfig:
    """The common arguments of pytorch_lightning.Trainer, and arguments of our own.

    The latter are `threads`, `compile` and `float32_matmul_precision`.
    """

    accelerator: Literal["cpu", "gpu", "cuda", "auto"]
    devices: Annotated[int | Literal["auto"], BeforeValidator(_devices)]
    max_epochs: Annotated[Any, BeforeValidator(_epochs)]
    max_steps: Annotated[Any, BeforeValidator(_steps)]
    gradient_clip_val: Positive | None
    gradient_clip_algorithm: Literal["norm", "value"]
    deterministic: bool | Literal["warn"]
    log_every_n_steps: Count
    enable_progress_bar: bool | None
    threads: Count | None
    compile: bool
    float32_matmul_precision: Literal["highest", "high", "medium"] = "highest"
    accumulate_grad_batches: Count = 1
    check_val_every_n_epoch: Count | None = 1
    limit_train_batches: Annotated[Any, BeforeValidator(_batches(1))] = None
    limit_val_batches: Annotated[Any, BeforeValidator(_batches(0))] = None
    limit_test_batches: Annotated[Any, BeforeValidator(_batches(0))] = None
    limit_predict_batches: Annotated[Any, BeforeValidator(_batches(0))] = None
    overfit_batches: Annotated[Any, BeforeValidator(_batches(0))] = 0
    val_check_interval: Annotated[Any, BeforeValidator(_interval)] = None
    max_time: Annotated[Any, BeforeValidator(_duration)] = None
    min_epochs: Amount | None = None
    min_steps: Amount | None = None
    num_sanity_val_steps: Limit | None = None
    reload_dataloaders_every_n_epochs: Amount = 0
    fast_dev_run: bool | Amount = False
    num_nodes: Annotated[Any, BeforeValidator(_only(1, "a run is on one machine"))] = 1
    use_distributed_sampler: Annotated[
        Any, BeforeValidator(_only(False, "each batch is distributed over the processes already"))
    ] = False
    barebones: Annotated[
        Any, BeforeValidator(_only(False, "a trainer without loggers and callbacks has no record"))
    ] = False


@dataclass(config=STRICT)
class InstrumentsConfig:
    """The instruments and how often they measure."""

    every_n_steps: Count | None
    examples: Count
    readers: dict[str, Component]


@dataclass(config=STRICT)
class TrackingConfig:
    """Tracking by W&B and TensorBoard."""

    mode: Literal["offline", "online", "disabled"]
    project: Name
    entity: str | None
    name: str | None
    tensorboard: bool
    finish_seconds: Annotated[float, Field(gt=0, le=86400)] = 20.0


@dataclass(config=STRICT)
class CheckpointConfig:
    """When checkpoints are saved and which are kept."""

    every_n_steps: Count | None
    every_seconds: Positive | None
    keep: Literal["best", "all"]


@dataclass(config=STRICT)
class EarlyStoppingConfig:
    """When training stops early."""

    patience: Count | None
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    min_steps: Amount = 0
    threshold: float | None = None


@dataclass(config=STRICT)
class LengthConfig:
    """The length of training: a number of epochs, with limits in updates of the weights."""

    epochs: Count
    min_steps: Amount
    max_steps: Count | None


@dataclass(config=STRICT)
class RecipeConfig:
    """The settings of a kind of data. Other groups take them over by interpolation.

    Only `length` is read here, where `trainer.max_epochs` is auto.
    """

    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    dropout: Share
    bidirectional: bool
    embedding_std: Annotated[float, Field(gt=0, le=100)]
    length: LengthConfig
    patience: Count | None
    monitor_window: Count


def _domain(value: Any) -> Any:
    if value is None or (isinstance(value, list) and value and all(map(_scalar, value))):
        return value
    if isinstance(value, dict) and isinstance(value.get("values"), list):  # in place of the range of a file
        _domain(value["values"])
        return value
    if isinstance(value, dict) and {"low", "high"} <= set(value) <= {"low", "high", "log", "values"}:
        low, high, log = value["low"], value["high"], value.get("log", False)
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high))
        if numbers and type(log) is bool and low < high and (low > 0 or not log):
            return value
    raise ValueError(
        "a list of values, {values: [0.001, 0.01]} where a file has a range, or {low: 0.001, high: 0.1, "
        "log: true} with low below high, and above 0 with log; null leaves the key out"
    )


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, int | float | bool | str)


@dataclass(config=STRICT)
class TuneConfig:
    """Tuning of every variant of a sweep with the same number of trials.

    `stage` and `number` are set by the sweeper, for each of its runs.
    """

    sampler: Literal["random", "tpe"] | None = None
    trials: Count = 16
    parallel: Count = 2
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = field(
        default_factory=lambda: [1000]
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    halving: Annotated[int, Field(ge=2)] | None = None
    space: dict[str, Annotated[Any, BeforeValidator(_domain)]] = field(default_factory=dict)
    stage: Literal["rung", "trial", "final"] | None = None
    number: Amount | None = None


@dataclass(config=OPEN)
class LossConfig:
    """What is minimised: the task's loss with these options, or that of a `_target_` with its arguments."""

    class_weights: (
        Literal["balanced"] | Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2)] | None
    ) = None
    label_smoothing: Share = 0.0


@dataclass(config=STRICT)
class PublishedConfig:
    """A published result on the same data. `model` is a name of conf/model, or any other name.

    `note` says how the published model or its training differs from ours.
    """

    model: str
    value: float
    source: str
    note: str | None = None


@dataclass(config=STRICT)
class SelectConfig:
    """Keys `over` that are tuned: each variant gets the values with the best mean of `by` over seeds."""

    over: Annotated[list[str], Field(min_length=1)]
    by: Annotated[str, Field(pattern=r"^validation/.+$")]


@dataclass(config=STRICT)
class SolvedConfig:
    """When a run counts as solved: its `metric` is at `at` or better."""

    metric: Annotated[str, Field(pattern=r"^test/.+$")]
    at: float


@dataclass(config=STRICT)
class StudyConfig:
    """A study: its question, its comparison, and its report."""

    name: Name
    question: str | None
    parameters: Count | None
    primary: str | None
    direction: Literal["max", "min"]
    reference: str | None
    baseline: str | list[Name] | None
    select: SelectConfig | None
    published: list[PublishedConfig]
    figures: list[ModulePath]
    findings: ModulePath
    margin: Annotated[float, Field(gt=0)] | None = None
    solved: SolvedConfig | None = None
    contrasts: list[Annotated[list[Name], Field(min_length=2, max_length=2)]] = field(default_factory=list)
    vary_data: bool = False


@dataclass(config=STRICT)
class RootConfig:
    """The whole config."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    kernel: Literal["auto", "torch", "native"]
    force: bool
    root: Annotated[str, Field(min_length=1)]
    checkpoint: CheckpointConfig
    early_stopping: EarlyStoppingConfig
    study: StudyConfig
    data: Component
    model: AnyModel
    attention: Component
    optimizer: OptimizerConfig
    scheduler: SomeComponent
    trainer: TrainerConfig
    instruments: InstrumentsConfig
    tracking: TrackingConfig
    decoder: SomeComponent = field(default_factory=dict)
    front: SomeComponent = field(default_factory=dict)
    monitor: Annotated[str, Field(min_length=1)] | None = None
    monitor_direction: Literal["max", "min"] | None = None
    monitor_window: Count = 1
    loss: LossConfig = field(default_factory=LossConfig)
    start: Annotated[str | None, Field(alias="from", min_length=1)] = None
    freeze: list[Annotated[str, Field(min_length=1)]] = field(default_factory=list)
    metric: dict[str, Any] = field(default_factory=dict)
    recipe: RecipeConfig | None = None
    tune: TuneConfig = field(default_factory=TuneConfig)


ALIASES = {"start": "from"}
"""The keys of fields whose keys are no names in Python."""
SCHEMA: TypeAdapter[RootConfig] = TypeAdapter(RootConfig)


def check(cfg: Mapping[str, Any]) -> None:
    """Check a config, including the arguments of all components.

    Raises:
        ConfigError: The config is wrong. Each problem names the full key, the given value, the allowed values
            and the nearest name.
    """
    plain = resolved(cfg)
    if problems := list(limit_problems(plain)):
        raise ConfigError(problems)
    problems = list(structure_problems(plain))
    reported = {problem.split(":")[0] for problem in problems}
    problems += [p for p in _all_component_problems(plain) if p.split(":")[0] not in reported]
    if not problems:
        problems = list(vary_data_problems(plain))
    problems = problems or list(optimizer_problems(plain))
    if problems:
        raise ConfigError(problems)


def check_files(cfg: Mapping[str, Any]) -> None:
    """Check that the files of the user's own data exist.

    Raises:
        ConfigError: One does not.
    """
    if problems := list(_missing_files(resolved(cfg)["data"])):
        raise ConfigError(problems)


def check_structure(cfg: Mapping[str, Any]) -> None:
    """Check a config as `check` does, but without importing its components."""
    plain = resolved(cfg)
    problems = list(limit_problems(plain)) or list(structure_problems(plain))
    if problems:
        raise ConfigError(problems)


def resolved(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config as plain values, with its interpolations resolved."""
    try:
        plain: Any = {
            str(name): OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
            if OmegaConf.is_config(node)
            else node
            for name, node in cfg.items()
            if name != "hydra"
        }
    except MissingMandatoryValue as error:
        raise ConfigError([_needed(str(error.full_key))]) from error
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {str(error.msg).splitlines()[0]}"]) from error
    return plain


def structure_problems(plain: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a resolved config, apart from the arguments of components."""
    try:
        SCHEMA.validate_json(json.dumps(plain))
    except ValidationError as error:
        by_key: dict[str, list[Any]] = defaultdict(list)
        for one in error.errors():
            by_key[_key(one, plain)].append(one)
        for key, errors in by_key.items():
            yield _sentence(key, errors, plain)
    else:
        yield from _contradictions(plain)


def _key(error: Any, plain: Mapping[str, Any]) -> str:
    """Return the config key of an error: its location without the tags of a union's branches."""
    path: list[str] = []
    node: Any = plain
    for depth, part in enumerate(error["loc"]):
        inside = isinstance(node, Mapping) and part in node
        lacking = error["type"] in ("missing", "missing_argument") and depth == len(error["loc"]) - 1
        if inside or lacking:
            path.append(str(part))
            node = node[part] if inside else None
    return ".".join(path)


def _sentence(key: str, errors: list[Any], plain: Mapping[str, Any]) -> str:
    kinds = {e["type"] for e in errors}
    if kinds & {"unexpected_keyword_argument", "extra_forbidden"}:
        return unknown_key(key, allowed_keys(key.rpartition(".")[0], plain))
    if kinds & {"missing", "missing_argument"}:
        return f"{key}: missing, every run needs it: give {key}=…, and no ~{key}"
    value = _value_at(plain, key)
    if value == "???":
        return _needed(key)
    return disallowed(key, value, errors)


def _value_at(node: Any, key: str) -> Any:
    """Return the value of a dotted key; names may have dots themselves, such as those of `tune.space`."""
    if not key:
        return node
    name = next(one for one in sorted(node, key=len, reverse=True) if f"{key}.".startswith(f"{one}."))
    return _value_at(node[name], key[len(name) + 1 :])


def _needed(key: str) -> str:
    return f"{key}: needs a value, give {key}=…"


def allowed_keys(parent: str, plain: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields of the dataclass that checks this node; "" is the root."""
    if parent == "model":
        return [field.name for field in fields(MODELS[_family(plain["model"])])]
    schema: Any = RootConfig if not parent else get_type_hints(RootConfig).get(parent)
    return [ALIASES.get(field.name, field.name) for field in fields(schema)] if is_dataclass(schema) else []


def _contradictions(plain: Mapping[str, Any]) -> Iterator[str]:
    """Yield the contradictions between several keys."""
    yield from fold_problems(plain["data"])
    yield from _data_problems(plain["data"])
    yield from conflicts(plain)
    model, trainer, heads = plain["model"], plain["trainer"], plain["attention"].get("heads", 1)
    if "hidden_size" in model and model["parameters"] is None and isinstance(heads, int) and heads > 1:
        width = model["hidden_size"] * (2 if model["bidirectional"] else 1)
        if width % heads:
            yield f"attention.heads: given {heads}, allowed: a divisor of the width of the states, {width}"
    if "baseline" in model and (plain.get("from") or plain.get("freeze")):
        yield "from: a model without a network has no weights, leave out from and freeze"
    if trainer["max_epochs"] == "auto" and plain.get("recipe") is None:
        yield "trainer.max_epochs: auto needs a recipe; give a number of epochs"
    if trainer["max_epochs"] == trainer["max_steps"] == -1 and trainer.get("max_time") is None:
        yield "trainer.max_epochs: given -1, allowed: a number of epochs, or -1 with trainer.max_steps given"
    if trainer.get("limit_val_batches") == 0:
        for key in ("patience", "threshold"):
            if plain["early_stopping"].get(key) is not None:
                yield f"early_stopping.{key}: needs validation, and trainer.limit_val_batches is 0"
        if str(plain["scheduler"].get("_target_", "")).endswith("ReduceLROnPlateau"):
            yield "scheduler: a plateau needs validation, and trainer.limit_val_batches is 0"
    if (
        trainer.get("check_val_every_n_epoch", 1) is None
        and type(trainer.get("val_check_interval")) is not int
    ):
        yield "trainer.check_val_every_n_epoch: null needs trainer.val_check_interval, a number of batches"


def _data_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield numbers of a data section that no library accepts."""
    for key, most in (("batch_size", 2**31 - 1), ("seed", 2**32 - 1)):
        if type(data.get(key)) is int and data[key] > most:
            yield f"data.{key}: given {data[key]}, allowed: at most {most}"
    for key, value in data.items():
        if value in ("", []) and key not in ("specials", "label_separator", "remove"):
            yield f"data.{key}: given {json.dumps(value)}, which is empty"
    if isinstance(encoding := data.get("encoding"), str) and encoding:
        try:
            "a".encode(encoding)
        except LookupError as error:
            yield f"data.encoding: given {json.dumps(encoding)}, {error}; utf-8, latin-1 and cp1252 are some"
    if data.get("decimal") in ("point", "comma") and data["decimal"] == data.get("thousands"):
        yield f"data.thousands: given {data['thousands']}, which is data.decimal: give different marks"
    if type(data.get("workers")) is int and data["workers"] > 1000:
        yield f"data.workers: given {data['workers']}, allowed: at most 1000"


def _missing_files(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files and folders of the user's own data that do not exist, in the words of the datasets."""
    target = current_targets(data)["_target_"]
    if not target.startswith("gatescope.data.files."):
        return
    for key in ("path", "validation_path", "test_path", "manifest", "folder"):
        value = data.get(key)
        if not isinstance(value, str) or (path := Path(value).expanduser()).exists():
            continue
        kind = "folder" if key == "path" and target.endswith(".AudioFolder") else "file"
        if target.endswith(".AudioManifest"):
            kind = "file or folder"
        yield f"{path}: no such {kind}"


def _loss_problems(loss: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the section `loss`: arguments of no loss, or options that its loss ignores."""
    options = [field.name for field in fields(LossConfig)]
    rest = {name: value for name, value in loss.items() if name not in options}
    target = rest.get("_target_")
    if target is None:
        for name in rest.keys() - {"_target_"}:
            yield unknown_key(f"loss.{name}", [*options, "_target_"])
        return
    yield from component_problems(rest, "loss")
    for name in options:
        if loss.get(name):
            yield f"loss.{name}: given {json.dumps(loss[name])}, which {target} does not get; remove it"


def _all_component_problems(plain: Mapping[str, Any]) -> Iterator[str]:
    for group, node in plain.items():
        if group != "loss":
            yield from component_problems(node, group)
    if isinstance(plain.get("loss"), Mapping):
        yield from _loss_problems(plain["loss"])
    if isinstance(plain.get("trainer"), Mapping):
        from pytorch_lightning import Trainer

        ours = {field.name for field in fields(TrainerConfig)}
        rest = {name: value for name, value in plain["trainer"].items() if name not in ours}
        yield from argument_problems(Trainer, rest, "trainer", True, also=ours)
