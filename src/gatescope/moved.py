"""Classes that have moved: configs of older records name them by their old dotted paths.

A saved config is opened with `current_targets`. A run's identity uses `original_targets`, so that it does not
change when a class moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MOVED = {
    "gatescope.data.adding.Adding": "gatescope.data.generated.adding.Adding",
    "gatescope.data.audio_folder.AudioFolder": "gatescope.data.files.audio_folder.AudioFolder",
    "gatescope.data.bbc_news.BbcNews": "gatescope.data.shipped.bbc_news.BbcNews",
    "gatescope.data.characters.Characters": "gatescope.data.files.characters.Characters",
    "gatescope.data.chorales.Chorales": "gatescope.data.shipped.chorales.Chorales",
    "gatescope.data.copy.Copy": "gatescope.data.generated.copy.Copy",
    "gatescope.data.dates.Dates": "gatescope.data.generated.dates.Dates",
    "gatescope.data.delayed_recall.DelayedRecall": "gatescope.data.generated.delayed_recall.DelayedRecall",
    "gatescope.data.digits.Digits": "gatescope.data.shipped.digits.Digits",
    "gatescope.data.g2p.G2P": "gatescope.data.shipped.g2p.G2P",
    "gatescope.data.hub.HubTexts": "gatescope.data.hub.texts.HubTexts",
    "gatescope.data.hub_speech.HubSpeech": "gatescope.data.hub.speech.HubSpeech",
    "gatescope.data.mnist1d.Mnist1d": "gatescope.data.shipped.mnist1d.Mnist1d",
    "gatescope.data.moving_digits.MovingDigits": "gatescope.data.generated.moving_digits.MovingDigits",
    "gatescope.data.pairs_file.PairsFile": "gatescope.data.files.pairs_file.PairsFile",
    "gatescope.data.parity.Parity": "gatescope.data.generated.parity.Parity",
    "gatescope.data.polyphonic_file.PolyphonicFile": "gatescope.data.files.polyphonic_file.PolyphonicFile",
    "gatescope.data.series_file.SeriesFile": "gatescope.data.files.series_file.SeriesFile",
    "gatescope.data.sktime_series.SktimeSeries": "gatescope.data.shipped.sktime_series.SktimeSeries",
    "gatescope.data.text_file.TextFile": "gatescope.data.files.text_file.TextFile",
    "gatescope.data.tweets.Tweets": "gatescope.data.shipped.tweets.Tweets",
}
"""The current path of each class that has moved. An old path is never removed."""

ORIGINAL = {new: old for old, new in MOVED.items()}
"""The path under which records first named each of these classes."""


def current_targets(config: Any) -> Any:
    """Return a plain config with every `_target_` that has moved replaced by its current path."""
    return _replace_targets(config, lambda path: MOVED.get(path, path))


def original_targets(config: Any) -> Any:
    """Return a plain config with every `_target_` replaced by its original path."""
    return _replace_targets(config, lambda path: ORIGINAL.get(path, path))


def _replace_targets(node: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(node, Mapping):
        return {
            key: replace(value)
            if key == "_target_" and isinstance(value, str)
            else _replace_targets(value, replace)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [_replace_targets(value, replace) for value in node]
    return node
