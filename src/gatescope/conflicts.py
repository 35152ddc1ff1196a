"""Sections of a config that do not fit together, found before anything starts.

The kind of task is known from the class of the data, or from `data.kind`; where only the data tell it, the
model refuses them when it is built. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gatescope.moved import current_targets
from gatescope.tracking.run_names import split_overrides

KINDS = {
    "gatescope.data.generated.copy.Copy": "next_step",
    "gatescope.data.files.characters.Characters": "next_step",
    "gatescope.data.files.polyphonic_file.PolyphonicFile": "next_step",
    "gatescope.data.shipped.chorales.Chorales": "next_step",
    "gatescope.data.files.conll_file.ConllFile": "tagging",
    "gatescope.data.files.pairs_file.PairsFile": "transduction",
    "gatescope.data.generated.dates.Dates": "transduction",
    "gatescope.data.generated.invented_language.InventedLanguage": "transduction",
    "gatescope.data.files.audio_manifest.AudioManifest": "transduction",
    "gatescope.data.generated.spoken_numbers.SpokenNumbers": "transduction",
    "gatescope.data.shipped.g2p.G2P": "transduction",
}
"""The kind of task of datasets that have only one."""
NAMES = {"next_step": "the next step", "tagging": "a tag for each step", "transduction": "sequences"}
DECLARED = ("classification", "multilabel", "regression")
"""Kinds that `data.kind` can name."""
ONE_CLASS = "gatescope.baselines.tfidf_logistic.TfidfLogistic"
"""The baseline that predicts one class for each sequence; the others take several kinds of tasks."""
POOLING = "gatescope.models.attention.Pooling"
CTC = "gatescope.models.ctc.CTC"


def kind_of(data: Mapping[str, Any]) -> str | None:
    """Return the kind of task of a data section; None where only the data tell it."""
    plain = current_targets(dict(data))
    if plain.get("kind") in DECLARED:
        return str(plain["kind"])
    return KINDS.get(str(plain.get("_target_")))


def conflicts(plain: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not fit together in a resolved config whose sections are valid."""
    kind, model, decoder = kind_of(plain["data"]), plain["model"], plain.get("decoder") or {}
    attention = str(plain["attention"]["_target_"])
    what = NAMES.get(str(kind), str(kind))
    if "baseline" in model:
        if model["baseline"]["_target_"] == ONE_CLASS and kind not in (None, "classification"):
            what = "classification by several labels" if kind == "multilabel" else kind
            yield f"model: {model['name']} predicts one class per sequence, and these data are a {what}"
        return
    if decoder and kind not in (None, "transduction"):
        yield f"decoder: given, and these data have {what} and no sequences as targets: use decoder=none"
    if not decoder and kind == "transduction":
        yield "decoder: given none, and these data need one; Allowed: ctc, input_feeding, recurrent"
    if decoder.get("_target_") == CTC and attention != POOLING:
        yield (
            f"attention: given {_name(attention)}; decoder=ctc has an output at every step, without "
            "attention: use attention=none, or decoder=recurrent"
        )
    loss = plain.get("loss") or {}
    if decoder.get("_target_") == CTC:
        for key in ("_target_", "label_smoothing"):
            if loss.get(key):
                yield f"loss.{key}: given {loss[key]}; decoder=ctc has its own loss, of all paths: remove it"
    if kind in ("next_step", "tagging") and attention != POOLING:
        yield (
            f"attention: given {_name(attention)}; attention gives one prediction a sequence, and these data "
            "have a target at every step: use attention=none"
        )
    if kind == "next_step" and model["bidirectional"]:
        yield (
            "model.bidirectional: given true; these data predict later inputs, which a backward direction "
            "has read already: use model.bidirectional=false"
        )


def unused(plain: Mapping[str, Any], words: Iterable[str]) -> Iterator[str]:
    """Yield the sections that the words of a command choose for a baseline, which does not use them.

    A recipe, an experiment and the grid of a sweep choose for all models alike, so that only a word of a
    command for one run is a mistake. The id of a baseline does not depend on these sections.

    Args:
        plain: Config of the run.
        words: Overrides of its command.
    """
    if "baseline" not in plain["model"]:
        return
    model, given = plain["model"]["name"], {key.partition(".")[0]: word for key, word in _by_key(words)}
    none = {"attention": str(plain["attention"]["_target_"]) == POOLING, "decoder": not plain.get("decoder")}
    for section, is_none in none.items():
        if section in given and not is_none:
            yield f"{section}: given {given[section]}, and model={model} has none: leave it out"


def _by_key(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((key, word) for word in words for key, _ in split_overrides([word]))


def _name(target: str) -> str:
    return target.rpartition(".")[2]
