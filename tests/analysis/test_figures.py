from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from gatescope.analysis import style
from gatescope.analysis.comparison import Comparison, compare
from gatescope.analysis.figures import LOOKUP, NoData, load, save
from gatescope.analysis.figures.drawing import canvas
from gatescope.analysis.figures.summaries import evenly_spaced, mean_over_seeds
from gatescope.analysis.gradient_flow import mean_curve
from gatescope.analysis.lookup import UnknownName
from gatescope.analysis.runs import RecordSource

from .conftest import RATES, write_predictions, write_run, write_vanishing
from .dynamics_records import write_dynamics

COMPARISON = [
    "learning_curves",
    "metric_by_variant",
    "paired_differences",
    "pareto",
    "confusion_matrix",
    "calibration",
    "gate_saturation",
    "gate_distributions",
    "attention",
    "faithfulness",
    "gradient_norms",
]
DYNAMICS = ["attractor", "time_constants", "attractor_over_training", "word_effects"]
VANISHING = ["vanishing_curves", "half_life_over_training", "accuracy_against_lag", "timescales"]


@pytest.fixture(scope="module")
def vanishing(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    root = tmp_path_factory.mktemp("runs")
    write_vanishing(root, seeds=3, lags=(20, 50))
    return compare(RecordSource(root, "vanishing").tables())


@pytest.fixture(scope="module")
def dynamics(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    root = tmp_path_factory.mktemp("runs")
    write_dynamics(root, seeds=3)
    return compare(RecordSource(root, "dynamics").tables())


def toy_comparison(root: Path) -> Comparison:
    return compare(RecordSource(root, "toy").tables())


def test_every_figure_is_tested() -> None:
    # test_datasets.py, test_expected_best.py, test_tuned_study.py, test_horizon.py
    elsewhere = {"critical_difference", "expected_best", "hyperparameters", "horizon"}
    assert set(LOOKUP.names()) == {*COMPARISON, *VANISHING, *DYNAMICS, *elsewhere}


@pytest.mark.parametrize("name", COMPARISON)
def test_comparison_figures_are_drawn_and_legible(name: str, toy: Path) -> None:
    check_drawn(name, toy_comparison(toy), "5 seeds" if name != "gate_saturation" else "seed 0")


@pytest.mark.parametrize("name", VANISHING)
def test_vanishing_figures_are_drawn_and_legible(name: str, vanishing: Comparison) -> None:
    check_drawn(name, vanishing, "3 seeds")


@pytest.mark.parametrize("name", DYNAMICS)
def test_figures_of_dynamics_are_drawn_and_legible(name: str, dynamics: Comparison) -> None:
    check_drawn(name, dynamics, "seed 0" if name in ("attractor", "word_effects") else "3 seeds")


def check_drawn(name: str, comparison: Comparison, n: str) -> None:
    module = load(name)
    assert n in module.caption(comparison)
    assert module.TITLE
    for width in (None, style.COLUMN, style.TWO_COLUMNS):
        check_legible(module.draw(comparison, width), width)


@pytest.mark.parametrize("name", [*COMPARISON, *VANISHING])
def test_a_colour_is_that_of_a_variant(name: str, toy: Path, vanishing: Comparison) -> None:
    comparison = toy_comparison(toy) if name in COMPARISON else vanishing
    styles = style.styles_of(comparison.recorded.runs.variant)
    for axes in load(name).draw(comparison).axes:
        named = axes.get_title("left").partition(":")[0]
        known = {one.color for one in styles.values() if named in ("", one.label)} or {
            one.color for one in styles.values()
        }
        lines = {to_hex(line.get_color()) for line in axes.lines}
        assert {color for color in lines if saturation(color) > 0.1} <= known, (name, named)


def saturation(color: str) -> float:
    return float(rgb_to_hsv(to_rgb(color))[1])


def check_legible(figure: Figure, asked: float | None) -> None:
    figure.canvas.draw()
    width = figure.get_size_inches()[0]
    assert style.COLUMN <= width <= style.TWO_COLUMNS
    assert asked in (None, width)
    box = figure.bbox
    for axes in figure.axes:
        outer = axes.get_tightbbox()
        assert outer is not None
        assert outer.x0 >= box.x0 - 2
        assert outer.x1 <= box.x1 + 2
        sizes = [label.get_fontsize() for label in axes.get_xticklabels() + axes.get_yticklabels()]
        assert min(sizes, default=7) >= 6
    written = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert min(text.get_fontsize() for text in written) >= 6.3, "9 px where a column is 340 px wide"
    for legend in figure.legends:
        inside = legend.get_window_extent()
        assert inside.x0 >= box.x0
        assert inside.x1 <= box.x1
        assert all(not inside.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_drawn_curves_equal_the_closed_form(vanishing: Comparison) -> None:
    # The records hold exp(rate·lag): the drawn mean must be that line again.
    figure = load("vanishing_curves").draw(vanishing)
    color = style.style_of("gru-none").color
    for axes, rate in zip(figure.axes, RATES["gru"], strict=True):
        (line,) = [line for line in axes.lines if line.get_color() == color]
        x, y = (np.asarray(data, dtype=float) for data in line.get_data())
        assert np.polyfit(x, np.log(y), 1)[0] == pytest.approx(rate, abs=0.01)


def test_drawn_half_lives_follow_from_the_rates(vanishing: Comparison) -> None:
    figure = load("half_life_over_training").draw(vanishing)
    color = style.style_of("rnn-none").color
    line = next(line for line in figure.axes[0].lines if line.get_color() == color)
    first, last = np.asarray(line.get_ydata(), dtype=float)[[0, -1]]
    start, end = RATES["rnn"]
    assert (first, last) == pytest.approx((math.log(2) / -start, math.log(2) / -end), rel=0.03)


def test_captions_count_dead_and_exploded_seeds(tmp_path: Path) -> None:
    lost = {("irnn", 1): "dead", ("gru", 0): "exploded"}
    write_vanishing(tmp_path, seeds=3, lags=(20,), lost=lost)
    comparison = compare(RecordSource(tmp_path, "vanishing").tables())
    for name in ("vanishing_curves", "half_life_over_training"):
        caption = load(name).caption(comparison)
        assert "Not in the means, at the end: IRNN 1 of 3 dead; GRU 1 of 3 exploded." in caption
    curves = load("vanishing_curves").numbers(comparison).set_index(["time", "variant"]).sort_index()
    end = curves.loc[("tested weights", "irnn-none")]
    assert set(end.n) == {2}
    assert set(end.dead) == {1}
    assert len(end) == 40, "a dead seed's curve does not cut the others'"
    assert set(curves.loc[("initialisation", "irnn-none")].n) == {3}
    assert set(curves.loc[("tested weights", "gru-none")].exploded) == {1}
    lives = load("half_life_over_training").numbers(comparison).set_index(["variant", "step"]).sort_index()
    assert list(lives.loc["irnn-none"][["n", "dead", "exploded"]].loc[64]) == [2, 1, 0]
    assert list(lives.loc["irnn-none"][["n", "dead", "exploded"]].loc[4]) == [3, 0, 0]
    (axes,) = load("half_life_over_training").draw(comparison).axes
    crosses = {
        line.get_color(): list(np.asarray(line.get_xdata(), dtype=float))
        for line in axes.lines
        if line.get_marker() == "x" and len(line.get_xdata())
    }
    assert crosses == {style.style_of(f"{cell}-none").color: [16, 64] for cell in ("irnn", "gru")}


def test_gradient_norms_that_are_zero_or_not_finite_are_counted(tmp_path: Path) -> None:
    for seed, last in enumerate((1.0, 4.0, 0.0, None)):
        measurements = [
            {"step": step, "epoch": 0, "name": name, "kind": "undefined" if norm is None else "scalar"}
            | ({"why": "a gradient is NaN or infinite"} if norm is None else {"value": norm})
            for step, norm in ((1, 1.0), (2, 1.0), (4, last))
            for name in ("gradient_norm/before_clip", "gradient_norm/layer0/recurrent_weights/hidden")
        ]
        write_run(tmp_path, "irnn-none", seed, measurements=measurements)
    comparison = toy_comparison(tmp_path)
    numbers = load("gradient_norms").numbers(comparison).set_index(["quantity", "step"])
    for part in ("all parameters", "recurrent weights"):
        row = numbers.loc[(part, 4)]
        assert (row["mean"], row["n"], row["dead"], row["exploded"]) == (pytest.approx(2.0), 2, 1, 1)
    assert "IRNN 1 of 4 dead, 1 of 4 exploded" in load("gradient_norms").caption(comparison)


def test_drawn_means_are_means_over_seeds(toy: Path) -> None:
    comparison = toy_comparison(toy)
    figure = load("metric_by_variant").draw(comparison)
    expected = comparison.tables.final("test/accuracy").groupby("variant").value.mean()
    drawn = {float(np.asarray(line.get_xdata(), dtype=float)[0]) for line in figure.axes[0].lines}
    assert all(any(abs(mean - x) < 1e-12 for x in drawn) for mean in expected)


def test_the_same_figure_gives_the_same_bytes(toy: Path, tmp_path: Path) -> None:
    comparison = toy_comparison(toy)
    once, again = (
        [p.read_bytes() for p in save(load("metric_by_variant").draw(comparison), tmp_path / sub, "m")]
        for sub in "ab"
    )
    assert len(once) == 3, "PNG, SVG, PDF"
    assert once == again
    assert b"/FontFile2" in once[2], "the font travels in the file"
    assert b"<text" not in once[1], "glyphs travel as paths"
    assert b"<dc:date>" not in once[1]


@pytest.mark.parametrize("name", [*COMPARISON, *VANISHING, *DYNAMICS])
def test_a_figure_without_data_raises_no_data(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path, "gru-none", 0, accuracy=None, measurements=[])
    (folder / "metrics.jsonl").unlink()
    module, comparison = load(name), toy_comparison(tmp_path)
    with pytest.raises(NoData, match=r"finished run|fewer than two"):
        module.draw(comparison)
    with pytest.raises(NoData, match=r"finished run|fewer than two"):
        module.numbers(comparison)


@pytest.mark.parametrize("name", COMPARISON)
def test_unusual_names_one_run_and_a_constant_metric(name: str, tmp_path: Path) -> None:
    for variant in ("a b/c-none", "ガウス-additive", "x$_y-none"):
        folder = write_run(tmp_path, variant, 0, accuracy=0.5)
        write_predictions(folder, 0, ("$x_1$", "ガウス", "two\nlines", "=1+1"))
    for part, variant in enumerate(("a b/c-none", "ガウス-additive", "x$_y-none")):
        write_run(tmp_path, variant, 1, accuracy=0.5, suffix=str(part))
    save(load(name).draw(toy_comparison(tmp_path)), tmp_path, name)
    assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_an_unknown_figure_is_named() -> None:
    with pytest.raises(UnknownName, match=r"no figure 'pie_chart'\. Allowed: accuracy_against_lag, att"):
        load("pie_chart")


def test_a_mean_is_over_all_seeds() -> None:
    table = pd.DataFrame({"seed": [0, 1, 0], "epoch": [0, 0, 1], "value": [1.0, 3.0, 9.0]})
    table = table.assign(unit=table.seed, overlap=0.0)
    mean = mean_over_seeds(table, "epoch")
    assert list(mean.index) == [0]
    assert mean["mean"].iloc[0] == 2.0


def test_curves_are_averaged_as_logs_over_common_lags() -> None:
    payload = [
        {"kind": "curve", "x": [0, 1, 2], "y": [1, 0.1, 0.01]},
        {"kind": "curve", "x": [0, 1], "y": [1, 1e-3]},
    ]
    rows = [*payload, {"kind": "undefined", "why": ""}]
    mean = mean_curve(pd.DataFrame({"payload": rows, "unit": [0, 1, 2], "overlap": 0.0}))
    assert list(mean["mean"]) == pytest.approx([1.0, 0.01])


def test_evenly_spaced_items_contain_first_and_last() -> None:
    assert evenly_spaced(list("abcdefg"), 3) == ["a", "d", "g"]
    assert evenly_spaced(["a"], 3) == ["a"]
    assert evenly_spaced(["a", "b"], 1) == ["b"]


def test_the_canvas_restores_the_settings_of_matplotlib() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with canvas():
        pass
    assert dict(matplotlib.rcParams) == before


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", [*COMPARISON, *VANISHING, *DYNAMICS])
def test_the_numbers_under_a_figure_equal_the_golden_file(
    name: str, toy: Path, vanishing: Comparison, dynamics: Comparison
) -> None:
    # Computed once by this code and looked through; a change of them must be meant. To write them anew,
    # delete the file and run this test.
    own = vanishing if name in VANISHING else dynamics if name in DYNAMICS else toy_comparison(toy)
    numbers = load(name).numbers(own).reset_index(drop=True)
    path = GOLDEN / f"{name}.csv"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        numbers.to_csv(path, index=False, float_format="%.8g", lineterminator="\n")
        pytest.fail(f"{path} was missing and has been written: look at it, then run again")
    golden = pd.read_csv(path, keep_default_na=False, na_values=[""])
    assert list(golden.columns) == list(numbers.columns)
    assert len(golden) == len(numbers)
    for column in golden:
        expected, got = golden[column], numbers[column]
        if got.dtype.kind in "if":
            np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=1e-6, atol=1e-9)
        else:
            assert list(got.astype(str)) == list(expected.astype(object).fillna("").astype(str)), column


def test_drawn_differences_agree_with_the_verdicts(toy: Path) -> None:
    comparison = toy_comparison(toy)
    numbers = load("paired_differences").numbers(comparison)
    expected = comparison.tables.final("test/accuracy").pivot(index="seed", columns="variant", values="value")
    for row in numbers.to_dict("records"):
        assert row["mean"] == pytest.approx((expected[row["variant"]] - expected[row["minus"]]).mean())
    figure = load("paired_differences").draw(comparison)
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    filled = {line.get_ydata()[0] for line in drawn if line.get_markerfacecolor() != "white"}
    holds = {at for at, verdict in enumerate(numbers.verdict) if verdict in ("ahead", "behind")}
    assert filled == holds
    assert holds


def test_no_variant_is_cheaper_and_better_than_the_pareto_front(tmp_path: Path) -> None:
    # Seconds are 12.5 + 3 · (letters of the cell): "a" is cheap and poor, "bbbbb" dear and best,
    # "ccc" dearer than "bb" and no better.
    for variant, accuracy in (("a-none", 0.6), ("bb-none", 0.7), ("ccc-none", 0.65), ("bbbbb-none", 0.8)):
        write_run(tmp_path, variant, 0, accuracy=accuracy)
    numbers = load("pareto").numbers(toy_comparison(tmp_path)).set_index("variant")
    assert set(numbers.index[numbers.front_seconds]) == {"a-none", "bb-none", "bbbbb-none"}
    assert set(numbers.index[numbers.front_parameters]) == {"bbbbb-none"}


def test_quantiles_of_histograms_agree_with_those_of_the_values(tmp_path: Path) -> None:
    edges = np.linspace(0, 1, 51)
    values = np.random.default_rng(0).beta(2, 5, 20_000)
    counts = np.histogram(values, edges)[0]
    row = {"kind": "histogram", "edges": edges.tolist(), "counts": counts.tolist()}
    measurements = [{"step": 0, "epoch": 0, "name": "gates/layer0/update/histogram"} | row]
    write_run(tmp_path, "gru-none", 0, measurements=measurements)
    (got,) = load("gate_distributions").numbers(toy_comparison(tmp_path)).to_dict("records")
    quantiles = [got["quantile_10"], got["median"], got["quantile_90"]]
    assert quantiles == pytest.approx(np.quantile(values, [0.1, 0.5, 0.9]), abs=0.004)


def test_faithfulness_uses_the_last_measurement_and_the_value_by_chance(toy: Path) -> None:
    numbers = load("faithfulness").numbers(toy_comparison(toy)).set_index(["quantity", "variant"])
    # Seeds 0 to 4 add 0.01 each to every value.
    tau = numbers.loc[("τ: gradient × input", "gru-additive")]
    assert (tau["mean"], tau["n"], tau["chance"]) == pytest.approx((0.32, 5, 0.04))
    erased = numbers.loc[("comprehensiveness", "rnn-none")]
    assert (erased["mean"], erased["chance"]) == pytest.approx((0.72, 0.42))


def test_the_difference_between_seeds_is_the_divergence_over_pairs(toy: Path) -> None:
    numbers = load("faithfulness").numbers(toy_comparison(toy)).set_index(["quantity", "variant"])
    found = numbers.loc[("divergence between seeds", "lstm-none")]

    def entropy(p: np.ndarray) -> float:
        return float(-np.sum(p[p > 0] * np.log(p[p > 0])))

    pairs = []
    for a, b in combinations(range(5), 2):
        for start in ([0.5, 0.3, 0.2], [0.9, 0.1, 0.0]):
            moved = np.array([-1, 0, 1]) if start[2] else np.array([-1, 1, 0])
            p, q = (np.array(start) + 0.02 * seed * moved for seed in (a, b))
            pairs.append(entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2)
    assert found["mean"] == pytest.approx(np.mean(pairs))
    assert found["chance"] == pytest.approx(math.log(2))
    assert math.isnan(found["low"]), "pairs share seeds: there is no interval"
