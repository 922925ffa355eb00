"""One pass over the residual M − T of a CP model, in blocks, so that M is never whole (R5).

T is read as an L×M matrix of two groups of modes, whole rows at a time. A block of the model is
K_left[rows] diag(λ) K_rightᵀ, one matrix product; what is asked of the residual is computed of the
block and added up. With several devices there is one block, the whole: slices of a sharded tensor
would be gathered.
"""

from collections.abc import Sequence
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._groups import all_modes, at_least_order_2
from jkr._contractions._partial import (
    Precision,
    component_first,
    finish_left,
    finish_right,
    reconstruct,
)
from jkr._contractions._precise import matmul

_BLOCK = 1 << 20  # entries of the model at once


def squared_residual(
    weights: Array,
    factors: Sequence[Array],
    x: Array,
    entry_weights: Array | None,
    *,
    scale: Array | None = None,
    precision: Precision = None,
) -> Array:
    """Σ W∘|M − T/scale|²; what lies under a zero of W is not read."""
    return _pass(weights, factors, x, entry_weights, scale, precision, gradient=False)[0]


def residual_mttkrps(
    weights: Array,
    factors: Sequence[Array],
    x: Array,
    entry_weights: Array | None,
    *,
    precision: Precision = None,
) -> tuple[Array, tuple[Array, ...]]:
    """Σ |D|²/W and the MTTKRPs of D = W∘(M − T) with the conjugate factors, of all modes."""
    return _pass(weights, factors, x, entry_weights, None, precision, gradient=True)


def _pass(
    weights: Array,
    factors: Sequence[Array],
    x: Array,
    w: Array | None,
    scale: Array | None,
    precision: Precision,
    *,
    gradient: bool,
) -> tuple[Array, tuple[Array, ...]]:
    x, factors, added = at_least_order_2(x, factors)
    w = None if w is None else w.reshape(x.shape)
    weigh = partial(_weighed, scale=scale)
    conjugate = [a.conj() for a in factors]
    if jax.device_count() > 1:
        scaled = (*factors[:-1], factors[-1] * weights[None, :])
        squared, D = weigh(reconstruct(scaled, precision), x, w)
        ys = all_modes(D, conjugate, precision) if gradient else ()
        return squared, ys[added:]
    s = _block_split(x.shape)
    squared, left, right = _blocks(weights, factors, x, w, s, weigh, precision, gradient)
    if not gradient:
        return squared, ()
    left = left.reshape(*x.shape[:s], weights.shape[0])
    right = right.reshape(weights.shape[0], *x.shape[s:])
    ys = (
        finish_left(left, conjugate, s, n) if n < s else finish_right(right, conjugate, s, n)
        for n in range(added, x.ndim)
    )
    return squared, tuple(ys)


def _weighed(
    model: Array, x: Array, w: Array | None, *, scale: Array | None
) -> tuple[Array, Array]:
    """Σ W∘|M − T/scale|² and D = W∘(M − T/scale)."""
    x = x if w is None else jnp.where(w == 0, 0, x)
    residual = model - (x if scale is None else x / scale.astype(x.dtype))
    if w is None:
        return jnp.sum((residual * residual.conj()).real), residual
    residual = jnp.where(w == 0, 0, residual)
    squared = jnp.sum(w * (residual * residual.conj()).real)
    return squared, w.astype(x.dtype) * residual


def _blocks(weights, factors, x, w, s, weigh, precision, gradient):
    """Σ W∘|M − T|², D K_right (L, R) and K_leftᵀ D (R, M), conjugate products, block by block.

    The last block starts early enough to be whole; of rows that were done already nothing is added.
    """
    rank, rows, columns = weights.shape[0], prod(x.shape[:s]), prod(x.shape[s:])
    k_left = component_first(factors[:s]).reshape(rank, rows)
    k_right = component_first(factors[s:]).reshape(rank, columns)
    x = x.reshape(rows, columns)
    w = None if w is None else w.reshape(rows, columns)
    size = max(1, min(rows, _BLOCK // columns))

    def block(b, carry):
        squared, left, right = carry
        first = jnp.minimum(b * size, rows - size)
        cut = partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=size)
        fresh = (first + jnp.arange(size) >= b * size)[:, None]
        k_block = cut(k_left, axis=1)
        model = matmul((k_block * weights[:, None]).T, k_right, precision)
        # Rows of weight zero are not read: rows that were done, too.
        w_block = fresh.astype(x.real.dtype) if w is None else jnp.where(fresh, cut(w), 0)
        added, D = weigh(model, cut(x), w_block)
        if not gradient:
            return squared + added, left, right
        done = jnp.where(fresh, matmul(D, k_right.conj().T, precision), cut(left))
        left = lax.dynamic_update_slice_in_dim(left, done, first, axis=0)
        return squared + added, left, right + matmul(k_block.conj(), D, precision)

    start = (
        jnp.zeros((), x.real.dtype),
        jnp.zeros((rows, rank) if gradient else (), x.dtype),
        jnp.zeros((rank, columns) if gradient else (), x.dtype),
    )
    steps = -(-rows // size)
    return lax.fori_loop(0, steps, jax.checkpoint(block, prevent_cse=False), start)


def _block_split(shape: Sequence[int]) -> int:
    """The split whose blocks, whole rows of T as an L×M matrix, are nearest to square."""
    return max(
        range(1, len(shape)),
        key=lambda s: min(prod(shape[:s]), prod(shape[s:]), _BLOCK // prod(shape[s:])),
    )
