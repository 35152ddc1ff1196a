"""A look inside the model of a finished run: `gatescope.load(run).trace(["not bad at all"])`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gatescope.cells.adjoint import Adjoint
from gatescope.instruments import attribution
from gatescope.instruments.probe import Probe, undisturbed
from gatescope.model_inputs import ModelInput
from gatescope.models.encoder import Encoder, Prediction
from gatescope.models.traces import LayerTrace
from gatescope.sequences import Batch, valid_mask
from gatescope.trained import Answer, Trained
from gatescope.watching.clamping import clamped
from gatescope.watching.labelled import Labelled, LabelledGroup
from gatescope.watching.readings import Readings

if TYPE_CHECKING:
    import pandas as pd


class TracedLayers:
    """The layers of a model in one pass, and the gradients of the explained output."""

    def __init__(self, found: attribution.Gradients) -> None:
        self.traces: dict[str, LayerTrace] = found.layers
        self.adjoints: dict[str, Adjoint] = found.adjoints

    def h(self, name: str) -> Tensor:
        """Return the states (B, T, H) in the order of the input."""
        return self.traces[name].align_time(self.traces[name].states.h)

    def h_grad(self, name: str) -> Tensor:
        """Return the gradient at the states (B, T, H) in the order of the input."""
        return self.traces[name].align_time(self.adjoints[name].h)


class Trace(Readings):
    """States, gates, gradients, attention and attributions of a trained model for some inputs.

    Gradients are those of the explained output: the log probability of the prediction, or the predicted
    value.

    Args:
        trained: the model.
        batch: the inputs.

    Attributes:
        predictions: an answer for each input.
        tokens: the tokens of each input, as the model read them; None for features.
        output: (B,), the explained output.
    """

    def __init__(self, trained: Trained, batch: Batch) -> None:
        super().__init__(trained.directory.name)
        self._trained, self._batch = trained, batch.to(trained.model.device)
        model, lengths = trained.model, self._batch.lengths
        self.predictions: list[Answer] = trained.answers(self._batch)
        self.tokens = trained.task.tokens(batch)
        with undisturbed(model), torch.no_grad():
            self._embedded = model.embed(self._batch.inputs)
            states = model.stack(self._embedded, lengths)
            self._prediction: Prediction = model.readout(states, lengths)
            self._explained = attribution.explained_output(trained.task, self._prediction.values)
            self._found = attribution.gradients(model, self._embedded, lengths, self._explained)
        self.output = self._found.output

    @cached_property
    def layers(self) -> TracedLayers:
        """The layers of the model."""
        return TracedLayers(self._found)

    def check_gradient(self) -> None:
        """Do nothing: a trace always has gradients."""

    @property
    def attention(self) -> Labelled | None:
        """Attention weights (example, head, step), of a decoder (example, symbol, head, step); or None."""
        weights = self._prediction.attention
        if weights is None:
            return None
        names = ("example", "head", "step") if weights.dim() == 3 else ("example", "symbol", "head", "step")
        coords = {name: range(size) for name, size in zip(names, weights.shape, strict=True)}
        valid = self._valid.view(len(weights), *[1] * (weights.dim() - 2), -1)
        return Labelled("attention", weights.detach().masked_fill(~valid, torch.nan), names, coords)

    @cached_property
    def attributions(self) -> LabelledGroup:
        """Contribution of each step to the explained output, (example, step).

        `gradient_times_input`; and for an encoder with one prediction a sequence `integrated_gradients`, from
        an input of zeros.
        """
        model, lengths = self._trained.model, self._batch.lengths
        found = {"gradient_times_input": attribution.gradient_times_input(self._found.inputs, self._embedded)}
        if isinstance(model, Encoder) and not self._trained.task.every_step:
            with undisturbed(model):
                found["integrated_gradients"] = attribution.integrated_gradients(
                    model, self._embedded, lengths, self._explained
                )
        coords = {"example": range(len(lengths)), "step": range(self._embedded.shape[1])}
        arrays = {
            name: Labelled(name, values.masked_fill(~self._valid, torch.nan), ("example", "step"), coords)
            for name, values in found.items()
        }
        return LabelledGroup("attributions", arrays)

    @property
    def _valid(self) -> Tensor:
        return valid_mask(self._batch.lengths, self._embedded.shape[1])

    def probe(self) -> Probe:
        """Return the pass in the form that instruments read."""
        model, found, attention = self._trained.model, self._found, self._prediction.attention
        outputs = model.stack(self._embedded, self._batch.lengths)
        mean = -float(found.output.mean())
        return Probe(
            0,
            model,
            self._batch,
            self._embedded,
            outputs,
            found.layers,
            attention,
            mean,
            found.states,
            self.tokens,
        )

    def _arrays(self) -> dict[str, Labelled]:
        """Return everything that is measured at each state, by name."""
        grads = {f"gradient_{name}": array for name, array in self.state_gradients.items()}
        return {**self.states, **self.gates, **grads}

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each layer, direction, example, step and unit.

        Returns:
            These as columns, `token` for texts, the states `h` (and `c`), each gate, the gradients
            `gradient_h` (and `gradient_c`), and the attributions and the attention (mean over heads) of the
            step.
        """
        group = LabelledGroup(
            "trace",
            {n: Labelled(n, a.values, a.dims, a.coords) for n, a in self._arrays().items()},
        )
        table = group.to_dataframe()
        steps = self.attributions.to_dataframe()
        if self.attention is not None and "symbol" not in self.attention.dims:
            steps = steps.merge(self.attention.mean("head").to_dataframe(), on=["example", "step"])
        if self.tokens is not None:
            words = [self.tokens[e][s] for e, s in zip(steps["example"], steps["step"], strict=True)]
            steps.insert(2, "token", words)
        return table.merge(steps, on=["example", "step"])

    def to_xarray(self) -> Any:
        """Return everything as an `xarray.Dataset`; see `Labelled.to_xarray`."""
        arrays = self._arrays() | dict(self.attributions)
        if self.attention is not None:
            arrays["attention"] = self.attention
        return LabelledGroup("trace", arrays).to_xarray()


def trace(trained: Trained, inputs: Iterable[ModelInput], clamp: Mapping[str, Any] | None = None) -> Trace:
    """Look inside a trained model; see `gatescope.trained.Trained.trace`."""
    batch = trained.encode(inputs)
    if clamp:
        model = clamped(trained.model, clamp, batch.lengths, batch.inputs.shape[1])
        trained = replace(trained, model=model)
    return Trace(trained, batch)
