"""One pass over a function f(M, T) of the entries of a CP model M and a tensor T, in blocks (R5).

What is asked for is Σ W∘f(M, T) and the MTTKRPs of its derivative D = W∘∂f/∂M, which are its
gradient (J5). T is read as an L×M matrix of two groups of modes, whole rows at a time. A block of
the model is K_left[rows] diag(λ) K_rightᵀ, one matrix product; f and its derivative are computed of
the block and added up, so that no more than a block of the model ever exists. With several devices
there is one block, the whole: slices of a sharded tensor would be gathered.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._partial import component_first, finish_left, finish_right, reconstruct
from jkr._contractions._passes import all_modes, at_least_order_2
from jkr._linalg._dtypes import Precision
from jkr._linalg._small import matmul

_BLOCK = 1 << 20  # entries of the model at once

# Real values of a model's entries and the data's, elementwise.
Entrywise = Callable[[Array, Array], Array]


def entry_sum(
    f: Entrywise,
    weights: Array,
    factors: Sequence[Array],
    x: Array,
    entry_weights: Array | None,
    *,
    precision: Precision = None,
) -> Array:
    """Σ W∘f(M, T); what lies under a zero of W is not read."""
    return _pass(f, weights, factors, x, entry_weights, precision, gradient=False)[0]


def entry_gradient(
    f: Entrywise,
    weights: Array,
    factors: Sequence[Array],
    x: Array,
    entry_weights: Array | None,
    *,
    precision: Precision = None,
) -> tuple[Array, tuple[Array, ...]]:
    """The same sum, and the MTTKRPs of D with the conjugate factors, of all modes.

    dΣ = Re Σ conj(dM)∘D; for f = |M − T|², D is 2W∘(M − T).
    """
    return _pass(f, weights, factors, x, entry_weights, precision, gradient=True)


def entry_derivative(f: Entrywise, model: Array, x: Array) -> tuple[Array, Array]:
    """Values f(M, T) and D = ∂f/∂M, with df = Re conj(dM) D."""
    values, pull = jax.vjp(lambda m: f(m, x), model)
    return values, pull(jnp.ones_like(values))[0].conj()


def readable(x: Array, w: Array | None) -> Array:
    """The data, ones where their weight is zero: there is no function that is defined on NaN."""
    return x if w is None else jnp.where(w == 0, 1, x)


def squared_distance(model: Array, x: Array) -> Array:
    """|M − T|²."""
    residual = model - x
    return (residual * residual.conj()).real


def _pass(
    f: Entrywise,
    weights: Array,
    factors: Sequence[Array],
    x: Array,
    w: Array | None,
    precision: Precision,
    *,
    gradient: bool,
) -> tuple[Array, tuple[Array, ...]]:
    x, factors, added = at_least_order_2(x, factors)
    w = None if w is None else w.reshape(x.shape)
    conjugate = [a.conj() for a in factors]
    if jax.device_count() > 1:
        scaled = (*factors[:-1], factors[-1] * weights[None, :])
        total, D = _summed(f, reconstruct(scaled, precision), x, w, gradient)
        ys = all_modes(D, conjugate, precision) if gradient else ()
        return total, ys[added:]
    s = _block_split(x.shape)
    total, left, right = _blocks(f, weights, factors, x, w, s, precision, gradient)
    if not gradient:
        return total, ()
    left = left.reshape(*x.shape[:s], weights.shape[0])
    right = right.reshape(weights.shape[0], *x.shape[s:])
    ys = (
        finish_left(left, conjugate, s, n) if n < s else finish_right(right, conjugate, s, n)
        for n in range(added, x.ndim)
    )
    return total, tuple(ys)


def _summed(
    f: Entrywise, model: Array, x: Array, w: Array | None, gradient: bool
) -> tuple[Array, Array]:
    """Σ W∘f(M, T) and, if asked for, D."""
    x = readable(x, w)
    values, D = entry_derivative(f, model, x) if gradient else (f(model, x), model)
    if w is None:
        return jnp.sum(values), D
    seen = w != 0
    return jnp.sum(w * jnp.where(seen, values, 0)), w.astype(x.dtype) * jnp.where(seen, D, 0)


def _blocks(f, weights, factors, x, w, s, precision, gradient):
    """Σ W∘f(M, T), D K_right (L, R) and K_leftᵀ D (R, M), conjugate products, block by block.

    The last block starts early enough to be whole; of rows that were done already nothing is added.
    """
    rank, rows, columns = weights.shape[0], prod(x.shape[:s]), prod(x.shape[s:])
    k_right = component_first(factors[s:]).reshape(rank, columns)
    x = x.reshape(rows, columns)
    w = None if w is None else w.reshape(rows, columns)
    size = _rows_at_once(rows, columns)

    def block(b, carry):
        total, left, right = carry
        first = jnp.minimum(b * size, rows - size)
        cut = partial(lax.dynamic_slice_in_dim, start_index=first, slice_size=size)
        k_block, w_block = _rows_of(factors[:s], first, size), None if w is None else cut(w)
        if rows % size:
            # Rows of weight zero are not read: rows that were done, too.
            fresh = (first + jnp.arange(size) >= b * size)[:, None]
            w_block = jnp.where(fresh, 1 if w_block is None else w_block, 0).astype(x.real.dtype)
        model = matmul(k_block * weights[None, :], k_right, precision)
        added, D = _summed(f, model, cut(x), w_block, gradient)
        if not gradient:
            return total + added, left, right
        done = matmul(D, k_right.conj().T, precision)
        if rows % size:
            done = jnp.where(fresh, done, cut(left))
        left = lax.dynamic_update_slice_in_dim(left, done, first, axis=0)
        return total + added, left, right + matmul(k_block.conj().T, D, precision)

    start = (
        jnp.zeros((), x.real.dtype),
        jnp.zeros((rows, rank) if gradient else (), x.dtype),
        jnp.zeros((rank, columns) if gradient else (), x.dtype),
    )
    steps = -(-rows // size)
    return lax.fori_loop(0, steps, jax.checkpoint(block, prevent_cse=False), start)


def _rows_of(factors: Sequence[Array], first: Array, size: int) -> Array:
    """Rows first, first + 1, … of a Khatri–Rao product, (size, R), which is not formed."""
    row, product = first + jnp.arange(size), jnp.ones((), factors[0].dtype)
    for a in reversed(factors):
        product, row = a[row % a.shape[0]] * product, row // a.shape[0]
    return product


def _rows_at_once(rows: int, columns: int) -> int:
    """Rows of a block: as many as it holds, fewer if then all blocks are whole."""
    most = max(1, min(rows, _BLOCK // columns))
    return next((size for size in range(most, most // 2, -1) if rows % size == 0), most)


def _block_split(shape: Sequence[int]) -> int:
    """The split whose blocks, whole rows of T as an L×M matrix, are nearest to square."""
    return max(
        range(1, len(shape)),
        key=lambda s: min(prod(shape[:s]), prod(shape[s:]), _BLOCK // prod(shape[s:])),
    )
