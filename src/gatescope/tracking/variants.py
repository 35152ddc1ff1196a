"""How the runs of a set differ: their variants and conditions. This module does not import torch.

Within a set of runs (the jobs of a sweep, the records of a study), every key of the config that defines the
result and differs between runs, apart from the seed, becomes part of a run's label:

- The *variant* is the model and its attention, and the decoder if several are compared on the same data.
- All other keys are *conditions*, `key=value`. Variants are compared under equal conditions.

A component (model, attention, decoder, data, optimizer, scheduler) has keys of its own. Those that have the
same value in all runs with this component are implied by its name and left out. In the same way, a key that
differs between datasets only is implied by the dataset's name: nothing is compared across datasets.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gatescope.tracking.identity import decoder_name, digest, result_config, tags

COMPONENTS = ("data", "front", "model", "attention", "decoder", "optimizer", "scheduler")
ORDER = {name: place for place, name in enumerate(COMPONENTS)}
"""Conditions are sorted by section in this order, then by key."""

REPLICATES = ("seed", "data.fold")
"""Keys by which runs of one label may differ in a report: the fold of a cross-validation and the seed."""

DATA_SEED = "data.seed"

ABSENT = object()
"""Value of a key that a run's config does not have."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Run:
    """The identity of a run.

    Attributes:
        tags: Names by which tables group runs, see `gatescope.tracking.identity.tags`.
        result: The config that defines its result.
    """

    tags: Mapping[str, Any]
    result: Mapping[str, Any]

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> Run:
        """Return the identity of the run of a config."""
        return cls(tags(cfg), compared_config(cfg, result_config(cfg)))


def compared_config(
    cfg: Mapping[str, Any], result: Mapping[str, Any], stages: Collection[str] = ("final",)
) -> Mapping[str, Any]:
    """Return the config by which a run is compared with others: without keys that were tuned for its variant.

    Args:
        cfg: Config of the run.
        result: The part of it that defines the result.
        stages: Stages of tuning whose runs are compared without these keys.
    """
    tune = cfg.get("tune") or {}
    return _without(result, tuned_keys(cfg)) if tune.get("stage") in stages else result


