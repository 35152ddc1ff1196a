from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.analysis import style

STUDIES = {
    "first_light": [f"{c}-{a}" for c in ("rnn", "gru", "lstm") for a in ("none", "additive")],
    "vanishing_gradients": [
        "rnn-none",
        "irnn-none",
        "gru-none",
        "lstm-none",
        "lstm_chrono-none",
        "minlstm-none",
    ],
}
# Linear RGB as a protanope and a deuteranope see it (Viénot, Brettel & Mollon 1999).
BLIND = {
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def linear(color: str) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 1e-6))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("study", STUDIES)
def test_cells_of_a_study_differ_in_luminance_and_in_marker(study: str) -> None:
    styles = style.styles_of(STUDIES[study])
    cells = {style.split(v)[0]: own_style for v, own_style in styles.items()}
    lightness = {cell: lab(linear(own_style.color))[0] for cell, own_style in cells.items()}
    for a, b in combinations(cells, 2):
        assert abs(lightness[a] - lightness[b]) > 6, (a, b)
        assert cells[a].marker != cells[b].marker


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("blind", BLIND)
def test_colours_differ_for_colour_blind_readers(study: str, blind: str) -> None:
    cells = {style.split(v)[0]: own_style.color for v, own_style in style.styles_of(STUDIES[study]).items()}
    seen = {cell: lab(np.array(BLIND[blind]) @ linear(color)) for cell, color in cells.items()}
    for a, b in combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 8, (a, b)


def test_attentions_of_a_cell_differ_in_line_style_and_fill() -> None:
    plain, attentive = style.style_of("gru-none"), style.style_of("gru-additive")
    assert plain.color == attentive.color
    assert plain.linestyle != attentive.linestyle
    assert (plain.fill, attentive.fill) == ("full", "none")
    assert attentive.label == "GRU, additive attention"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True))
def test_unknown_variants_get_distinct_and_reproducible_styles(names: list[str]) -> None:
    styles = style.styles_of(names)
    assert styles == style.styles_of(reversed(names))
    drawn = {(k.color, k.marker, k.linestyle, k.fill) for k in styles.values()}
    assert len(drawn) == len(names)


def test_the_style_of_an_unknown_cell_does_not_depend_on_others() -> None:
    assert style.styles_of(["gru-none", "novel-none"])["novel-none"] == style.style_of("novel-none")


def test_order_follows_cells_then_attention() -> None:
    shuffled = ["zeta", "lstm-additive", "gru-none", "rnn-additive", "lstm-none", "rnn-none"]
    assert style.order(shuffled) == [
        "rnn-none",
        "rnn-additive",
        "gru-none",
        "lstm-none",
        "lstm-additive",
        "zeta",
    ]


def test_a_dollar_sign_in_a_name_is_escaped() -> None:
    assert style.style_of("a$b$-none").label == r"a\$b\$"


def test_markers_distinguish_attentions_of_one_cell() -> None:
    # A scatter has no line styles.
    compared = ["none", "additive", "dot", "uniform", "frozen_random"]
    faces = {
        (k["fillstyle"], k["markerfacecolor"]) for k in (style.style_of(f"gru-{a}").points for a in compared)
    }
    assert len(faces) == len(compared)
