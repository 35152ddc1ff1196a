"""The base class of all sequence models, and the encoder.

A model is an embedding, a recurrent stack, pooling or attention, and a head. `seq2seq` has the model with a
decoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.models.attention import Attention, Readout
from gatescope.models.budget import count_parameters, hidden_size_for
from gatescope.models.embedding import make_embedding
from gatescope.models.front import FrontFactory
from gatescope.models.heads import make_head
from gatescope.models.stack import CellFactory, HiddenState, RecurrentStack
from gatescope.models.traces import LayerTrace
from gatescope.sequences import Batch, TaskSpec

AttentionFactory = Callable[[int, bool], nn.Module]
"""Builds pooling or attention from (size, bidirectional)."""


class Prediction(NamedTuple):
    """The output of a model.

    Attributes:
        values: (B, K); (B, T, K) for a task that predicts at every step; (B, U, V) for a decoder.
        attention: weights (B, heads, T), or (B, U, heads, T) for a decoder; None without attention.
    """

    values: Tensor
    attention: Tensor | None


class SequenceModel(nn.Module, ABC):
    """An embedding and a recurrent stack; subclasses add the readout.

    Args:
        task: the task of the data; it determines the input and output sizes.
        cell: builds a recurrent layer from (input_size, hidden_size).
        hidden_size: hidden units of each layer and direction.
        parameters: budget of parameters between embedding and head (see `budget`); when given, it determines
            the hidden size.
        layers: number of recurrent layers.
        bidirectional: whether each layer has a backward direction.
        dropout: dropout probability on the embedding, between layers and before the head.
        embedding_size: width of token embeddings; unused for features and for pretrained vectors.
        embedding_std: standard deviation of new token embeddings.
        readout_modules: returns the modules besides the stack that the budget counts; by default none.
        front: builds what features are read through; None for the features themselves.
    """

    def __init__(
        self,
        task: TaskSpec,
        cell: CellFactory,
        hidden_size: int = 64,
        parameters: int | None = None,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        embedding_size: int = 100,
        embedding_std: float = 1.0,
        readout_modules: Callable[[RecurrentStack], Iterable[nn.Module]] = lambda stack: (),
        front: FrontFactory | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.embedding: nn.Embedding | None = None
        size = task.input_size
        if task.inputs == "tokens":
            self.embedding = make_embedding(task, embedding_size, embedding_std)
            size = self.embedding.embedding_dim
        self.front = None if front is None else front(task)
        if self.front is not None:
            size = self.front.output_size
        self.embedding_dropout = nn.Dropout(dropout)
        if parameters is not None:

            def build(hidden_size: int) -> Iterable[nn.Module]:
                stack = RecurrentStack(cell, size, hidden_size, layers, bidirectional)
                return [stack, *readout_modules(stack)]

            hidden_size = hidden_size_for(parameters, build)
        self.stack = RecurrentStack(cell, size, hidden_size, layers, bidirectional, dropout)

    @property
    def objective(self) -> str:
        """Name of the module of `gatescope.training` that has the loss and the metrics of this model."""
        return f"{self.task.kind}_multilabel" if self.task.multilabel else self.task.kind

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    def embed(self, inputs: Tensor) -> Tensor:
        """Embed token ids (B, T) as (B, T, D); features (B, T, D) stay as they are without a front."""
        for layer in (self.embedding, self.front):
            inputs = inputs if layer is None else layer(inputs)
        return self.embedding_dropout(inputs)

    @abstractmethod
    def budget_modules(self) -> Iterator[nn.Module]:
        """Yield the modules between embedding and head, which a budget of parameters counts."""

    @abstractmethod
    def readout(
        self,
        states: Tensor,
        lengths: Tensor,
        targets: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Prediction:
        """Compute the prediction from the states of the top layer.

        Args:
            states: (B, T, S).
            lengths: (B,).
            targets: true targets, for models with teacher forcing.
            last: (B, S), the last states where the stack has returned them.
        """

    def forward(self, batch: Batch, hidden_state: HiddenState | None = None) -> Prediction:
        """Compute the prediction for a batch.

        Args:
            batch: inputs, lengths and targets.
            hidden_state: as in `RecurrentStack.run`, for batches that continue each other.
        """
        states, last = self.stack.run(self.embed(batch.inputs), batch.lengths, hidden_state)
        return self.readout(states, batch.lengths, batch.targets, last)

    def trace(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, LayerTrace]]:
        """Return the embedded inputs (B, T, D), the top states (B, T, S) and the traces of all layers."""
        embedded = self.embed(batch.inputs)
        states, traces = self.stack.trace(embedded, batch.lengths)
        return embedded, states, traces


class Encoder(SequenceModel):
    """A recurrent encoder with a head, for classification, regression, tagging and next-step prediction.

    Args:
        task: as in `SequenceModel`.
        cell: as in `SequenceModel`.
        attention: builds pooling or attention from (size, bidirectional).
        *sizes: further arguments of `SequenceModel`, by position.
        **options: further arguments of `SequenceModel`, by name.

    Raises:
        ValueError: attention for a task that predicts at every step, or a backward direction for a task that
            predicts later inputs.
    """

    def __init__(
        self, task: TaskSpec, cell: CellFactory, attention: AttentionFactory, *sizes: Any, **options: Any
    ) -> None:
        def build_readout(stack: RecurrentStack) -> nn.Module:
            return attention(stack.output_size, stack.directions == 2)

        options["readout_modules"] = lambda stack: [build_readout(stack)]
        super().__init__(task, cell, *sizes, **options)
        self.attention = build_readout(self.stack)
        if task.every_step and isinstance(self.attention, Attention):
            raise ValueError(
                "attention gives one prediction a sequence, and these data have a target at every step: "
                "use attention=none, or data for classification"
            )
        if task.causal and self.stack.directions == 2:
            raise ValueError(
                "these data predict later inputs, which a backward direction has read already: "
                "use model.bidirectional=false"
            )
        self.head = make_head(task, self.stack.output_size, self.embedding_dropout.p)

    def budget_modules(self) -> Iterator[nn.Module]:
        """Yield the recurrent stack and the pooling or attention."""
        yield from (self.stack, self.attention)

    def readout(
        self,
        states: Tensor,
        lengths: Tensor,
        targets: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Prediction:
        """Apply pooling or attention and the head; for predictions at every step the head alone."""
        if self.task.every_step:
            return Prediction(self.head(states), None)
        pooled: Readout = self.attention(states, lengths, last)
        return Prediction(self.head(pooled.context), pooled.weights)


def sizes(model: SequenceModel) -> dict[str, int]:
    """Return the sizes that are reported with every result.

    Returns:
        "total": all parameters; "between": parameters between embedding and head; "stack": parameters of the
        recurrent stack; "hidden_size": hidden units of each layer and direction.
    """
    return {
        "total": count_parameters([model]),
        "between": count_parameters(model.budget_modules()),
        "stack": count_parameters([model.stack]),
        "hidden_size": model.stack.hidden_size,
    }


def build_encoder(task: TaskSpec, model: dict[str, Any], attention: Any, front: Any = None) -> Encoder:
    """Build an encoder from the instantiated `model`, `attention` and `front` config groups."""
    options = {key: value for key, value in model.items() if key != "name"}  # the name is for reports
    return Encoder(task=task, attention=attention, front=front, **options)
