"""A training step of one recurrent layer as a user of JAX has it: a jitted scan, and Keras' own layer.

Imported only in processes that `one_core` started: JAX and Keras read the environment at their import.
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
"""Computes the gradients and returns when they are there."""


def rnn(state: Any, fed: Any, met: Any) -> tuple[Any, Any]:
    h = jnp.tanh(fed + met)
    return (h,), h


def gru(state: Any, fed: Any, met: Any) -> tuple[Any, Any]:
    (r, z, n), (of_r, of_z, of_n) = jnp.split(fed, 3, -1), jnp.split(met, 3, -1)
    r, z = jax.nn.sigmoid(r + of_r), jax.nn.sigmoid(z + of_z)
    h = (1 - z) * jnp.tanh(n + r * of_n) + z * state[0]
    return (h,), h


def lstm(state: Any, fed: Any, met: Any) -> tuple[Any, Any]:
    i, f, g, o = jnp.split(fed + met, 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


STEPS = {"rnn": rnn, "gru": gru, "lstm": lstm}


def scan_step(cell: str, weights: Arrays, x: np.ndarray, direct: np.ndarray) -> Step:
    """Gradients of Σ h ⊙ direct, (B, T, H), by W, U, both biases and x (B, T, D), in this order. The input's
    product is taken out of the loop; unrolling the loop makes it slower."""

    def objective(w: Any, u: Any, b_ih: Any, b_hh: Any, x: Any, direct: Any) -> Any:
        fed = jnp.swapaxes(x, 0, 1) @ w.T + b_ih
        zero = jnp.zeros((x.shape[0], u.shape[1]), x.dtype)
        start = (zero, zero) if cell == "lstm" else (zero,)
        _, h = jax.lax.scan(lambda state, f: STEPS[cell](state, f, state[0] @ u.T + b_hh), start, fed)
        return jnp.vdot(jnp.swapaxes(h, 0, 1), direct)

    gradients = jax.jit(jax.grad(objective, argnums=(0, 1, 2, 3, 4)))
    arguments = [jnp.asarray(value) for value in (*weights, x, direct)]
    return lambda: jax.block_until_ready(gradients(*arguments))


def keras_step(cell: str, x: np.ndarray, direct: np.ndarray) -> Step:
    """The same of Keras' layer, with its own weights."""
    made = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[cell]
    layer = made(direct.shape[-1], return_sequences=True)
    layer.build(x.shape)
    trained, others = (
        [v.value for v in vs] for vs in (layer.trainable_variables, layer.non_trainable_variables)
    )

    def objective(trained: Any, x: Any, direct: Any) -> Any:
        return jnp.vdot(layer.stateless_call(trained, others, x)[0], direct)

    gradients = jax.jit(jax.grad(objective, argnums=(0, 1)))
    arguments = trained, jnp.asarray(x), jnp.asarray(direct)
    return lambda: jax.block_until_ready(gradients(*arguments))
