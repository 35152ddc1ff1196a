"""A training step of one recurrent layer in JAX: a jitted scan, and the layer of Keras.

This module is imported only in processes that `one_core` starts, because JAX and Keras read the environment
when they are imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

Arrays = list[np.ndarray]
"""W (chunks·H, D), U (chunks·H, H), b_ih and b_hh (chunks·H,), in torch's order."""
Step = Callable[[], Any]
"""Computes the gradients, and returns after they have been computed."""


def rnn(state: Any, input_part: Any, state_part: Any) -> tuple[Any, Any]:
    """Compute one time step of a vanilla RNN: the next state, and its output.

    Args:
        state: (h,), of shape (B, H).
        input_part: W x_t + b_ih, (B, chunks·H).
        state_part: U h_{t-1} + b_hh, (B, chunks·H).
    """
    h = jnp.tanh(input_part + state_part)
    return (h,), h


def gru(state: Any, input_part: Any, state_part: Any) -> tuple[Any, Any]:
    """Compute one time step of a GRU, as torch defines it; see `rnn`."""
    (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(input_part, 3, -1), jnp.split(state_part, 3, -1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    h = (1 - z) * jnp.tanh(x_n + r * h_n) + z * state[0]
    return (h,), h


def lstm(state: Any, input_part: Any, state_part: Any) -> tuple[Any, Any]:
    """Compute one time step of an LSTM with the state (h, c); see `rnn`."""
    i, f, g, o = jnp.split(input_part + state_part, 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


STEPS = {"rnn": rnn, "gru": gru, "lstm": lstm}


def scan_step(cell: str, weights: Arrays, x: np.ndarray, output_grad: np.ndarray) -> Step:
    """Return a function that computes gradients by a scan.

    They are of Σ h ⊙ output_grad, with h and output_grad (B, T, H), by W, U, both biases and x (B, T, D). The
    product with the inputs is computed before the loop; unrolling the loop makes it slower.
    """

    def objective(w: Any, u: Any, b_ih: Any, b_hh: Any, x: Any, output_grad: Any) -> Any:
        input_parts = jnp.swapaxes(x, 0, 1) @ w.T + b_ih
        zero = jnp.zeros((x.shape[0], u.shape[1]), x.dtype)
        start = (zero, zero) if cell == "lstm" else (zero,)
        _, h = jax.lax.scan(
            lambda state, part: STEPS[cell](state, part, state[0] @ u.T + b_hh), start, input_parts
        )
        return jnp.vdot(jnp.swapaxes(h, 0, 1), output_grad)

    gradients = jax.jit(jax.grad(objective, argnums=(0, 1, 2, 3, 4)))
    arguments = [jnp.asarray(value) for value in (*weights, x, output_grad)]
    return lambda: jax.block_until_ready(gradients(*arguments))


def keras_step(cell: str, x: np.ndarray, output_grad: np.ndarray) -> Step:
    """Return a function that computes the gradients of the layer of Keras, which has its own weights."""
    layer_class = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell]
    layer = layer_class(output_grad.shape[-1], return_sequences=True)
    layer.build(x.shape)
    trained, others = (
        [v.value for v in vs] for vs in (layer.trainable_variables, layer.non_trainable_variables)
    )

    def objective(trained: Any, x: Any, output_grad: Any) -> Any:
        return jnp.vdot(layer.stateless_call(trained, others, x)[0], output_grad)

    gradients = jax.jit(jax.grad(objective, argnums=(0, 1)))
    arguments = trained, jnp.asarray(x), jnp.asarray(output_grad)
    return lambda: jax.block_until_ready(gradients(*arguments))