def tuned_keys(cfg: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys that `tune.space` names."""
    space = (cfg.get("tune") or {}).get("space") or {}
    return [str(key) for key, domain in space.items() if domain is not None]


@dataclass(frozen=True)
class Label:
    """Variant and conditions of a run.

    Attributes:
        variant: The variant.
        conditions: Texts `key=value` with short keys, by full keys.
    """

    variant: str
    conditions: dict[str, str] = field(default_factory=dict)

    @property
    def condition(self) -> str:
        """All conditions as tables show them: "data=copy, lag=50"; "" if there are none."""
        return ", ".join(self.conditions.values())

    @property
    def text(self) -> str:
        """Variant and conditions as the table of a sweep shows them: "gru-none lr=0.01"."""
        return " ".join([self.variant, *self.conditions.values()])


def labels_of(configs: Sequence[Mapping[str, Any]]) -> list[Label]:
    """Return the labels of the runs of these configs, in the same order."""
    by_place = labels({place: Run.of(cfg) for place, cfg in enumerate(configs)})
    return [by_place[place] for place in range(len(configs))]


def labels(runs: Mapping[Key, Run], replicates: Collection[str] = ("seed",)) -> dict[Key, Label]:
    """Return the label of each run; two runs have the same label only if they differ in `replicates` alone.

    Args:
        runs: The runs.
        replicates: Dotted keys that are no part of a label; by default the seed. The seed of the data is one
            of them where it is that of the run in all runs (`study.vary_data`).
    """
    if _data_follow_seed(runs.values()):
        replicates = {*replicates, DATA_SEED}
    by_data: dict[str, dict[Key, Run]] = defaultdict(dict)
    for key, run in runs.items():
        by_data[str(run.tags.get("data", ""))][key] = run
    own = {key: _replicates(run, replicates) for key, run in runs.items()}
    flat = {key: {k: v for k, v in leaves(run.result) if k not in own[key]} for key, run in runs.items()}
    names = short_names({name for values in flat.values() for name in values} | {"seed"})
    by_run: dict[Key, Label] = {}
    for data, subset in by_data.items():
        common = {"data": f"data={data}"} if len(by_data) > 1 else {}
        by_run |= _labels_within_dataset(subset, {key: flat[key] for key in subset}, names, common)
    return _separate(runs, {key: by_run[key] for key in runs}, own)


def _replicates(run: Run, replicates: Collection[str]) -> set[str]:
    """Return the keys that are no part of the label of a run.

    `data.fold` is one of them only in a cross-validation; elsewhere it is an argument of the dataset.
    """
    data = run.result.get("data")
    has_folds = isinstance(data, Mapping) and data.get("folds") is not None
    return {key for key in replicates if key != "data.fold" or has_folds}


def _data_follow_seed(runs: Iterable[Run]) -> bool:
    """Return whether the seed of the data is that of the run in all runs."""
    return all(
        isinstance(data := run.result.get("data"), Mapping) and data.get("seed") == run.result.get("seed")
        for run in runs
    )


def _labels_within_dataset(
    runs: Mapping[Key, Run],
    flat: Mapping[Key, dict[str, Any]],
    names: Mapping[str, str],
    common: Mapping[str, str],
) -> dict[Key, Label]:
    """Return the labels of the runs on one dataset.

    Args:
        runs: The runs.
        flat: Their configs by dotted keys.
        names: Short names of the keys.
        common: Conditions that all of these runs have.
    """
    kinds = {key: _component_names(run) for key, run in runs.items()}
    has_several_decoders = len({kind["decoder"] for kind in kinds.values()}) > 1
    parts = [
        part
        for part in ("front", "optimizer", "scheduler")
        if len({kind.get(part) for kind in kinds.values()} - {None}) > 1
    ]
    axes = sorted(
        _differing_keys(runs, flat, kinds),
        key=lambda axis: (ORDER.get(axis.split(".")[0], len(ORDER)), axis),
    )
    texts = {axis: _texts([values[axis] for values in flat.values() if axis in values]) for axis in axes}
    by_run = {}
    for key, run in runs.items():
        variant = str(run.tags["variant"])
        if has_several_decoders and kinds[key]["decoder"] != "none":
            variant = f"{variant}-{kinds[key]['decoder']}"
        conditions = dict(common)
        for part in parts:
            if part in kinds[key]:
                conditions[part] = f"{part}={kinds[key][part]}"
        for axis in axes:
            if axis in flat[key]:
                conditions[axis] = f"{names[axis]}={texts[axis][canonical_json(flat[key][axis])]}"
        by_run[key] = Label(variant, conditions)
    return by_run


def _differing_keys(
    runs: Mapping[Key, Run], flat: Mapping[Key, dict[str, Any]], kinds: Mapping[Key, Mapping[str, str]]
) -> Iterator[str]:
    """Yield the keys that differ between runs with the same component in that section."""
    for name in sorted({name for values in flat.values() for name in values}):
        section = name.split(".")[0]
        by_component: dict[str, set[str]] = defaultdict(set)
        for key, values in flat.items():
            if section in runs[key].result:
                value = canonical_json(values.get(name, ABSENT))
                by_component[kinds[key].get(section, "")].add(value)
        if any(len(different) > 1 for different in by_component.values()):
            yield name


def _separate(
    runs: Mapping[Key, Run], by_run: dict[Key, Label], replicates: Mapping[Key, Collection[str]]
) -> dict[Key, Label]:
    """Add a digest of the config to the labels of different runs that would have the same label."""
    groups: dict[tuple[str, str], dict[Key, str]] = defaultdict(dict)
    for key, label in by_run.items():
        groups[label.variant, label.condition][key] = digest(_without(runs[key].result, replicates[key]))
    for group in groups.values():
        if len(set(group.values())) > 1:
            for key, config in group.items():
                label = by_run[key]
                by_run[key] = Label(label.variant, {**label.conditions, "config": f"config={config}"})
    return by_run


def _without(node: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return a config without these dotted keys."""
    inner = {name: [key.partition(".")[2] for key in keys if key.startswith(f"{name}.")] for name in node}
    return {
        name: _without(value, inner[name]) if inner[name] and isinstance(value, Mapping) else value
        for name, value in node.items()
        if name not in keys
    }


def _component_names(run: Run) -> dict[str, str]:
    """Return the names of the components of a run, by section."""
    names = {
        "model": str(run.tags.get("cell", "")),
        "attention": str(run.tags.get("attention", "")),
        "decoder": decoder_name(run.result.get("decoder")),
    }
    for part in ("front", "optimizer", "scheduler"):
        if part in run.result or part == "front":  # a config without one has none
            node = run.result.get(part)
            target = node.get("_target_") if isinstance(node, Mapping) else None
            names[part] = str(target).rpartition(".")[2] if target else "none"
    return names


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config by dotted keys; a list or an empty mapping is one value."""
    if not isinstance(node, Mapping) or not node:
        yield prefix, node
        return
    for key, value in node.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the shortest unique suffix of each dotted key: optimizer.lr becomes lr, data.seed stays."""
    keys = sorted(set(keys))
    counts = Counter(suffix for key in keys for suffix in _suffixes(key))
    return {key: next((suffix for suffix in _suffixes(key) if counts[suffix] == 1), key) for key in keys}


def _suffixes(key: str) -> list[str]:
    """Return "c", "b.c" and "a.b.c" of "a.b.c"."""
    parts = key.split(".")
    return [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]


def canonical_json(value: Any) -> str:
    """Return a value as JSON with sorted keys; "" for `ABSENT`."""
    return "" if value is ABSENT else json.dumps(value, sort_keys=True, default=str)


def _texts(values: Iterable[Any]) -> dict[str, str]:
    """Return a text for each value of a key by its JSON: the shortest form that is unique."""
    by_json = {canonical_json(value): value for value in values}
    for write in (value_text, json.dumps):
        texts = {name: write(value) for name, value in by_json.items()}
        if len(set(texts.values())) == len(texts):
            return texts
    return {name: name for name in by_json}


def value_text(value: Any) -> str:
    """Return a value as it is written on a command line: 0.001, true, null, a word, [0.9,0.999]."""
    if isinstance(value, str):
        file_digest = re.match("sha256:([0-9a-f]{8})", value)
        return file_digest[1] if file_digest else value
    return json.dumps(value, separators=(",", ":"), default=str)


def natural(text: str) -> list[tuple[int, float, str]]:
    """Return a sort key that puts "lag=9" before "lag=10", and "lr=1e-05" before "lr=0.001"."""
    parts = re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|\D+", text)
    return [(0, float(p), "") if p[0].isdigit() else (1, 0.0, p) for p in parts]
