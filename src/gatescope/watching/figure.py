"""The figure of a scope: how far gradients reach, and where the gates are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from gatescope.analysis.figures.drawing import canvas, panels
from gatescope.watching.errors import WatchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gatescope.watching.readings import Readings
    from gatescope.watching.scope import Scope

BINS = np.linspace(0, 1, 41)


def draw(scope: Scope) -> Figure:
    """Draw a row for each module: the vanishing curve of each layer, and the distribution of each gate.

    Args:
        scope: what was recorded. Without a backward pass the curves are loss-free.
    """
    modules = list(scope.ran.values())
    with canvas(6.5, 0.5 + 2.1 * len(modules)) as figure:
        axes = panels(figure, 2 * len(modules), 2, common_x=False, common_y=False)
        for left, right, module in zip(axes[::2], axes[1::2], modules, strict=True):
            _curves(left, module)
            _gates(right, module)
        return figure


def _curves(axes: Axes, module: Readings) -> None:
    loss_free = not module.has_gradient
    kind = "loss-free, " if loss_free else ""
    axes.set(title=module.name, xlabel="lag (steps)", ylabel=f"‖∂L/∂state‖ ({kind}relative to lag 0)")
    try:
        table = module.vanishing_curve(loss_free).query("state == 'state'")
    except WatchError:
        axes.text(0.5, 0.5, "no gradient at the last step", ha="center", transform=axes.transAxes)
        return
    for (layer, direction), rows in table.groupby(["layer", "direction"], sort=False):
        (line,) = axes.plot(rows["lag"], rows["norm"], label=f"layer {layer}, {direction}")
        axes.fill_between(rows["lag"], rows["low"], rows["high"], color=line.get_color(), alpha=0.15, lw=0)
    axes.set_yscale("log")
    axes.legend()


def _gates(axes: Axes, module: Readings) -> None:
    axes.set(title=module.name, xlabel="value of the gate", ylabel="density")
    hidden = {"candidate", "keep" if "forget" in module.gates else ""}  # an LSTM's forget gate is its keep
    gates = {name: gate for name, gate in module.gates.items() if name not in hidden}
    for name, gate in gates.items():
        values = gate.numpy()
        share, edges = np.histogram(values[np.isfinite(values)], bins=BINS, density=True)
        axes.stairs(share, edges, label=name)
    if gates:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "a cell without gates", ha="center", transform=axes.transAxes)
