"""The model that a task's kind asks for, from the instantiated config groups."""

from __future__ import annotations

import logging
from typing import Any

from gatescope.models.decoder import Decoding
from gatescope.models.encoder import SequenceModel, build_encoder
from gatescope.models.seq2seq import Seq2Seq
from gatescope.sequences import TaskSpec

log = logging.getLogger(__name__)


def build_model(
    task: TaskSpec, model: dict[str, Any], attention: Any, decoding: Decoding | None = None
) -> SequenceModel:
    """`decoding` is for transduction alone: data of other kinds have nothing to write."""
    if task.kind != "transduction":
        if decoding is not None:
            log.warning("the decoder is not used: these data ask for no sequence (%s)", task.kind)
        return build_encoder(task, model, attention)
    options = {key: value for key, value in model.items() if key != "name"}
    return Seq2Seq(task=task, attention=attention, decoding=decoding, **options)
