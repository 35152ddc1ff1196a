"""`study.select`: the value of a swept key that is best on validation, for each variant and condition."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatescope.analysis.report import write_report
from gatescope.analysis.runs import NoRuns, RecordSource
from gatescope.analysis.selection import Selection, select

from .conftest import write_run

SELECT = {"over": ["optimizer.lr"], "by": "validation/accuracy"}


def grid(
    root: Path,
    values: dict[tuple[str, float], list[float | None]],
    accuracy: dict[tuple[str, float], float] | None = None,
    select: Any = SELECT,
    **more: Any,
) -> None:
    """By (variant, rate) the validation accuracy of each seed; None: that seed's run failed."""
    for (variant, rate), seeds in values.items():
        for seed, value in enumerate(seeds):
            write_run(
                root, variant, seed, study={"select": select}, config={"optimizer": {"lr": rate}},
                validation=value, status="failed" if value is None else "finished", suffix=f"-{rate}",
                accuracy=(accuracy or {}).get((variant, rate), 0.5) + seed / 100, **more,
            )  # fmt: skip


def selected(root: Path) -> Selection:
    found = select(RecordSource(root, "toy").tables())
    assert found is not None
    return found


def test_each_variant_has_its_own_best_value_by_validation_alone(tmp_path: Path) -> None:
    values = {
        ("gru-none", 0.01): [0.7, 0.9], ("gru-none", 0.1): [0.75, 0.75],
        ("rnn-none", 0.01): [0.2, 0.2], ("rnn-none", 0.1): [0.1, 0.4],
    }  # fmt: skip
    grid(tmp_path, values, accuracy={("gru-none", 0.1): 0.9, ("rnn-none", 0.01): 0.9})
    found = selected(tmp_path)
    assert found.chosen == {("gru-none", ""): "lr=0.01", ("rnn-none", ""): "lr=0.1"}
    assert list(found.tables.final("test/accuracy").value) == pytest.approx([0.5, 0.51, 0.5, 0.51])
    assert set(found.tables.runs.condition) == {""}
    means = {(c.variant, c.value): (c.validation.mean, c.validation.n, c.chosen) for c in found.grid}
    assert means == {
        ("gru-none", "lr=0.01"): (pytest.approx(0.8), 2, True),
        ("gru-none", "lr=0.1"): (pytest.approx(0.75), 2, False),
        ("rnn-none", "lr=0.01"): (pytest.approx(0.2), 2, False),
        ("rnn-none", "lr=0.1"): (pytest.approx(0.25), 2, True),
    }
    assert found.notes == ()


def test_a_result_on_the_split_that_selects_is_refused(tmp_path: Path) -> None:
    grid(tmp_path, {("gru-none", 0.01): [0.7], ("gru-none", 0.1): [0.6]})
    tables = RecordSource(tmp_path, "toy").tables()
    with pytest.raises(NoRuns, match=r"study\.primary: validation/accuracy is on the split"):
        select(replace(tables, study=tables.study | {"primary": "validation/accuracy"}))


def test_lower_is_better_where_the_task_declares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid(tmp_path, {("gru-none", 0.01): [0.7], ("gru-none", 0.1): [0.6]})
    tables = RecordSource(tmp_path, "toy").tables()
    for task in tables.tasks.values():
        task["direction"] = "min"
    found = select(tables)
    assert found is not None
    assert found.chosen == {("gru-none", ""): "lr=0.1"}


def test_a_rate_that_diverges_for_some_seeds_is_not_chosen_for_the_rest(tmp_path: Path) -> None:
    grid(tmp_path, {("gru-none", 0.01): [0.6, 0.6, 0.6], ("gru-none", 0.1): [0.9, None, float("nan")]})
    found = selected(tmp_path)
    assert found.chosen == {("gru-none", ""): "lr=0.01"}
    assert found.notes == (
        "gru-none, lr=0.1: 1 of 3 seeds have a finite result on validation, too few to be chosen",
    )


