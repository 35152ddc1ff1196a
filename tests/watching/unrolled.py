"""An independent computation of torch's recurrent modules: a loop over steps under autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def cell(module: nn.RNNBase, suffix: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step, as the documentation of torch writes it."""

    def product(kind: str, values: Tensor) -> Tensor:
        bias = getattr(module, f"bias_{kind}_{suffix}", None)
        result = values @ getattr(module, f"weight_{kind}_{suffix}").T
        return result if bias is None else result + bias

    p, q = product("ih", x), product("hh", h)
    if module.mode == "GRU":
        (p_r, p_z, p_n), (q_r, q_z, q_n) = p.chunk(3, -1), q.chunk(3, -1)
        r, z = torch.sigmoid(p_r + q_r), torch.sigmoid(p_z + q_z)
        return (1 - z) * torch.tanh(p_n + r * q_n) + z * h, c
    if module.mode == "LSTM":
        i, f, g, o = (p + q).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        if module.proj_size:
            h = h @ getattr(module, f"weight_hr_{suffix}").T
        return h, c
    return (torch.tanh(p + q) if module.mode == "RNN_TANH" else torch.relu(p + q)), c


class Unrolled:
    """Every state of a pass as a tensor whose gradient is kept.

    Args:
        module: the module, in eval mode or without dropout.
        x: (B, T, D).
        lengths: length of each sequence.
        initial: (layers·directions, B, H) each, or None.

    Attributes:
        h: for each layer and direction, example and step: the state. Likewise c.
        output: (B, T, S), 0 at padding.
        last: the last h and the last c, (layers·directions, B, H).
    """

    def __init__(
        self, module: nn.RNNBase, x: Tensor, lengths: list[int], initial: tuple[Tensor, ...] | None = None
    ) -> None:
        size = module.proj_size or module.hidden_size
        directions = 2 if module.bidirectional else 1
        self.h: dict[tuple[int, int, int, int], Tensor] = {}
        self.c: dict[tuple[int, int, int, int], Tensor] = {}
        last_h, last_c = [], []
        for layer in range(module.num_layers):
            outputs = []
            for direction in range(directions):
                suffix = f"l{layer}" + ("_reverse" if direction else "")
                rows, ends_h, ends_c = [], [], []
                for b, length in enumerate(lengths):
                    place = layer * directions + direction
                    h, c = x.new_zeros(size), x.new_zeros(module.hidden_size)
                    if initial is not None:
                        h = initial[0][place, b]
                        c = initial[1][place, b] if len(initial) > 1 else c
                    states: dict[int, Tensor] = {}
                    for t in reversed(range(length)) if direction else range(length):
                        h, c = cell(module, suffix, x[b, t], h, c)
                        h.retain_grad()
                        if module.mode == "LSTM":
                            c.retain_grad()
                        self.h[layer, direction, b, t] = states[t] = h
                        self.c[layer, direction, b, t] = c
                    padding = [x.new_zeros(size)] * (x.shape[1] - length)
                    rows.append(torch.stack([*(states[t] for t in range(length)), *padding]))
                    ends_h.append(h)
                    ends_c.append(c)
                outputs.append(torch.stack(rows))
                last_h.append(torch.stack(ends_h))
                last_c.append(torch.stack(ends_c))
            x = torch.cat(outputs, -1)
        self.output, self.last = x, (torch.stack(last_h), torch.stack(last_c))
