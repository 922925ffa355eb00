"""What every fit knows of its data: which entries it sees, how large they are, and its options."""

from math import inf
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jkr._linalg._dtypes import Precision
from jkr.cp import _result


class Options(NamedTuple):
    """What is static: nonnegative modes, free modes, precision of products with the tensor."""

    nonnegative: tuple[int, ...]
    free: tuple[int, ...]
    precision: Precision


def measured(
    x: Array, w: Array | None, low: float = -inf, high: float = inf
) -> tuple[Array, Array, Array]:
    """Scale and norm of the data, as in `ALSState`, and a status that tells of bad data.

    Args:
        x: the tensor.
        w: its entry weights.
        low: the least datum that is good, where data are real.
        high: the largest.
    """
    # `isfinite` of an entry, not of the largest: reductions by max drop NaN in XLA on CPU.
    seen = observed(x, w)
    parts = (seen.real, seen.imag) if jnp.iscomplexobj(x) else (seen,)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(part)) for part in parts]))
    finite = jnp.all(jnp.isfinite(seen))
    status = jnp.where(finite, _result.CONVERGED, _result.BAD_DATA)
    if (low, high) != (-inf, inf):
        inside = jnp.all((seen >= low) & (seen <= high))
        status = jnp.where(inside, status, _result.BAD_DATA)
    if w is not None:
        good = jnp.all(jnp.isfinite(w) & (w >= 0)) & jnp.any(w > 0)
        status = jnp.where(good, status, _result.BAD_WEIGHTS)
    scale = jnp.where(finite & (largest > 0), largest, 1)
    scaled = seen / scale.astype(x.dtype)
    squares = (scaled * scaled.conj()).real
    squares = squares if w is None else unit_weights(w) * squares
    return scale, jnp.sqrt(jnp.sum(squares)), status


def observed(x: Array, w: Array | None) -> Array:
    """The tensor with zeros where it is not observed."""
    return x if w is None else jnp.where(w == 0, 0, x)


def seen_rows(w: Array) -> list[Array]:
    """Of each mode, the indices at which anything is observed: masks (I_n,)."""
    modes = range(w.ndim)
    return [jnp.any(w != 0, axis=tuple(m for m in modes if m != n)) for n in modes]


def unit_weights(w: Array) -> Array:
    """Entry weights in units of the largest."""
    return w / largest_weight(w)


def largest_weight(w: Array) -> Array:
    """The largest weight, 1 if there is none."""
    largest = jnp.max(w)
    return jnp.where(largest > 0, largest, 1)
