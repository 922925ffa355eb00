"""Euclidean norms with finite derivatives, and in range wherever the norm is (R6).

‖a‖ = s √(Σ |a/s|²), s the largest entry: no square leaves the range of the dtype.
"""

import jax.numpy as jnp
from jax import Array, lax

from jkr._linalg._dtypes import accumulator


def column_norms(a: Array) -> Array:
    """Euclidean norms of the columns (R,); where a column is zero so is its derivative.

    Real, in the accumulator's precision.
    """
    wide = a.astype(accumulator(a.dtype))
    largest = lax.stop_gradient(jnp.max(jnp.abs(wide), axis=0, initial=0))
    scale = jnp.where(largest > 0, largest, 1)
    scaled = wide / scale[None, :].astype(wide.dtype)
    return square_root(jnp.sum((scaled * scaled.conj()).real, axis=0)) * scale


def unit_columns(a: Array, previous: Array) -> tuple[Array, Array]:
    """Column norms, and unit columns; where a column vanished the previous direction stays."""
    norms = column_norms(a)
    safe = jnp.where(norms == 0, 1, norms)[None, :].astype(a.dtype)
    columns = jnp.where(norms[None, :] == 0, previous, a / safe)
    return norms.astype(a.dtype), columns


def unit_columns_in_range(a: Array, previous: Array) -> tuple[Array, Array]:
    """As `unit_columns`, for columns whose squares are in range."""
    norms = jnp.sqrt(jnp.sum((a * a.conj()).real, axis=0))
    columns = a * (1 / jnp.where(norms == 0, 1, norms))[None, :].astype(a.dtype)
    columns = jnp.where(norms[None, :] == 0, previous, columns)
    # Without the barrier every loop that reads the columns would divide anew.
    return lax.optimization_barrier((norms.astype(a.dtype), columns))


def square_root(x: Array) -> Array:
    """√max(x, 0) with derivative 0, not inf, where x ≤ 0 (R6); NaN stays NaN."""
    nothing = x <= 0
    return jnp.where(nothing, 0, jnp.sqrt(jnp.where(nothing, 1, x)))


def power_of_two(a: Array, axis: int | None = None) -> Array:
    """About the largest |entry|, or those along an axis, real; 1 for zeros. A constant to autodiff.

    Multiplying by it, and by its inverse, is exact.
    """
    info = jnp.finfo(a.dtype)
    largest = lax.stop_gradient(jnp.max(jnp.abs(a), axis=axis, initial=0))
    usable = (largest >= float(info.tiny)) & jnp.isfinite(largest)
    largest = jnp.where(usable, jnp.minimum(largest, float(info.max) / 4), 1)
    return lax.reduce_precision(largest, exponent_bits=info.nexp, mantissa_bits=0)


def times(a: Array, *real: Array) -> Array:
    """a times real numbers, one after another: their product may be out of range.

    To divide, pass inverses: for a quotient of complex numbers XLA squares the divisor.
    """
    for factor in real:
        a = a * factor.astype(a.dtype)
    return a


def squared_distance(model: Array, data: Array | float) -> Array:
    """|M − T|², entry by entry."""
    residual = model - data
    return (residual * residual.conj()).real
