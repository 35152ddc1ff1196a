"""Describe a dataset: gatescope data data=tweets data.limit=2000 out=/tmp

    data=NAME, data.KEY=VALUE   as for `gatescope train`
    out=FOLDER                  where the figure is written (default: the current folder)

Prints sizes, class balance, quantiles of the lengths, padding, notes and three examples; writes
<out>/<name>.png with the lengths and classes of the splits. Exit code: 0 done, 2 wrong arguments or data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gatescope.analysis.figures.drawing import canvas, save
from gatescope.analysis.style import TWO_COLUMNS
from gatescope.cli import USAGE, flags_parser
from gatescope.components import import_from_working_directory
from gatescope.composition import add_config_dir, compose, make_loader
from gatescope.config import ConfigError, check
from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.tokenizers import join_tokens
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples
from gatescope.run import load_data
from gatescope.surroundings import prepare
from gatescope.terminal import pad_left
from gatescope.tracking.identity import tags

SPLITS = ("train", "validation", "test")
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
MAX_SHOWN = 20
"""Largest number of classes and of tokens that are printed."""
GREYS = ("#1b1b1b", "#8a8a8a", "#c8500a")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope data` and return its exit code."""
    prepare()
    import_from_working_directory()
    parser = flags_parser()
    args = parser.parse_intermixed_args(arguments)
    if args.help:
        print(__doc__)
        return 0
    own = [word for word in args.overrides if word.startswith("out=")]
    out = Path(own[-1].removeprefix("out=") if own else ".")
    try:
        overrides = [word for word in args.overrides if word not in own]
        cfg = compose(make_loader(), add_config_dir(overrides, args.config_dir))
        check(cfg)
        data = load_data(cfg)
        print("\n".join(describe(data)))
        (path,) = save(draw(data), out, tags(cfg)["data"], ["png"])
        print(f"\n{path}")
    except (ConfigError, DataError, OSError) as error:
        print(f"data: {error}", file=sys.stderr)
        return USAGE
    return 0


def describe(data: SequenceData) -> Iterator[str]:
    """Yield the lines of the description."""
    task, train = data.task, data.splits.train  # type: ignore[union-attr]
    sizes = f"{task.input_size} in, {task.output_size} out"
    yield f"{task.kind} of {task.inputs}: {sizes}, compared on {task.metric}"
    yield f"{'split':>10} {'examples':>9}  lengths at 0, 5, 50, 95, 100 %"
    for name in SPLITS:
        examples: Examples = getattr(data.splits, name)
        yield f"{name:>10} {len(examples):>9} {quantiles(examples.lengths)}"
        if examples.uncut is not None and (examples.uncut > examples.lengths).any():
            yield f"{'before cutting':>20} {quantiles(examples.uncut)}"
    for label, shares in class_shares(data)[:MAX_SHOWN]:
        yield f"{pad_left(label, 20)}  " + "  ".join(f"{100 * share:5.1f} %" for share in shares)
    bucketed, unbucketed = task.notes["padding_waste"], task.notes["padding_waste_unbucketed"]
    yield f"padding in batches of {data.batch_size}: {bucketed:.1%}, without buckets {unbucketed:.1%}"
    for name, value in task.notes.items():
        if name != "remarks" and not name.startswith("padding"):
            yield f"{name}: {value}"
    yield from (f"remark: {remark}" for remark in task.notes.get("remarks", ()))
    for i in range(min(3, len(train))):
        yield example_line(data, train, i)


def quantiles(lengths: np.ndarray) -> str:
    """Return the quantiles of lengths (N,) as columns."""
    return " ".join(f"{q:6.0f}" for q in np.quantile(lengths, QUANTILES))


def class_shares(data: SequenceData) -> list[tuple[str, list[float]]]:
    """Return each class, label or tag with its share of each split; nothing if there are none."""
    task = data.task
    if task.kind not in ("classification", "tagging"):
        return []
    if task.multilabel:
        shares = [getattr(data.splits, name).targets.mean(0).tolist() for name in SPLITS]
        return [(label, list(row)) for label, *row in zip(task.labels, *shares, strict=True)]
    classes = max(task.output_size, 2)
    targets = [getattr(data.splits, name).targets for name in SPLITS]
    counts = [np.bincount(getattr(one, "flat", one), minlength=classes) for one in targets]
    names = task.labels or tuple(str(i) for i in range(classes))
    return [(label, [float(c[i] / c.sum()) for c in counts]) for i, label in enumerate(names)]


def example_line(data: SequenceData, examples: Examples, index: int) -> str:
    """Return a line with the start of a train example and its target."""
    batch = data.batch("train", [index])
    tokens = data.tokens(batch)
    if tokens is None:
        start = np.round(batch.inputs[0, 0, :5].numpy(), 3).tolist()
        inputs = f"{tuple(batch.inputs[0].shape)} starts with {start}"
    else:
        start = join_tokens(tokens[0][:MAX_SHOWN], data.task.tokenizer.get("name", ""))
        inputs = start + (" …" if len(tokens[0]) > MAX_SHOWN else "")
    target = batch.targets[0]
    shown: object = target.flatten()[:MAX_SHOWN].tolist()
    if data.task.kind == "tagging" and data.task.labels:
        shown = " ".join(data.task.labels[i] for i in target.tolist()[:MAX_SHOWN])
    elif data.task.kind == "classification" and data.task.labels:
        names = data.task.labels
        if data.task.multilabel:
            shown = [name for name, flag in zip(names, target.tolist(), strict=True) if flag]
        else:
            shown = names[int(target)]
    return f"train {index}: {inputs} -> {shown}"


def draw(data: SequenceData) -> Figure:
    """Draw the lengths of the splits, and their classes if there are any."""
    shares = class_shares(data)
    with canvas(TWO_COLUMNS, 2.4) as figure:
        axes = figure.subplots(1, 2 if shares else 1, squeeze=False)[0]
        lengths = {name: getattr(data.splits, name).lengths for name in SPLITS}
        all_lengths = np.concatenate(list(lengths.values()))
        # Bins are a whole number of steps wide: a bin between two integers would be empty.
        width = max(1, -(-int(np.ptp(all_lengths)) // 40))
        edges = np.arange(all_lengths.min(), all_lengths.max() + width + 1, width) - 0.5
        for (name, values), color in zip(lengths.items(), GREYS, strict=True):
            density = np.histogram(values, edges)[0] / len(values)
            axes[0].stairs(density, edges, label=name, color=color)
        axes[0].set(xlabel="length (steps)", ylabel="share of examples")
        axes[0].legend()
        if shares:
            positions = np.arange(len(shares))
            for i, (name, color) in enumerate(zip(SPLITS, GREYS, strict=True)):
                heights = [split_shares[i] for _, split_shares in shares]
                axes[1].bar(positions + 0.27 * (i - 1), heights, 0.25, color=color, label=name)
            names = [label for label, _ in shares][:MAX_SHOWN]
            axes[1].set_xticks(positions[:MAX_SHOWN], names, rotation=30, ha="right")
            axes[1].set_ylabel("share of examples")
        return figure
