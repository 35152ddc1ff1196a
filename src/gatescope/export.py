"""Export of a trained encoder with `torch.export` (.pt2) or as ONNX (.onnx; the extra `export`).

The graph has the inputs `inputs`, (batch, steps) ids or (batch, steps, F) features, right-padded, and
`lengths` (batch,), and the output `values` (batch, K), logits. Batch size and number of steps are fixed,
because the recurrence is unrolled. The file `<name>.json` has what a caller needs: vocabulary, labels,
padding, batch size and number of steps.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from gatescope.cells.fused import FusedLayer
from gatescope.models.encoder import Encoder
from gatescope.trained import LoadError, Trained

SUFFIXES = (".pt2", ".onnx")


class _ExportedEncoder(nn.Module):
    """Maps (inputs, lengths) to the values of an encoder."""

    def __init__(self, model: Encoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        states = self.model.stack(self.model.embed(inputs), lengths)
        return self.model.readout(states, lengths).values


def export(trained: Trained, out: str | Path, steps: int | None = None, batch: int = 1) -> Path:
    """Write the graph of an encoder, and its description beside it.

    Args:
        trained: a finished run.
        out: path of the graph; the suffix `.pt2` or `.onnx` selects the format.
        steps: number of steps of the padded inputs; by default that of the longest sequence in training.
        batch: batch size.

    Returns:
        The path of the graph.

    Raises:
        LoadError: the model cannot be exported, or the suffix is another one.
    """
    path, model = Path(out), trained.model
    if path.suffix not in SUFFIXES:
        raise LoadError(f"{path.name}: a graph is written as {' or '.join(SUFFIXES)}")
    if not isinstance(model, Encoder) or not all(
        isinstance(c, FusedLayer) for c in model.stack.layers.values()
    ):
        raise LoadError("only encoders of fused cells (rnn, gru, lstm) can be exported")
    encoder = copy.deepcopy(model).float().cpu().eval()
    for cell in encoder.stack.layers.values():
        cell.kernel = "torch"  # type: ignore[assignment]
    steps = steps or trained.longest
    shape = (batch, steps) if trained.task.inputs == "tokens" else (batch, steps, trained.task.input_size)
    inputs = torch.zeros(shape, dtype=torch.int64 if trained.task.inputs == "tokens" else torch.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own modules assign weights while they are traced
        _write(_ExportedEncoder(encoder).eval(), (inputs, torch.full((batch,), steps)), path)
    description = {
        "run": trained.directory.name,
        "kind": trained.task.kind,
        "batch": batch,
        "steps": steps,
        "padding": trained.task.padding_index or 0,
        "vocabulary": list(trained.task.vocabulary),
        "labels": trained.labels if trained.task.kind == "classification" else [],
    }
    text = json.dumps(description, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    return path


def _write(module: nn.Module, example: tuple[Tensor, Tensor], path: Path) -> None:
    """Trace the module on an example and write its graph."""
    program = torch.export.export(module, example)
    if path.suffix == ".pt2":
        torch.export.save(program, path)
        return
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise LoadError("ONNX needs the extra export: pip install 'gatescope[export]'") from error
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = {"input_names": ["inputs", "lengths"], "output_names": ["values"]}
    onnx = torch.onnx.export(program, example, dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
    assert onnx is not None
    onnx.save(str(path))
