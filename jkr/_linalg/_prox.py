"""Proximal operators of matrices: nearest points, and soft thresholds."""

import jax.numpy as jnp
from jax import Array

from jkr._linalg._norms import column_norms


def nearest_simplex(y: Array, axis: int) -> Array:
    """The nearest matrix with nonnegative entries that sum to one along an axis (0 or 1).

    max(Y − θ, 0), where θ is such that the largest k entries, less θ, sum to one.

    Source: [DSSC08].
    """
    lines = y if axis == 0 else y.T
    falling = -jnp.sort(-lines, axis=0)
    counts = jnp.arange(1, lines.shape[0] + 1).astype(y.dtype)[:, None]
    levels = (jnp.cumsum(falling, axis=0) - 1) / counts
    kept = jnp.sum(falling > levels, axis=0, keepdims=True)
    theta = jnp.take_along_axis(levels, jnp.maximum(kept - 1, 0), axis=0)
    near = jnp.maximum(lines - theta, 0)
    return near if axis == 0 else near.T


def nearest_in_ball(a: Array, radius: Array) -> Array:
    """The nearest matrix with columns of at most that norm."""
    norms = column_norms(a)
    long = ~(norms <= radius)  # a radius of NaN is no ball
    factor = jnp.where(long, radius / jnp.where(long, norms, 1), 1)
    return a * factor[None, :].astype(a.dtype)


def soft_threshold(y: Array, level: Array) -> Array:
    """Every entry nearer to zero by a level, zero where it was within; phases stay."""
    size = jnp.abs(y)
    kept = jnp.maximum(size - level, 0)
    return y * (kept / jnp.where(size > 0, size, 1)).astype(y.dtype)
