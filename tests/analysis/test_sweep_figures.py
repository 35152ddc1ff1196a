"""The report of a user's own sweep: nine variants at two learning rates, without a study file."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from gatescope.analysis import fonts, words
from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.figures import load
from gatescope.analysis.figures.pareto import CLOSE, _side_by_side
from gatescope.analysis.report import write_report
from gatescope.analysis.runs import RecordSource

from .conftest import write_run

VARIANTS = [
    f"{cell}-{attention}" for cell in ("rnn", "gru", "lstm") for attention in ("none", "additive", "dot")
]


def sweep(root: Path, shift: float = 0.0) -> RecordSource:
    """Write runs in which lstm-dot leads; with the second learning rate all accuracies are `shift` higher."""
    for place, variant in enumerate(VARIANTS):
        for rate in (0.001, 0.01):
            for seed in range(5):
                accuracy = 0.4 + 0.01 * place + shift * (rate == 0.01) + 0.02 * ((seed * 7 + place) % 5)
                write_run(
                    root, variant, seed, study={"baseline": None}, config={"optimizer": {"lr": rate}},
                    accuracy=accuracy, validation=accuracy, suffix=f"-{rate}", epochs=2, measurements=(),
                )  # fmt: skip
    return RecordSource(root, "toy")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(sweep(tmp_path_factory.mktemp("runs")).tables())


def test_a_legend_of_many_variants_leaves_the_axes_their_height(compared: Comparison) -> None:
    with matplotlib.rc_context(fonts.settings()):
        figure = load("expected_best").draw(compared)
        figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_position().height * figure.get_figheight() > 1.0, "inches"


def test_a_further_handle_does_not_move_variants_into_another_column(compared: Comparison) -> None:
    legend = load("pareto").draw(compared).legends[0]
    labels = [text.get_text() for text in legend.get_texts()]
    rows = len(labels) // legend._ncols
    columns = [labels[at : at + rows] for at in range(0, len(labels), rows)]
    for column, cell in zip(columns, ("RNN", "GRU", "LSTM"), strict=False):
        assert [label.split(",")[0] for label in column[:3]] == [cell] * 3
    assert "Pareto front" in labels


def test_equal_costs_are_drawn_apart_and_in_order() -> None:
    costs = pd.Series([149_415, 145_639, 151_303, 145_639, 149_959, 149_415, 151_303])
    places = _side_by_side(costs)
    order = np.argsort(costs.to_numpy(), kind="stable")
    gaps = np.diff(places[order])
    assert gaps.min() >= CLOSE * (151_303 - 145_639) * (1 - 1e-9)
    assert np.abs(places - costs).max() < 2 * CLOSE * (151_303 - 145_639)


def test_panels_share_a_scale_where_it_hides_nothing(compared: Comparison, tmp_path: Path) -> None:
    for name in ("metric_by_variant", "paired_differences"):
        left, right = load(name).draw(compared).axes
        assert left.get_xlim() == right.get_xlim()
    first, second = load("learning_curves").draw(compared).axes
    assert first.get_ylim() == second.get_ylim()
    assert "own scale" not in load("metric_by_variant").caption(compared)
    apart = compare(sweep(tmp_path, shift=0.4).tables())
    left, right = load("metric_by_variant").draw(apart).axes
    assert left.get_xlim()[1] < right.get_xlim()[0] + 0.2
    assert left.get_xlim() != right.get_xlim()
    assert "Each panel has its own scale." in load("metric_by_variant").caption(apart)


def test_the_title_names_what_varied(compared: Comparison, tmp_path: Path) -> None:
    source = sweep(tmp_path / "runs")
    readme = write_report(source, tmp_path / "out", paper=False, figures=["metric_by_variant"])
    title, text = readme.read_text(encoding="utf-8").split("\n", 1)
    finding = "LSTM with dot attention has the highest mean at both learning rates"
    assert title == f"# {finding}, but is never shown to be ahead of all others"
    assert "of LSTM with dot attention at learning rate 0.0" in text
    assert "It is the best of 18 means" in text


def test_where_something_holds() -> None:
    assert words.under(["data=tweets", "data=digits"]) == "on both datasets"
    assert words.under(["lag=5", "lag=50", "lag=100"], "2 of 3") == "at 2 of 3 lags"
    assert (
        words.under(["data=copy, lag=5", "data=copy, lag=9", "data=adding, lag=9"])
        == "under all 3 conditions"
    )
    assert words.under(["lr=0.1", "lr=0.2"], "2 of 2") == "at both learning rates"
    assert words.at("data=bbc_news") == "on bbc news"
    assert words.at("lr=0.01") == "at learning rate 0.01"
    assert words.at("") == ""
