"""Gatescope: GRU, LSTM or a plain RNN, with or without attention: which, why, and what happens inside?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from gatescope.interactive import Study
    from gatescope.run import RunResult
    from gatescope.trained import Trained
    from gatescope.watching.callback import Callback as Callback
    from gatescope.watching.scope import Scope

__version__ = "0.1.0"
__all__ = ["Callback", "__version__", "from_keras", "load", "run", "study", "watch"]


def __getattr__(name: str) -> Any:
    """Import what is seldom used when it is first used."""
    if name == "Callback":
        from gatescope.watching.callback import Callback  # imports Lightning

        return Callback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    run: str | Path,
    root: str | Path | None = None,
    device: str | torch.device = "cpu",
    trust: bool = False,
) -> Trained:
    """Load a finished run as a model that predicts; see `gatescope.loading.load`."""
    from gatescope.loading import load as loaded  # imports torch

    return loaded(run, root, device, trust)


def watch(model: nn.Module, loss_scale: Any = 1.0) -> Scope:
    """Look inside every `nn.RNN`, `nn.GRU` and `nn.LSTM` of a model while a `with` block runs.

    Nothing of the model or of its training changes. Nothing stays behind after the block but what was
    recorded: copies of inputs, weights and gradients of the last forward and backward pass.

        with gatescope.watch(model) as scope:
            loss = criterion(model(x), y)
            loss.backward()
        scope["encoder.rnn"].gates["update"]
        scope["encoder.rnn"].state_gradients["h"]
        scope.vanishing_curve()

    Args:
        model: any module, also one that is compiled or wrapped for several devices.
        loss_scale: factor of the loss in the backward pass, or the `torch.amp.GradScaler`; gradients are
            divided by it.

    Returns:
        A context manager, which holds what was recorded; see `gatescope.watching.scope.Scope`.

    Raises:
        gatescope.watching.errors.WatchError: The model has no recurrent module, or one that is quantised or
            scripted.
    """
    from gatescope.watching.scope import Scope  # imports torch

    return Scope(model, loss_scale)


def from_keras(layer: Any) -> nn.RNNBase | nn.ModuleDict:
    """Return a recurrent layer of Keras as a module of torch with the same weights, which can be watched.

    Args:
        layer: A `keras.layers.GRU`, `LSTM` or `SimpleRNN`, a `Bidirectional` of one, or a model that holds
            some.

    Returns:
        An `nn.GRU`, `nn.LSTM` or `nn.RNN`, batch first; of a model a `ModuleDict` of them, by layer name.

    Raises:
        gatescope.watching.errors.WatchError: The layer has no weights yet, or no counterpart in torch.
    """
    from gatescope.watching.keras_weights import from_keras as converted  # imports torch

    return converted(layer)


def run(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> RunResult:
    """Train and test a model, and record everything, as `python train.py` with the same words does.

        result = gatescope.run(overrides=["model=gru", "data=tweets", "seed=1"])
        result.summary["test/accuracy"]

    There is a progress bar; `trainer.enable_progress_bar=false` turns it off. A run that is finished is not
    repeated: its recorded result is returned.

    Args:
        overrides: The words of the command line. A sweep is for the command line.
        config_dir: A further folder of configs, as `--config-dir`.

    Returns:
        Directory of the record, summary, trained module and data; see `gatescope.run.RunResult`.

    Raises:
        ConfigError: A word is wrong; see also `gatescope.run.run`.
    """
    from gatescope.interactive import run as run_words  # imports Hydra

    return run_words(overrides, config_dir)


def study(name: str, root: str | Path | None = None) -> Study:
    """Read the runs of a study: `.runs`, `.metrics`, `.measurements`, `.compare(a, b)`.

    Args:
        name: Name of the study.
        root: Directory of the records; default: the environment variable RUNS_DIR, else `runs`.

    Raises:
        NoRuns: There is no run of this study; the message says how to get some.
    """
    from gatescope.interactive import Study  # imports pandas

    return Study(name, root)
