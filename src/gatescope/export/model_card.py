"""The model card of an exported run, README.md: everything in it is read from the record of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from gatescope.analysis.report.numbers import cell, count, interval, literal, number
from gatescope.analysis.statistics import LEVEL, Estimate
from gatescope.evaluation import scores_of
from gatescope.tracking.predictions import classes
from gatescope.trained import Trained

PACKAGES = ("gatescope", "torch")
"""Packages whose classes a config may name without a further installation."""
SPLITS = ("train", "validation", "test")


def model_card(
    trained: Trained, record: Mapping[str, Any], predictions: pd.DataFrame | None, folder: str
) -> str:
    """Return the card in Markdown.

    Args:
        trained: The run.
        record: Content of its run.json.
        predictions: Its predictions on the test split, from which the intervals are computed; None if there
            are none.
        folder: Name of the folder that the card is in.
    """
    scores = {} if predictions is None else scores_of(trained.task, predictions)
    sections = {
        "Use": _use(trained, folder),
        "Results": _results(record, scores, predictions),
        "Data": _data(record),
        "Model": _model(trained, record),
        "Training": _training(trained, record),
        "Limits": _limits(trained, record, predictions),
    }
    tags = record.get("tags", {})
    title = f"# {literal(record.get('run_id', folder))}"
    variant, data = (literal(tags.get(name, "")) for name in ("variant", "data"))
    head = f"A {trained.task.kind} on {data}, by {variant}."
    parts = [f"## {name}\n\n" + "\n".join(lines) for name, lines in sections.items()]
    return "\n\n".join([title, head, *parts]) + "\n"


def _use(trained: Trained, folder: str) -> Iterator[str]:
    given = '["a text"]' if trained.task.inputs == "tokens" else "[features]"
    file = "new.csv" if trained.task.inputs == "tokens" else "new.npz"
    yield from ("```python", "import gatescope", "", f'model = gatescope.load("{folder}")')
    yield from (f"print(model.predict({given}))", "```", "", "```sh")
    yield from (f"gatescope predict run={folder} file={file} out=answers.csv", "```")


def _results(
    record: Mapping[str, Any], scores: Mapping[str, Estimate], predictions: pd.DataFrame | None
) -> Iterator[str]:
    summary, task = record.get("summary", {}), record.get("task", {})
    prefix = "test/"
    measured = {name.removeprefix(prefix): one for name, one in summary.items() if name.startswith(prefix)}
    examples = f", in brackets the {_percent(LEVEL, 0)} interval over its examples" if scores else ""
    yield from (f"On the test split{examples}:", "", "| metric | value |", "|---|---|")
    first = str(task.get("metric"))
    for name in sorted({*scores, *measured}, key=lambda name: (name != first, name)):
        value = interval(scores[name]) if name in scores else number(measured[name])
        yield f"| {literal(name)} | {value} |"
    monitor = f"best/validation/{first}"
    if monitor in summary:
        yield ""
        best = number(summary[monitor])
        yield f"The weights were chosen on the validation split, where {literal(first)} is {best}."


def _data(record: Mapping[str, Any]) -> Iterator[str]:
    data, notes = record.get("data", {}), record.get("task", {}).get("notes", {})
    yield from ("| | |", "|---|---|")
    for key, source in data.get("sources", {}).items():
        yield f"| {literal(key)} | {cell(literal(source['path']))} ({literal(source['digest'])}) |"
    for split in SPLITS:
        if split in data:
            yield f"| {split} | {count(data[split]['examples'])} examples |"
    for name, value in notes.items():
        if name != "remarks":
            yield f"| {literal(name)} | {cell(literal(value))} |"


def _model(trained: Trained, record: Mapping[str, Any]) -> Iterator[str]:
    task, model, sizes = trained.task, trained.config.model, dict(record.get("parameters", {}))
    rows = {
        "cell": model.name,
        "attention": record.get("tags", {}).get("attention"),
        "layers": model.layers,
        "bidirectional": model.bidirectional,
        "hidden size": sizes.pop("hidden_size", None),
        **{f"parameters, {name}": count(value) for name, value in sizes.items()},
        "inputs": "texts" if task.inputs == "tokens" else f"{task.input_size} features per step",
        "tokenizer": task.tokenizer.get("name"),
        "vocabulary": count(len(task.vocabulary)) if task.vocabulary else None,
        "longest training sequence": f"{trained.longest} steps",
        "labels": ", ".join(task.labels) or None,
    }
    yield from _table(rows)


def _training(trained: Trained, record: Mapping[str, Any]) -> Iterator[str]:
    config, summary, git = trained.config, record.get("summary", {}), record.get("git") or {}
    optimizer = config.get("optimizer") or {}
    rows = {
        "seed of weights and batches": config.seed,
        "seed of the data": config.data.get("seed"),
        "optimizer": str(optimizer.get("_target_")).rpartition(".")[2],
        "learning rate": optimizer.get("lr"),
        "batch size": config.data.get("batch_size"),
        "epochs": _whole(summary.get("epochs")),
        "updates": _whole(summary.get("steps")),
        "update of these weights": _whole(summary.get("best/step")),
        "ended": record.get("ended"),
        "kernel": record.get("kernel"),
        "commit": git.get("commit") and f"{git['commit']}{', with changes' if git.get('dirty') else ''}",
        **{f"{name} (version)": value for name, value in (record.get("versions") or {}).items()},
    }
    yield from _table(rows)


def _limits(trained: Trained, record: Mapping[str, Any], predictions: pd.DataFrame | None) -> Iterator[str]:
    notes = record.get("task", {}).get("notes", {})
    yield (
        "- The results are of one run: its intervals contain no spread over seeds, and hold for examples of "
        "the same source as the test split."
    )
    if trained.task.has_classes:
        yield f"- Every input gets one of the {len(trained.labels)} labels, also one that belongs to none."
    if predictions is not None and trained.task.has_classes:
        counts = predictions.target.value_counts().reindex(classes(predictions), fill_value=0)
        yield (
            f"- The rarest class of the test split, {literal(counts.idxmin())}, has {int(counts.min())} of "
            f"{len(predictions)} examples."
        )
    if (unknown := notes.get("test_unknown_share")) is not None:
        yield f"- Unknown to the vocabulary: {_percent(unknown)} of the tokens of the test split."
    if (cut := notes.get("test_texts_cut_share")) is not None:
        yield f"- Texts are cut to {trained.longest} tokens: {_percent(cut)} of the test split were longer."
    if (repeated := notes.get("test_texts_in_train")) is not None:
        yield f"- {repeated} of {notes.get('test_texts')} test texts occur in train, letter for letter."
    for remark in notes.get("remarks", []):
        yield f"- {literal(remark)}"
    if needed := sorted(_foreign_packages(OmegaConf.to_container(trained.config, resolve=True))):
        yield f"- The model has classes of other packages, which must be installed: {', '.join(needed)}."
    if trained.task.vocabulary and not trained.task.tokenizer:
        name = trained.config.data._target_
        yield f"- Texts are divided into tokens by the class {name}, which must be installed."


def _foreign_packages(config: Any) -> set[str]:
    """Return the packages of the classes that the model needs, except our own and torch."""
    named = [config.get(section) or {} for section in ("model", "attention", "decoder")]
    return {path.partition(".")[0] for node in named for path in _targets(node)} - set(PACKAGES)


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _targets(value)


def _table(rows: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rows of a table that have a value."""
    yield from ("| | |", "|---|---|")
    for name, value in rows.items():
        if value is not None:
            yield f"| {literal(name)} | {cell(literal(value))} |"


def _percent(share: float, decimals: int = 1) -> str:
    """Format a share, such as "12.5 %"."""
    return f"{100 * share:.{decimals}f} %"


def _whole(value: float | None) -> str | None:
    return None if value is None else count(value)
