"""embed -> recurrent stack -> pooling or attention -> head, built from a TaskSpec and the config."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from gatescope.models.attention import Attention, Readout
from gatescope.models.budget import count_parameters, hidden_size_for
from gatescope.models.embedding import make_embedding
from gatescope.models.heads import make_head
from gatescope.models.stack import Carried, CellFactory, LayerTrace, RecurrentStack
from gatescope.sequences import Batch, TaskSpec

AttentionFactory = Callable[[int, bool], nn.Module]


class Prediction(NamedTuple):
    """values (B, K), or (B, T, K) for a task that predicts at every step; attention weights (B, heads, T), or
    (B, U, heads, T) where a decoder asks at each of U target steps."""

    values: Tensor
    attention: Tensor | None


class SequenceModel(nn.Module, ABC):
    """Embedding and recurrent stack, and whatever answers from the states: what instruments look at.

    Args:
        task: published by the datamodule; fixes every outer dimension.
        cell: makes a recurrent layer from (input_size, hidden_size).
        hidden_size: units a layer and direction.
        parameters: budget of all that lies between embedding and head (see `budget`); when given, the hidden
            size follows from it.
        embedding_size: width of token embeddings, unused for features and where the task brings vectors.
        rest: recurrent stack -> the modules beyond it that a budget counts; by default none.
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
        rest: Callable[[RecurrentStack], Iterable[nn.Module]] = lambda stack: (),
    ) -> None:
        super().__init__()
        self.task = task
        self.embedding: nn.Embedding | None = None
        size = task.input_size
        if task.inputs == "tokens":
            self.embedding = make_embedding(task, embedding_size)
            size = self.embedding.embedding_dim
        self.embedding_dropout = nn.Dropout(dropout)
        if parameters is not None:

            def build(hidden_size: int) -> Iterable[nn.Module]:
                stack = RecurrentStack(cell, size, hidden_size, layers, bidirectional)
                return [stack, *rest(stack)]

            hidden_size = hidden_size_for(parameters, build)
        self.stack = RecurrentStack(cell, size, hidden_size, layers, bidirectional, dropout)

    def embed(self, inputs: Tensor) -> Tensor:
        """(B, T) ids or (B, T, F) features -> (B, T, D)."""
        embedded = inputs if self.embedding is None else self.embedding(inputs)
        return self.embedding_dropout(embedded)

    @abstractmethod
    def between(self) -> Iterator[nn.Module]:
        """The modules between embedding and head: what a budget of parameters is spent on."""

    @abstractmethod
    def readout(
        self,
        states: Tensor,
        lengths: Tensor,
        targets: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Prediction:
        """States of the top layer (B, T, S) -> the prediction; `targets` for models that are fed them; `last`
        (B, S) where the states end, if the stack yields it."""

    def forward(self, batch: Batch, carried: Carried | None = None) -> Prediction:
        """
        Args:
            carried: as in `RecurrentStack.run`, for batches that go on from one another.
        """
        states, last = self.stack.run(self.embed(batch.inputs), batch.lengths, carried)
        return self.readout(states, batch.lengths, batch.targets, last)

    def trace(self, batch: Batch) -> tuple[Tensor, Tensor, dict[str, LayerTrace]]:
        """Embedded inputs (B, T, D), top states (B, T, S), and every layer's trace."""
        embedded = self.embed(batch.inputs)
        states, traces = self.stack.trace(embedded, batch.lengths)
        return embedded, states, traces


class Encoder(SequenceModel):
    """A recurrent encoder for classification, regression and next-step prediction.

    Args:
        attention: makes the readout from (size, bidirectional).
        task, cell, options: as in `SequenceModel`.
    Raises:
        ValueError: attention was asked for on a task that answers at every step, or a direction that reads
            backwards on one that asks what comes next.
    """

    def __init__(
        self, task: TaskSpec, cell: CellFactory, attention: AttentionFactory, *sizes: Any, **options: Any
    ) -> None:
        def reads(stack: RecurrentStack) -> nn.Module:
            return attention(stack.output_size, stack.directions == 2)

        super().__init__(task, cell, *sizes, **options | {"rest": lambda stack: [reads(stack)]})
        self.attention = reads(self.stack)
        if task.kind == "next_step" and isinstance(self.attention, Attention):
            raise ValueError(
                "attention gives one answer a sequence, and these data ask for one at every step: "
                "use attention=none, or data that are classified"
            )
        if task.causal and self.stack.directions == 2:
            raise ValueError(
                "these data ask what comes next, and a model that reads backwards has seen it: "
                "use model.bidirectional=false"
            )
        self.head = make_head(task, self.stack.output_size, self.embedding_dropout.p)

    def between(self) -> Iterator[nn.Module]:
        yield from (self.stack, self.attention)

    def readout(
        self,
        states: Tensor,
        lengths: Tensor,
        targets: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Prediction:
        if self.task.kind == "next_step":
            return Prediction(self.head(states), None)
        pooled: Readout = self.attention(states, lengths, last)
        return Prediction(self.head(pooled.context), pooled.weights)


def sizes(model: SequenceModel) -> dict[str, int]:
    """What a comparison states beside every result: parameters in all, between embedding and head, and of the
    encoder's recurrent stack alone; and its units a layer and direction."""
    return {
        "total": count_parameters([model]),
        "between": count_parameters(model.between()),
        "stack": count_parameters([model.stack]),
        "hidden_size": model.stack.hidden_size,
    }


def build_encoder(task: TaskSpec, model: dict[str, Any], attention: Any) -> Encoder:
    """From the instantiated `model` and `attention` config groups; `name` is for the reader."""
    options = {key: value for key, value in model.items() if key != "name"}
    return Encoder(task=task, attention=attention, **options)
