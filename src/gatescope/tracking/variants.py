"""What tells the runs of a set apart: the one definition of variants and conditions. No torch here.

Within a set of runs (the jobs of a sweep, the records of a study), every key of the config that defines the
result and differs among them, apart from the seed, is told:

- The *variant* is the model and its attention, and the decoder where several are compared on the same data.
- All other keys are *conditions*, `key=value`. Variants are compared under equal conditions.

A component (model, attention, decoder, data, optimizer, scheduler) brings keys of its own: those that have
one value wherever the component is named belong to the name and are not told again. A key that differs
between datasets only belongs to the dataset's name in the same way: nothing is compared across datasets.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig

from gatescope.components import nearest
from gatescope.config import ConfigError
from gatescope.tracking.identity import decoder_name, digest, result_config, run_dir, tags

COMPONENTS = ("data", "model", "attention", "decoder", "optimizer", "scheduler")
ORDER = {name: place for place, name in enumerate(COMPONENTS)}
"""Conditions are told in this order of sections, then by key."""

PASSED_ON = {"kernel": "model.cell.kernel", "study.parameters": "model.parameters"}
"""Keys that a command line gives outside of what defines a result, and where they arrive in it."""

ABSENT = object()

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Run:
    """What is known of a run: its `tags`, and `result`, the config that defines its result."""

    tags: Mapping[str, Any]
    result: Mapping[str, Any]

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> Run:
        """From a whole config."""
        return cls(tags(cfg), result_config(cfg))


@dataclass(frozen=True)
class Label:
    """A run's variant and its conditions, `key=value` by the full name of the key."""

    variant: str
    conditions: dict[str, str] = field(default_factory=dict)

    @property
    def condition(self) -> str:
        """All conditions, as tables write them: "data=copy, lag=50"; "" where nothing differs."""
        return ", ".join(self.conditions.values())

    @property
    def text(self) -> str:
        """Variant and conditions, as the table of a sweep writes them: "gru-none lr=0.01"."""
        return " ".join([self.variant, *self.conditions.values()])


def labels_of(configs: Sequence[Mapping[str, Any]]) -> list[Label]:
    """The labels of runs by their configs, in their order."""
    found = labels({place: Run.of(cfg) for place, cfg in enumerate(configs)})
    return [found[place] for place in range(len(configs))]


def labels(runs: Mapping[Key, Run]) -> dict[Key, Label]:
    """Variant and conditions of each run: two runs share both only if they differ in nothing but the seed."""
    by_data: dict[str, dict[Key, Run]] = defaultdict(dict)
    for key, run in runs.items():
        by_data[str(run.tags.get("data", ""))][key] = run
    flat = {key: {k: v for k, v in leaves(run.result) if k != "seed"} for key, run in runs.items()}
    names = short_names({name for own in flat.values() for name in own} | {"seed"})
    found: dict[Key, Label] = {}
    for data, own in by_data.items():
        told = {"data": f"data={data}"} if len(by_data) > 1 else {}
        found |= _within_a_dataset(own, {key: flat[key] for key in own}, names, told)
    return _apart(runs, {key: found[key] for key in runs})


def _within_a_dataset(
    runs: Mapping[Key, Run],
    flat: Mapping[Key, dict[str, Any]],
    names: Mapping[str, str],
    told: Mapping[str, str],
) -> dict[Key, Label]:
    kinds = {key: _kinds(run) for key, run in runs.items()}
    several_decoders = len({own["decoder"] for own in kinds.values()}) > 1
    parts = [
        part for part in ("optimizer", "scheduler") if len({k.get(part) for k in kinds.values()} - {None}) > 1
    ]
    axes = sorted(
        _axes(runs, flat, kinds), key=lambda axis: (ORDER.get(axis.split(".")[0], len(ORDER)), axis)
    )
    texts = {axis: _texts([own[axis] for own in flat.values() if axis in own]) for axis in axes}
    found = {}
    for key, run in runs.items():
        variant = str(run.tags["variant"])
        if several_decoders and kinds[key]["decoder"] != "none":
            variant = f"{variant}-{kinds[key]['decoder']}"
        conditions = dict(told)
        for part in parts:
            if part in kinds[key]:
                conditions[part] = f"{part}={kinds[key][part]}"
        for axis in axes:
            if axis in flat[key]:
                conditions[axis] = f"{names[axis]}={texts[axis][_canonical(flat[key][axis])]}"
        found[key] = Label(variant, conditions)
    return found


def _axes(
    runs: Mapping[Key, Run], flat: Mapping[Key, dict[str, Any]], kinds: Mapping[Key, Mapping[str, str]]
) -> Iterator[str]:
    """The keys that differ among runs whose component of that section is the same."""
    for name in sorted({name for own in flat.values() for name in own}):
        section = name.split(".")[0]
        values: dict[str, set[str]] = defaultdict(set)
        for key, own in flat.items():
            if section in runs[key].result:
                values[kinds[key].get(section, "")].add(_canonical(own.get(name, ABSENT)))
        if any(len(different) > 1 for different in values.values()):
            yield name


def _apart(runs: Mapping[Key, Run], found: dict[Key, Label]) -> dict[Key, Label]:
    """Runs that differ and are labelled alike (by odd names or values) get a digest of their config too."""
    alike: dict[tuple[str, str], dict[Key, str]] = defaultdict(dict)
    for key, label in found.items():
        without_seed = {name: value for name, value in runs[key].result.items() if name != "seed"}
        alike[label.variant, label.condition][key] = digest(without_seed)
    for group in alike.values():
        if len(set(group.values())) > 1:
            for key, own in group.items():
                label = found[key]
                found[key] = Label(label.variant, {**label.conditions, "config": f"config={own}"})
    return found


