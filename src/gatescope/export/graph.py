"""Export of a trained encoder as ONNX (.onnx; the extra `export`), or with `torch.export` (.pt2).

The graph has the inputs `inputs`, (batch, steps) ids or (batch, steps, F) features, right-padded, and
`lengths` (batch,), and the output `values`: logits (batch, K), of a regression the values in the unit of the
targets, and (batch, steps, K) for a prediction at every step. An ONNX graph takes any batch size and number
of steps. Those of a .pt2 are fixed, because `torch.export` unrolls the recurrence.

The file `<name>.json` has what a caller needs to make inputs and to read values, see `description`.
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
from gatescope.export.description import describe
from gatescope.export.recurrence import OPSET, exportable, use_operators
from gatescope.models.encoder import Encoder
from gatescope.trained import LoadError, Trained

SUFFIXES = (".onnx", ".pt2")
EXAMPLE = (2, 3)
"""Batch size and number of steps of the example that an ONNX graph is traced on; it takes any others."""


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
        trained: A finished run.
        out: Path of the graph; the suffix `.onnx` or `.pt2` selects the format.
        steps: Number of steps of the padded inputs of a `.pt2`; by default that of the longest sequence in
            training.
        batch: Batch size of a `.pt2`.

    Returns:
        The path of the graph.

    Raises:
        LoadError: The model cannot be exported, the suffix is another one, or a package is missing.
    """
    path = Path(out)
    if path.suffix not in SUFFIXES:
        raise LoadError(f"{path.name}: a graph is written as {' or '.join(SUFFIXES)}")
    encoder = _copy(trained, path.suffix)
    is_onnx = path.suffix == ".onnx"
    shape = EXAMPLE if is_onnx else (batch, steps or trained.longest)
    example = _example(trained, *shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own modules assign weights while they are traced
        (_write_onnx if is_onnx else _write_pt2)(_ExportedEncoder(encoder).eval(), example, path)
    description = describe(trained) | {"graph": path.name}
    description |= {} if is_onnx else {"batch": shape[0], "steps": shape[1]}
    text = json.dumps(description, ensure_ascii=False, indent=1) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    return path


def _copy(trained: Trained, suffix: str) -> Encoder:
    """Return the model on the CPU, with layers that the format has.

    Raises:
        LoadError: It has layers or a decoder that cannot be exported, or a package is missing.
    """
    model, name = trained.model, trained.directory.name
    if not isinstance(model, Encoder):
        raise LoadError(
            f"{name} has a decoder, which is no single graph: use gatescope.load, also of a folder by "
            f"gatescope export run={name} out=folder"
        )
    cells = ", ".join(sorted({type(one).__name__ for one in model.stack.layers.values()}))
    fused = all(isinstance(one, FusedLayer) for one in model.stack.layers.values())
    if not (exportable(model.stack) if suffix == ".onnx" else fused):
        also = " and peephole_lstm" if suffix == ".onnx" else ""
        raise LoadError(
            f"{name} has layers of the kind {cells}; {suffix} has only rnn, irnn, gru, gru_article, lstm, "
            f"lstm_chrono{also}: use gatescope.load, also of a folder by gatescope export run={name} "
            "out=folder"
        )
    if suffix == ".onnx":
        _require_onnx()
    encoder = copy.deepcopy(model).float().cpu().eval()
    if suffix == ".onnx":
        use_operators(encoder.stack)
        return encoder
    for cell in encoder.stack.layers.values():
        cell.kernel = "torch"  # type: ignore[assignment]
    return encoder


def _require_onnx() -> None:
    """Raise if a package is missing.

    Raises:
        LoadError: It is.
    """
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise LoadError("ONNX needs the extra export: pip install 'gatescope[export]'") from error
    if not hasattr(torch.onnx, "ops"):
        raise LoadError(f"ONNX needs torch 2.8 or newer, this is {torch.__version__}: pip install -U torch")


def _example(trained: Trained, batch: int, steps: int) -> tuple[Tensor, Tensor]:
    """Return inputs of zeros, and their lengths."""
    shape = (batch, steps) if trained.task.inputs == "tokens" else (batch, steps, trained.task.input_size)
    inputs = torch.zeros(shape, dtype=torch.int64 if trained.task.inputs == "tokens" else torch.float32)
    return inputs, torch.full((batch,), steps)


def _write_pt2(module: nn.Module, example: tuple[Tensor, Tensor], path: Path) -> None:
    """Trace the module on an example and write its program."""
    torch.export.save(torch.export.export(module, example), path)


def _write_onnx(module: nn.Module, example: tuple[Tensor, Tensor], path: Path) -> None:
    """Trace the module for any batch size and number of steps, and write its graph."""
    batch, steps = torch.export.Dim("batch"), torch.export.Dim("steps")
    shapes = ({0: batch, 1: steps}, {0: batch})
    program = torch.export.export(module, example, dynamic_shapes=shapes, strict=False)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    onnx = torch.onnx.export(
        program,
        example,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["inputs", "lengths"],
        output_names=["values"],
    )
    assert onnx is not None
    onnx.save(str(path))
