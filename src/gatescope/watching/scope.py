"""`gatescope.watch`: what happens inside the recurrent modules of any model, while a block of code runs."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import nn

from gatescope.cells.layer import RecurrentLayer
from gatescope.watching.capture import Recorder
from gatescope.watching.errors import WatchError
from gatescope.watching.watched import Watched

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

WRAPPERS = ("module.", "_orig_mod.", "_forward_module.")
"""What DistributedDataParallel, torch.compile and Lightning put before the names of submodules."""


class Scope:
    """Records the recurrent modules of a model inside a `with` block; see `gatescope.watch`.

    The first forward pass after a backward pass starts a new recording, so that the block may hold a whole
    training loop: what is read afterwards is its last step.

    Args:
        model: the model.
        loss_scale: factor of the loss in the backward pass, or a `torch.amp.GradScaler`; gradients are
            divided by it.
    """

    def __init__(self, model: nn.Module, loss_scale: Any = 1.0) -> None:
        self._recorders = {
            name: Recorder(name, module, self._before_pass, self._current_loss_scale)
            for name, module in find(model).items()
        }
        self._loss_scale = loss_scale
        self._watched: dict[str, tuple[tuple[int, int], Watched]] = {}
        self._entered = False

    def __enter__(self) -> Scope:
        if self._entered:
            raise WatchError("this scope has been used already: call gatescope.watch again")
        self._entered = True
        for recorder in self._recorders.values():
            recorder.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for recorder in self._recorders.values():
            recorder.detach()

    def _before_pass(self) -> None:
        """Start a new recording where a backward pass has ended the last one."""
        self._watched = {}
        calls = [call for recorder in self._recorders.values() for call in recorder.calls]
        if any(call.grads for call in calls):
            for recorder in self._recorders.values():
                recorder.calls = []

    def _current_loss_scale(self) -> float:
        scale = self._loss_scale
        return float(scale.get_scale() if hasattr(scale, "get_scale") else scale)

    def __iter__(self) -> Iterator[str]:
        return iter(self._recorders)

    def __len__(self) -> int:
        return len(self._recorders)

    def __getitem__(self, name: str) -> Watched:
        """Return one module by its name in the model.

        Raises:
            WatchError: there is no recurrent module of this name, or it has not run.
        """
        if name not in self._recorders:
            raise WatchError(f"there is no recurrent module {name!r}; there are: {', '.join(self)}")
        recorder = self._recorders[name]
        if not recorder.calls:
            raise WatchError(
                f"{name}: its forward pass has not run inside the with block"
                if self._entered
                else f"{name}: gatescope.watch is a context manager: with gatescope.watch(model) as scope: …"
            )
        state = (len(recorder.calls), sum(call.arrivals for call in recorder.calls))
        if name not in self._watched or self._watched[name][0] != state:
            self._watched[name] = (state, Watched(name, list(recorder.calls)))
        return self._watched[name][1]

    @property
    def ran(self) -> dict[str, Watched]:
        """The modules that have run, by name.

        Raises:
            WatchError: none has.
        """
        found = {name: self[name] for name, recorder in self._recorders.items() if recorder.calls}
        if not found:
            raise WatchError(f"no forward pass of {', '.join(self)} has run inside the with block")
        return found

    def vanishing_curve(self, loss_free: bool = False) -> pd.DataFrame:
        """Return how the gradient at earlier states decays with the lag, for every module.

        Args:
            loss_free: a random unit vector at the last state takes the place of the gradient of the loss, so
                that no backward pass is needed, and models can be compared before and after training.

        Returns:
            Columns `module`, `layer`, `direction`, `state` ("state": the whole state; "h" and "c": its
            parts), `lag` (steps before the last one), `norm` (‖∂L/∂state‖ relative to lag 0, geometric mean
            over examples), `low` and `high` (quartiles).
        """
        import pandas as pd

        return pd.concat([one.vanishing_curve(loss_free) for one in self.ran.values()], ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """Return a row for every module, layer and direction; see `Watched.summary`."""
        import pandas as pd

        return pd.concat([one.summary() for one in self.ran.values()], ignore_index=True)

    def plot(self) -> Figure:
        """Return a figure of the vanishing curves and the gates' distributions of every module."""
        from gatescope.watching.figure import draw

        return draw(self)


def find(model: nn.Module) -> dict[str, nn.RNNBase]:
    """Return the recurrent modules of a model, by name.

    Raises:
        WatchError: there is none, or one of a kind that cannot be read.
    """
    if not isinstance(model, nn.Module):
        raise WatchError(f"watch takes a torch.nn.Module; given: {type(model).__name__}")
    found: dict[str, nn.RNNBase] = {}
    others: list[str] = []
    if any(isinstance(module, RecurrentLayer) for module in model.modules()):
        raise WatchError(
            f"{type(model).__name__} has layers of this package, which record themselves: use "
            "gatescope.load(run).trace(…) or gatescope.instruments.probe.probe_model"
        )
    for path, module in model.named_modules():
        name = plain_name(path) or type(module).__name__
        check_readable(name, module)
        if isinstance(module, nn.RNNBase) and module.mode in ("GRU", "LSTM", "RNN_TANH", "RNN_RELU"):
            found[name] = module
        elif isinstance(module, nn.RNNCellBase):
            others.append(f"{name} ({type(module).__name__})")
    if not found:
        cells = f"; cells that are called step by step are not watched: {', '.join(others)}" if others else ""
        raise WatchError(f"{type(model).__name__} has no nn.RNN, nn.GRU or nn.LSTM among its modules{cells}")
    return found


def plain_name(path: str) -> str:
    """Return the name of a module without what wrappers put before it."""
    while path.startswith(WRAPPERS) or f"{path}." in WRAPPERS:
        path = next((path.removeprefix(w) for w in WRAPPERS if path.startswith(w)), "")
    return path


def check_readable(name: str, module: nn.Module) -> None:
    """Check that the weights and states of a module can be read.

    Raises:
        WatchError: it is quantised or scripted.
    """
    import torch

    kind = type(module)
    if "quantized" in kind.__module__ and kind.__name__ in ("RNN", "GRU", "LSTM", "GRUCell", "LSTMCell"):
        raise WatchError(
            f"{name} is a quantised {kind.__name__}, which has no gradient and no float weights: watch the "
            "model before its quantisation"
        )
    if isinstance(module, torch.jit.ScriptModule) and module.original_name in ("RNN", "GRU", "LSTM"):
        raise WatchError(
            f"{name} is a scripted {module.original_name}, whose hooks do not run: watch the model before "
            "torch.jit.script or torch.jit.trace"
        )
