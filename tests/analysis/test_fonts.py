"""Chinese class names in figures: drawn with a second font, or one message on which to install."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.image import imread

from gatescope.analysis import fonts
from gatescope.analysis.figures.drawing import canvas, save

LETTER = "好"


def draw(folder: Path, name: str) -> np.ndarray:
    """Draw a letter as the name of a tick and return the picture; a warning is an error."""
    with canvas(1, 1) as figure:
        axes = figure.subplots()
        axes.set_xticks([0], [LETTER])
    paths = save(figure, folder, name)
    assert all(path.stat().st_size for path in paths)
    picture: np.ndarray = imread(folder / f"{name}.png")
    return picture


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message was printed, and no font for Chinese is installed."""
    monkeypatch.setattr(fonts._Report, "made", False)
    known = [one for one in font_manager.fontManager.ttflist if one.name not in fonts.FALLBACKS]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", known)


@pytest.mark.usefixtures("new_process")
def test_without_a_font_one_message_says_which_to_install(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        draw(tmp_path, "first")
        draw(tmp_path, "second")
    (record,) = [one for one in caplog.records if one.name.startswith("gatescope")]
    assert (
        f"that no installed font has ({LETTER} …): install one, such as Noto Sans CJK" in record.getMessage()
    )


@pytest.mark.usefixtures("new_process")
def test_an_installed_font_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    boxes = draw(tmp_path, "boxes")
    fonts._Report.made = False
    caplog.clear()
    font_manager.fontManager.addfont(small_font(tmp_path / "font.ttf", fonts.FALLBACKS[3]))
    letter = draw(tmp_path, "letter")
    assert not [one for one in caplog.records if one.name.startswith("gatescope")]
    assert letter.shape == boxes.shape
    assert not np.array_equal(letter, boxes)


def small_font(path: Path, family: str) -> Path:
    """Write a font that has LETTER alone, as a triangle."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((500, 800))
    pen.lineTo((900, 0))
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "letter"])
    builder.setupCharacterMap({ord(LETTER): "letter"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "letter": pen.glyph()})
    builder.setupHorizontalMetrics({name: (1000, 0) for name in (".notdef", "letter")})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_other_warnings_remain() -> None:
    with pytest.warns(UserWarning, match="another"), fonts.missing_letters_reported():
        warnings.warn("another", UserWarning, stacklevel=1)
