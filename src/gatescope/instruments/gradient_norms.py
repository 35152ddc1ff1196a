"""Norms of training gradients before and after clipping, for the whole model and by part.

See docs/instruments.md, "Measurements on gradients".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from gatescope.cells.layer import RecurrentLayer
from gatescope.instruments.base import Update, UpdateInstrument
from gatescope.instruments.measurements import Measurements, Scalar, Undefined, scalar
from gatescope.models.encoder import SequenceModel

NOT_FINITE = "a gradient is NaN or infinite"


class GradientNorms(UpdateInstrument):
    """Euclidean norms of gradients, and the relative change of the weights.

    - `gradient_norm/before_clip`, `gradient_norm/after_clip`: ‖∂L/∂θ‖ of all parameters θ.
    - `gradient_norm/clipped_share`: share of the updates since the last measurement with clipping, 0 to 1.
    - `gradient_norm/non_finite`: number of elements that are NaN or infinite, before clipping.
    - `gradient_norm/<group>/<chunk>`: the norm of a part, before clipping. Groups are
      `<layer>/input_weights`, `<layer>/recurrent_weights`, `<layer>/biases`, `<layer>/other`, `head`,
      `embedding` and `attention`; chunks are the gates of a layer. The two biases of a fused kernel count as
      one.
    - `update_ratio/<group>`: ‖Δθ‖ / ‖θ before the update‖.
    """

    @torch.no_grad()
    def read(self, update: Update) -> Measurements:
        """Measure the gradients of one update."""
        before, after = _total_norm(update.before.values()), _total_norm(update.after.values())
        measurements: Measurements = {
            "gradient_norm/before_clip": scalar(before.item(), NOT_FINITE),
            "gradient_norm/after_clip": scalar(after.item(), NOT_FINITE),
            "gradient_norm/clipped_share": Undefined("training does not clip gradients")
            if update.clip_at is None
            else Scalar(update.clipped_share),
            # A finite norm implies that every element is finite.
            "gradient_norm/non_finite": Scalar(
                0.0 if before.isfinite() else float(_count_non_finite(update.before.values()))
            ),
        }
        measurements |= {f"gradient_norm/{part}": value for part, value in _norms_by_part(update).items()}
        measurements |= {f"update_ratio/{group}": value for group, value in _update_ratios(update).items()}
        return measurements


def trained_parameters(model: SequenceModel) -> Iterator[tuple[str, str, RecurrentLayer | None]]:
    """Yield (name, group, cell) of every parameter that is trained; cell is None outside recurrent layers."""
    layers = model.stack.layers
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        path = name.split(".")
        if path[:2] != ["stack", "layers"]:
            yield name, path[0], None
            continue
        cell = layers[path[2]]
        assert isinstance(cell, RecurrentLayer)
        yield name, f"{path[2]}/{_group(cell, path[-1], parameter)}", cell


def _group(cell: RecurrentLayer, name: str, parameter: nn.Parameter) -> str:
    # A cell may split or reorder its weights; then only the parameter's name shows the group.
    if parameter is cell.input_weights or "weight_ih" in name or "input_weight" in name:
        return "input_weights"
    if parameter is cell.recurrent_weights or "weight_hh" in name or "recurrent_weight" in name:
        return "recurrent_weights"
    return "biases" if "bias" in name else "other"


def _norms_by_part(update: Update) -> dict[str, Scalar | Undefined]:
    squares: dict[str, list[Tensor]] = defaultdict(list)
    for name, group, cell in trained_parameters(update.model):
        gradient = update.before.get(name)
        if gradient is None:
            continue
        if cell is None:
            squares[group].append(gradient.float().square().sum())
        elif len(gradient) == len(cell.chunk_names) * cell.hidden_size:
            chunks = gradient.float().reshape(len(cell.chunk_names), -1).square().sum(1)
            for chunk, square in zip(cell.chunk_names, chunks, strict=True):
                squares[f"{group}/{chunk}"].append(square)
        else:
            squares[f"{group}/{name.rsplit('.', 1)[-1]}"].append(gradient.float().square().sum())
    if not squares:
        return {}
    norms = torch.stack([torch.stack(s).sum() for s in squares.values()]).sqrt().tolist()
    return {part: scalar(norm, NOT_FINITE) for part, norm in zip(squares, norms, strict=True)}


def _update_ratios(update: Update) -> dict[str, Scalar | Undefined]:
    parameters = dict(update.model.named_parameters())
    changes: dict[str, list[Tensor]] = defaultdict(list)
    weights: dict[str, list[Tensor]] = defaultdict(list)
    for name, group, _ in trained_parameters(update.model):
        if name in update.delta:
            changes[group].append(update.delta[name])
            weights[group].append(parameters[name].detach() - update.delta[name])
    ratios: dict[str, Scalar | Undefined] = {}
    for group in changes:
        weight = _total_norm(weights[group]).item()
        ratios[group] = (
            scalar(_total_norm(changes[group]).item() / weight, "the weights are not finite")
            if weight
            else Undefined("the parameters were all zero before the step")
        )
    return ratios


def _total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Return the Euclidean norm of all tensors together."""
    return nn.utils.get_total_norm([t.float() for t in tensors])


def _count_non_finite(tensors: Iterable[Tensor]) -> int:
    counts = [(~torch.isfinite(t)).sum() for t in tensors]
    return int(torch.stack(counts).sum()) if counts else 0
