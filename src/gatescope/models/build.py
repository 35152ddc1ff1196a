"""Builds the model of a task from the instantiated config groups."""

from __future__ import annotations

import logging
from typing import Any

from gatescope.models.ctc import CTC, CTCModel
from gatescope.models.decoder import Decoding
from gatescope.models.encoder import SequenceModel, build_encoder
from gatescope.models.seq2seq import Seq2Seq
from gatescope.sequences import TaskSpec

log = logging.getLogger(__name__)


def build_model(
    task: TaskSpec,
    model: dict[str, Any],
    attention: Any,
    decoding: Decoding | CTC | None = None,
    front: Any = None,
) -> SequenceModel:
    """Build an encoder, or for transduction an encoder with a decoder or the outputs of CTC.

    Args:
        task: the task of the data.
        model: the instantiated `model` config group.
        attention: the instantiated `attention` config group.
        decoding: the instantiated `decoder` config group; used for transduction only.
        front: the instantiated `front` config group; None if there is none.
    """
    if task.kind != "transduction":
        if decoding is not None:
            log.warning(
                "decoder: not used, because these data are a %s task without target sequences", task.kind
            )
        return build_encoder(task, model, attention, front)
    options = {key: value for key, value in model.items() if key != "name"}
    if isinstance(decoding, CTC):
        return CTCModel(task=task, attention=attention, decoding=decoding, front=front, **options)
    return Seq2Seq(task=task, attention=attention, decoding=decoding, front=front, **options)
