"""A copy of the weights of a module of torch in this package's cells, which measure it.

No weight is shared with the module, and no random number is drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatescope.cells.fused import FusedLayer
from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.models.stack import RecurrentStack
from gatescope.sequences import TaskSpec


class WatchedModel(nn.Module):
    """The recurrent layers of one module, in the form that instruments read.

    Args:
        module: an `nn.RNN`, `nn.GRU` or `nn.LSTM`.

    Attributes:
        task: a task of its inputs, which instruments ask for.
        stack: its layers. Of an LSTM with `proj_size` they are the LSTM of the same function without a
            projection: its hidden state is the one before the projection, and its recurrent weights are U P.
        projections: P (proj_size, H) of each layer and direction, by layer name; empty without `proj_size`.
        recurrent: U (4H, proj_size) likewise.
    """

    def __init__(self, module: nn.RNNBase) -> None:
        super().__init__()
        self.mode = module.mode
        self.task = TaskSpec("regression", "features", module.input_size, 1, "loss", "min")
        with torch.device("meta"):
            self.stack = RecurrentStack(
                self._empty_cell,
                module.input_size,
                module.hidden_size,
                module.num_layers,
                module.bidirectional,
            )
        self.projections: dict[str, Tensor] = {}
        self.recurrent: dict[str, Tensor] = {}
        for depth in range(module.num_layers):
            for name, suffix in zip(self.names(depth), ("", "_reverse"), strict=False):
                weights = _weights(module, f"l{depth}{suffix}")
                if module.proj_size:
                    self.projections[name], self.recurrent[name] = weights["hr"], weights["hh"]
                    # The columns of U read the state before the first step, as a further input.
                    weights["ih"] = torch.cat([weights["ih"], weights["hh"]], dim=1)
                    weights["hh"] = weights["hh"] @ weights["hr"]
                self.stack.layers[name] = self._cell(weights)
        self.eval()

    def _cell(self, weights: dict[str, Tensor]) -> FusedLayer:
        """Return a cell with these weights, which it keeps without copying."""
        with torch.device("meta"):
            cell = self._empty_cell(weights["ih"].shape[1], weights["hh"].shape[1])
        names = {"weight_ih_l0": "ih", "weight_hh_l0": "hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
        for name, short in names.items():
            setattr(cell.fused, name, nn.Parameter(weights[short]))
        cell.fused.flatten_parameters()
        return cell

    def _empty_cell(self, input_size: int, hidden_size: int) -> FusedLayer:
        """Return a cell without weights."""
        # Torch's own operations: a native kernel would be built at the first use, in the user's program.
        if self.mode == "GRU":
            return GRU(input_size, hidden_size, kernel="torch")
        if self.mode == "LSTM":
            return LSTM(input_size, hidden_size, kernel="torch")
        return RNN(input_size, hidden_size, nonlinearity=self.mode[4:].lower(), kernel="torch")  # type: ignore[arg-type]

    def names(self, depth: int) -> list[str]:
        """Return the names of the directions of one layer: "layer0", "layer0_backward"."""
        return [f"layer{depth}", f"layer{depth}_backward"][: self.stack.directions]


def _weights(module: nn.RNNBase, suffix: str) -> dict[str, Tensor]:
    """Return copies of the weights of one layer and direction, with biases of 0 where there are none."""
    names = {
        "ih": "weight_ih_",
        "hh": "weight_hh_",
        "hr": "weight_hr_",
        "b_ih": "bias_ih_",
        "b_hh": "bias_hh_",
    }
    found = {short: getattr(module, name + suffix, None) for short, name in names.items()}
    copies = {name: readable(values) for name, values in found.items() if isinstance(values, Tensor)}
    for bias in ("b_ih", "b_hh"):
        copies.setdefault(bias, copies["ih"].new_zeros(len(copies["ih"])))
    return copies


def readable(values: Tensor) -> Tensor:
    """Return a copy without a graph, in float32 where the type is less exact."""
    exact = values.dtype if values.dtype in (torch.float32, torch.float64) else torch.float32
    return values.detach().to(exact, copy=True)
