"""Classifiers with constructed weights, whose attention is faithful or unfaithful by construction."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from gatescope.cells.rnn import RNN
from gatescope.models.attention import ScaledDot
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, TaskSpec, valid_mask

WORDS = 40


TASK = TaskSpec("classification", "tokens", WORDS, 1, "accuracy", "max", padding_index=0)


def loss(values: Tensor, targets: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(values[:, 0], targets.double(), reduction="none")


def constructed_model(mixed: bool) -> Encoder:
    """Build a model whose words have evidence for the label, and a salience that determines attention.

    Not `mixed`: a state depends on its own word only, and evidence grows with salience. Attention is the only
    path from a word to the label, so it is faithful. `mixed`: two directions add up all evidence, so that
    every state has the sum, and salience is independent of evidence. The weights do not change the
    prediction, so attention is not faithful.
    """
    generator = torch.Generator().manual_seed(0)
    model = Encoder(TASK, RNN, ScaledDot, hidden_size=3, embedding_size=2, bidirectional=True).double().eval()
    evidence = torch.linspace(-1, 1, WORDS, dtype=torch.float64)
    salience = evidence[torch.randperm(WORDS, generator=generator)] if mixed else evidence
    assert model.embedding is not None
    with torch.no_grad():
        # So small that tanh is the identity.
        model.embedding.weight[:, 0] = 0.01 * (evidence if mixed else evidence.exp())
        model.embedding.weight[:, 1] = salience
        for layer in model.stack.layers.values():
            for weight in layer.weights:
                weight.zero_()
            layer.input_weights.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 0]]))
            layer.recurrent_weights[0, 0] = float(mixed)
        model.attention.query.copy_(torch.tensor([[0, 8.0, 0, 0, 0, 0]]))
        # Forward and backward sums both hold the word itself.
        model.head.weight.copy_(
            100 * torch.tensor([[1.0, 0, -1, 1, 0, 0]] if mixed else [[1.0, 0, 0, 0, 0, 0]])
        )
        model.head.bias.fill_(0 if mixed else -0.5)
    return model


def constructed_batch(examples: int = 48, steps: int = 14) -> Batch:
    generator = np.random.default_rng(3)
    rows = np.stack([generator.choice(np.arange(1, WORDS), steps, replace=False) for _ in range(examples)])
    lengths = torch.from_numpy(generator.integers(8, steps + 1, examples))
    inputs = torch.from_numpy(rows) * valid_mask(lengths, steps)
    return Batch(inputs, lengths, torch.zeros(examples, dtype=torch.long), torch.arange(examples))