def test_of_equal_means_the_first_in_order_is_chosen_with_a_note(tmp_path: Path) -> None:
    grid(tmp_path, {("gru-none", 0.1): [0.6], ("gru-none", 0.02): [0.6], ("gru-none", 1e-05): [0.5]})
    found = selected(tmp_path)
    assert found.chosen == {("gru-none", ""): "lr=0.02"}
    (note,) = found.notes
    assert note == "gru-none: lr=0.02, lr=0.1 are equal on validation; lr=0.02, the first, is chosen"


def test_where_all_seeds_diverge_nothing_is_chosen_with_a_note(tmp_path: Path) -> None:
    grid(tmp_path, {("gru-none", 0.1): [0.6], ("rnn-none", 0.1): [None], ("rnn-none", 0.2): [None]})
    found = selected(tmp_path)
    assert found.chosen == {("gru-none", ""): "lr=0.1"}
    assert list(found.tables.runs.variant) == ["gru-none"]
    assert any(note.startswith("rnn-none: no value has a finite result") for note in found.notes)


def test_other_conditions_remain_and_each_has_a_choice_of_its_own(tmp_path: Path) -> None:
    for lag, best in ((10, 0.1), (50, 0.01)):
        for rate in (0.01, 0.1):
            write_run(
                tmp_path, "gru-none", 0, study={"select": SELECT}, data={"lag": lag}, suffix=f"-{rate}",
                config={"optimizer": {"lr": rate}}, validation=0.9 if rate == best else 0.1,
            )  # fmt: skip
    assert selected(tmp_path).chosen == {("gru-none", "lag=10"): "lr=0.1", ("gru-none", "lag=50"): "lr=0.01"}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            SELECT | {"over": ["model.layers"]},
            r"study.select.over: model.layers does not differ .* keys that differ: optimizer.lr",
        ),
        (
            SELECT | {"by": "validation/bleu"},
            r"study.select.by: no finished run .* validation/bleu; available: validation/accuracy",
        ),
        ({"by": "validation/accuracy"}, r"study.select: set over"),
    ],
)
def test_a_selection_that_is_not_possible_raises_an_error(
    tmp_path: Path, declared: Any, message: str
) -> None:
    grid(tmp_path, {("gru-none", 0.1): [0.6], ("gru-none", 0.2): [0.7]}, select=declared)
    with pytest.raises(NoRuns, match=message):
        selected(tmp_path)


def test_every_table_shows_the_chosen_value_and_the_report_the_whole_grid(tmp_path: Path) -> None:
    values: dict[tuple[str, float], list[float | None]] = {
        ("gru-none", 0.01): [0.9] * 5, ("gru-none", 0.1): [0.5] * 5,
        ("rnn-none", 0.01): [0.2] * 5, ("rnn-none", 0.1): [0.3] * 4 + [0.4],
    }  # fmt: skip
    grid(tmp_path, values, accuracy={("gru-none", 0.01): 0.8})
    text = write_report(RecordSource(tmp_path, "toy"), tmp_path / "out", False, ["metric_by_variant"])
    readme, folder = text.read_text(encoding="utf-8"), tmp_path / "out" / "toy"
    assert "20 of 20 runs finished" in readme
    assert "| GRU | learning rate 0.01 |" in readme
    assert "| GRU | learning rate 0.01 against learning rate 0.1 |" in readme
    assert "| RNN | learning rate 0.1 | 0.32 [0.27, 0.38] | 0.52" in readme
    assert "select=optimizer.lr by=validation/accuracy" in readme
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<table id="selected">' in page
    assert ">learning rate 0.01 against learning rate 0.1</td>" in page
    with (folder / "tables" / "selection.csv").open(encoding="utf-8") as file:
        rows = [(r["variant"], r["value"], r["n"], r["seeds"], r["chosen"]) for r in csv.DictReader(file)]
    assert rows == [
        ("rnn-none", "lr=0.01", "5", "5", "False"),
        ("rnn-none", "lr=0.1", "5", "5", "True"),
        ("gru-none", "lr=0.01", "5", "5", "True"),
        ("gru-none", "lr=0.1", "5", "5", "False"),
    ]
    for kind in ("csv", "tex", "md"):
        for name in ("variants", "differences"):
            shown = "lr=0.01" if kind == "csv" else "learning rate 0.01"
            assert shown in (folder / "tables" / f"{name}.{kind}").read_text(encoding="utf-8")
