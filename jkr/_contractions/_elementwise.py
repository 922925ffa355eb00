"""One pass over the entries of CP models and of data, in blocks (R5).

Of a function f(M, …, T, …) → (value, entry), elementwise, two things are asked for: Σ value, and
the MTTKRPs of the tensor of entries with any columns. With f a loss and its derivative that is the
loss and its gradient (J5); with the second derivative and pairs of columns, what preconditions a
Newton step (J3ᴴ).

The data are read as an L×M matrix of two groups of modes, whole rows at a time. A block of a model
is K_left[rows] diag(λ) K_rightᵀ, one matrix product; f is computed of the block and added up, so
that no more than a block of a model, or of f, ever exists. Data that are sharded are one block, the
whole: their slices would be gathered. How large a block is depends on the platform that a program
is compiled for (`with_blocks`).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._partial import (
    component_first,
    finish_left,
    finish_right,
)
from jkr._contractions._passes import all_modes
from jkr._contractions._reconstruct import dense
from jkr._linalg._dtypes import Precision
from jkr._linalg._loops import by_platform, scan
from jkr._linalg._small import matmul

BLOCK = 1 << 18  # entries at once, which caches of a CPU hold
FEW = 1 << 20  # entries of which there may be several arrays
# An accelerator wants more at once, or waits for launches; a share of the entries, within bounds.
_SHARE, _LEAST, _MOST = 16, 1 << 22, 1 << 26
_SMALLEST = 16  # times smaller a block may be, so that all of them are whole

Factors = Sequence[Array]
Model = tuple[Array, Factors]  # weights (R,) and factors (I_n, R)
# Blocks of the models' entries and of the data's to real values, and to entries.
Entrywise = Callable[..., tuple[Array, Any]]


def entrywise(
    f: Entrywise,
    models: Sequence[Model],
    data: Sequence[Array],
    columns: Factors | None = None,
    *,
    sharded: bool = False,
    precision: Precision = None,
) -> tuple[Array, tuple[Array, ...]]:
    """Σ value, and the MTTKRPs of the entries, where (value, entry) = f(M_1, …, T_1, …).

    Args:
        f: elementwise.
        models: one or more, of one shape, two modes or more.
        data: arrays of that shape, or none.
        columns: one matrix (I_n, S) a mode, or None if no MTTKRPs are asked for.
        sharded: whether the entries are spread over devices.
        precision: of the matrix products.

    Returns:
        A real scalar, and one array (I_n, S) a mode, or none.
    """
    if sharded:
        values, D = f(*(dense(*model, precision) for model in models), *data)
        ys = () if columns is None else all_modes(D, columns, precision, sharded=True)
        return jnp.sum(values), ys
    entries = math.prod(a.shape[0] for a in models[0][1])
    visit = partial(_visit, f, precision)
    return with_blocks(visit, entries, tuple(models), tuple(data), columns)


def with_blocks(f: Callable[..., Any], entries: int, *args: Any) -> Any:
    """f(size, …), the size of a block of so many entries being what suits the platform."""
    if entries <= BLOCK:
        return f(BLOCK, *args)
    most = min(max(entries // _SHARE, _LEAST), _MOST)
    return by_platform(partial(f, BLOCK), partial(f, most), *args)


def _visit(
    f: Entrywise,
    precision: Precision,
    most: int,
    models: Sequence[Model],
    data: Sequence[Array],
    columns: Factors | None,
) -> tuple[Array, tuple[Array, ...]]:
    """`entrywise` with at most so many entries at once, or two rows."""
    shape = tuple(a.shape[0] for a in models[0][1])
    p, s = _three_groups(shape, most)
    size = rows_at_once(math.prod(shape[:p]), math.prod(shape[p:]), most)
    total, outer, inner, right = _blocks(f, models, data, columns, shape, p, s, size, precision)
    if columns is None:
        return total, ()
    groups = (
        (range(p), lambda n: finish_left(outer, columns[:p], p, n)),
        (range(p, s), lambda n: finish_left(inner, columns[p:s], s - p, n - p)),
        (range(s, len(shape)), lambda n: finish_right(right, columns, s, n)),
    )
    return total, tuple(finish(n) for modes, finish in groups for n in modes)


def _blocks(f, models, data, columns, shape, p, s, size, precision):
    """Σ value, and what D, the tensor of entries, gives with the columns, block by block.

    Modes are in three groups: a block is a range of the outer ones (before p) times all of the
    inner (p to s) and of the right ones (from s). D is contracted with the columns of the right
    modes, and that, at once, with those of the inner or of the outer ones; so what is kept is
    (outer, S), (inner, S) and (S, right), none of it as large as two groups together.

    Where no good size divides the outer range, the last block starts early enough to be whole; its
    rows that were done already do not count.
    """
    rows, inside, across = math.prod(shape[:p]), math.prod(shape[p:s]), math.prod(shape[s:])
    count, rest = -(-rows // size), rows % size
    data = [a.reshape(rows, inside * across) for a in data]
    k_rights = [_flat(factors[s:], across) for _, factors in models]
    c_right: Any = None if columns is None else _flat(columns[s:], across)

    def block(carry, turn_and_slices):
        total, inner, right = carry
        turn, slices = turn_and_slices
        first = jnp.minimum(turn * size, rows - size)
        if rest:
            slices = [lax.dynamic_slice_in_dim(a, first, size) for a in data]
        blocks = [
            matmul(_rows_of(factors, p, s, first, size) * weights[None, :], k, precision)
            for (weights, factors), k in zip(models, k_rights, strict=True)
        ]
        values, D = f(*blocks, *(a.reshape(size * inside, across) for a in slices))
        if rest:
            fresh = jnp.repeat(first + jnp.arange(size) >= turn * size, inside)[:, None]
            values = jnp.where(fresh, values, 0)
            D = D if columns is None else jnp.where(fresh, D, 0)
        total = total + jnp.sum(values)
        if columns is None:
            return (total, inner, right), None
        right = right + matmul(_rows_of(columns, p, s, first, size).T, D, precision)
        left = matmul(D, c_right.T, precision).reshape(size, inside, -1)
        if p == s:
            return (total, inner, right), left[:, 0]
        c_outer = _range_of(columns[:p], first, size)
        inner = inner + jnp.sum(left * c_outer[:, None, :], axis=0)
        c_inner = _range_of(columns[p:s], 0, inside)
        return (total, inner, right), jnp.sum(left * c_inner[None, :, :], axis=1)

    # Blocks that divide the rows are the scan's own slices: its transpose then writes a block of
    # the cotangent at a time, where slices taken inside would each cost an array of T's size.
    slices = [] if rest else [a.reshape(count, size, inside * across) for a in data]
    weights = models[0][0]
    empty = [jnp.zeros((), weights.dtype)] * 2
    if columns is not None:
        rank = c_right.shape[0]
        empty = [jnp.zeros((inside, rank), weights.dtype), jnp.zeros_like(c_right)]
    start = (jnp.zeros((), weights.real.dtype), *empty)
    body = jax.checkpoint(block, prevent_cse=False)
    (total, inner, right), outer = scan(body, start, (jnp.arange(count), slices))
    if columns is None:
        return total, outer, inner, right
    if rest:
        outer = jnp.concatenate([outer[:-1].reshape(rows - rest, -1), outer[-1, size - rest :]])
    outer = outer.reshape(*shape[:p], rank)
    return total, outer, inner.reshape(*shape[p:s], rank), right.reshape(rank, *shape[s:])


def _flat(factors: Factors, size: int) -> Array:
    """Khatri–Rao product of one group, (R, size)."""
    return component_first(factors).reshape(-1, size)


def _rows_of(factors: Factors, p: int, s: int, first: Array, size: int) -> Array:
    """Rows of the Khatri–Rao product of the first s factors, for a range of the first p modes."""
    outer = _range_of(factors[:p], first, size)
    if p == s:
        return outer
    inner = _range_of(factors[p:s], 0, math.prod(a.shape[0] for a in factors[p:s]))
    return (outer[:, None, :] * inner[None, :, :]).reshape(-1, outer.shape[1])


def _range_of(factors: Factors, first: Array | int, size: int) -> Array:
    """Rows first, first + 1, … of a Khatri–Rao product, (size, R), the rest not formed."""
    if size == math.prod(a.shape[0] for a in factors):
        return reduce(lambda k, a: (k[:, None] * a[None]).reshape(-1, a.shape[1]), factors)
    row, product = first + jnp.arange(size), jnp.ones((), factors[0].dtype)
    for a in reversed(factors):
        product, row = a[row % a.shape[0]] * product, row // a.shape[0]
    return product


def rows_at_once(rows: int, columns: int, block: int) -> int:
    """Rows of a block: as many as fit in so many entries, fewer where all can then be whole.

    Two at least, where there are two: to slice single rows XLA copies the whole first.
    """
    most = min(rows, max(2, block // columns))
    fewest = -(-rows // most)
    counts = range(fewest, _SMALLEST * fewest + 1)
    whole = (rows // count for count in counts if rows % count == 0)
    return next((size for size in whole if size > 1), most)


def _three_groups(shape: Sequence[int], block: int) -> tuple[int, int]:
    """Where the inner and where the right modes begin.

    The matrix of the right modes and of all others is nearest to square, as far as blocks reach;
    of the others as many are inner ones as a block holds.
    """
    s = max(
        range(1, len(shape)),
        key=lambda s: min(
            math.prod(shape[:s]), math.prod(shape[s:]), block // math.prod(shape[s:])
        ),
    )
    return next(p for p in range(1, s + 1) if p == s or math.prod(shape[p:]) <= block), s
