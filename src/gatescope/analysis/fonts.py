"""Fonts of figures: a second font for letters that DejaVu Sans lacks, if one is installed."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib import font_manager

from gatescope.analysis.style import RC

log = logging.getLogger(__name__)

FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Sans CJK KR", "Noto Sans SC",
    "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "PingFang SC", "Heiti SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei",
    "IPAexGothic", "IPAGothic", "NanumGothic", "Arial Unicode MS", "AR PL UMing CN", "SimSun",
)  # fmt: skip
"""Fonts with Chinese, Japanese or Korean letters, the preferred ones first."""
MISSING_GLYPH = r"Glyph (\d+) .* missing from (?:current )?font"
"""Start of matplotlib's warning."""
MAX_SHOWN = 8
"""Largest number of missing letters that are shown."""


def settings() -> Any:
    """Return the settings of matplotlib for every figure, with the fonts that are installed."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return RC | {"font.family": [RC["font.family"], *(name for name in FALLBACKS if name in installed)]}


@contextmanager
def missing_letters_reported() -> Iterator[None]:
    """Report letters that no font has once a process; matplotlib warns of each, and draws boxes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message=MISSING_GLYPH)
        yield
    letters = []
    for one in caught:
        if (match := re.match(MISSING_GLYPH, str(one.message))) is not None:
            letters.append(chr(int(match[1])))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if letters:
        _report(" ".join(dict.fromkeys(letters[:MAX_SHOWN])))


class _Report:
    """The report of missing letters, made once a process."""

    made = False


def _report(letters: str) -> None:
    if _Report.made:
        return
    _Report.made = True
    log.warning(
        "figures have boxes for letters that no installed font has (%s …): install one, such as Noto Sans "
        "CJK (apt install fonts-noto-cjk), and remove %s, where matplotlib keeps its list of fonts",
        letters,
        matplotlib.get_cachedir(),
    )