def _kinds(run: Run) -> dict[str, str]:
    """The names of a run's components; of those that it has."""
    kinds = {
        "model": str(run.tags.get("cell", "")),
        "attention": str(run.tags.get("attention", "")),
        "decoder": decoder_name(run.result.get("decoder")),
    }
    for part in ("optimizer", "scheduler"):
        if part in run.result:
            node = run.result[part]
            target = node.get("_target_") if isinstance(node, Mapping) else None
            kinds[part] = str(target).rpartition(".")[2] if target else "none"
    return kinds


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config by their dotted names; a list is one value, and so is an empty mapping."""
    if not isinstance(node, Mapping) or not node:
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Each key by the shortest end of it that no other key has: optimizer.lr is lr, data.seed stays so."""
    keys = sorted(set(keys))
    ends = Counter(end for key in keys for end in _ends(key))
    return {key: next((end for end in _ends(key) if ends[end] == 1), key) for key in keys}


def _ends(key: str) -> list[str]:
    """ "b.c", "a.b.c" after "c", the shortest first."""
    parts = key.split(".")
    return [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]


def _canonical(value: Any) -> str:
    return "" if value is ABSENT else json.dumps(value, sort_keys=True, default=str)


def _texts(values: Iterable[Any]) -> dict[str, str]:
    """How values of one key are written, by their JSON: as on a command line where that tells them apart."""
    by_json = {_canonical(value): value for value in values}
    for write in (value_text, json.dumps):
        texts = {own: write(value) for own, value in by_json.items()}
        if len(set(texts.values())) == len(texts):
            return texts
    return {own: own for own in by_json}


def value_text(value: Any) -> str:
    """A value as one writes it on a command line: 0.001, true, null, a word, [0.9,0.999]."""
    if isinstance(value, str):
        content = re.match("sha256:([0-9a-f]{8})", value)  # of a file
        return content[1] if content else value
    return json.dumps(value, separators=(",", ":"), default=str)


def display_name(cfg: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """A name to read: the variant, the values of the result's config that were given for this run, the seed.

    Args:
        overrides: of the command line, `key=value` each: "gru-additive lr=0.003 s0" for optimizer.lr=0.003.
    """
    run = Run.of(cfg)
    flat = dict(leaves(run.result))
    names = short_names(flat)
    given = {PASSED_ON.get(key, key) for key, _ in _given(overrides)}
    told = [f"data={run.tags['data']}"] if "data" in given else []
    told += [
        f"{names[key]}={value_text(flat[key])}"
        for key in flat
        if key in given and key not in ("seed", "model.name")
    ]
    return " ".join([str(run.tags["variant"]), *told, f"s{run.tags['seed']}"])


def run_name(cfg: Mapping[str, Any]) -> str:
    """The name of a run on W&B and in `by_name`: `tracking.name`, else by what the command line gives it."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return str(cfg["tracking"]["name"] or display_name(cfg, given))


def _given(overrides: Iterable[str]) -> Iterator[tuple[str, str]]:
    for word in overrides:
        key, _, value = word.lstrip("+~").partition("=")
        yield key.partition("@")[0], value


def check_sweep(configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]]) -> None:
    """Refuses a sweep over a key that cannot change a result: its jobs would be one and the same run.

    And the sweep of a study that selects over a key that none of its jobs has.

    Args:
        configs: the resolved config of each job.
        overrides: what each job was given, `key=value`.

    Raises:
        ConfigError: naming each such key and the remedy.
    """
    problems = [*_without_effect(configs, overrides), *_unknown_selection(configs)]
    if problems:
        raise ConfigError(problems)


def _without_effect(
    configs: Sequence[Mapping[str, Any]], overrides: Sequence[Sequence[str]]
) -> Iterator[str]:
    given = [dict(_given(words)) for words in overrides]
    directories = [run_dir(cfg) for cfg in configs]
    wholes = [_canonical(cfg) for cfg in configs]
    for key in dict.fromkeys(key for own in given for key in own):
        values = dict.fromkeys(own[key] for own in given if key in own)
        groups: dict[str, list[int]] = defaultdict(list)
        for place, own in enumerate(given):
            groups[json.dumps({k: v for k, v in own.items() if k != key}, sort_keys=True)].append(place)
        runs = max(len({directories[place] for place in group}) for group in groups.values())
        different = max(len({wholes[place] for place in group}) for group in groups.values())
        if runs == 1 and different > 1:
            yield (
                f"{key}: given {','.join(values)}, but it cannot change the result of a run, so that all of "
                "these are one and the same run; give one value, or compare in studies of their own "
                "(study.name=…)"
            )


def _unknown_selection(configs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence on each key of `study.select.over` that no job's result depends on."""
    over = dict.fromkeys(
        key for cfg in configs for key in ((cfg["study"].get("select") or {}).get("over") or [])
    )
    if not over:
        return
    known = {*COMPONENTS, *(key for cfg in configs for key, _ in leaves(result_config(cfg)))} - {"seed"}
    for key in over:
        if key not in known:
            close = nearest(key, known)
            hint = f"; did you mean {close}?" if close else ""
            yield f"study.select.over: given {key}, allowed: a key that defines a run's result{hint}"
