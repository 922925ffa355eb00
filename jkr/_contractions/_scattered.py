"""Contractions of scattered entries: gather rows of factors, multiply, add by rows (J5).

For one mode, entries lie sorted by their row, each row's padded to whole chunks of c and stored
lane by lane, in blocks (c, chunks). Written out over the lanes, XLA makes one loop of gathers,
products and sums that writes (chunks, S); one sorted sum by rows finishes. The same sum as an
array (chunks, c, S) and a reduction would be stored first, at ten times the time; and chunks of all
blocks at once would be memory that the system hands out fresh, page by page.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._linalg._loops import by_platform, scan

_WRITTEN_OUT = 16  # components
_FEW = 1 << 12  # entries that are one block
_BLOCK, _LARGE_BLOCK = 1 << 14, 1 << 22  # entries of a block, in caches; on an accelerator
_AT_ONCE = 1 << 18  # entries times columns that a block without chunks may hold, in float64 2 MB


def chunked_mttkrp(
    values: Array, others: Sequence[Array], rows: Array, columns: Sequence[Array], length: int
) -> Array:
    """Y[i, s] = Σ values ∏ columns over the entries of row i, (length, S).

    Args:
        values: (blocks, c, chunks), zero where a lane is padding.
        others: of each other mode the entries' indices, (blocks, c, chunks).
        rows: that of each chunk, increasing, (blocks, chunks).
        columns: of each other mode a matrix, (I_m, S).
        length: rows of the result.
    """

    def add(total: Array, block: tuple) -> tuple[Array, None]:
        values, others, rows = block
        lanes = [
            reduce(jnp.multiply, (a[i[k]] for a, i in zip(columns, others, strict=True)))
            * values[k][:, None]
            for k in range(values.shape[0])
        ]
        return total.at[rows].add(reduce(jnp.add, lanes), indices_are_sorted=True), None

    zero = jnp.zeros((length, columns[0].shape[1]), values.dtype)
    return scan(add, zero, (values, list(others), rows))[0]


def listed_mttkrp(
    values: Array, indices: Sequence[Array], columns: Sequence[Array], mode: int, length: int
) -> Array:
    """The same of a bare list of entries, a block of them at a time."""
    size = max(_AT_ONCE // max(columns[0].shape[1], 1), 1)
    others = [m for m in range(len(indices)) if m != mode]

    def of_block(values: Array, indices: Sequence[Array]) -> Array:
        rows = reduce(jnp.multiply, (columns[m][indices[m]] for m in others))
        return jax.ops.segment_sum(rows * values[:, None], indices[mode], num_segments=length)

    whole = len(values) // size * size
    total = of_block(values[whole:], [i[whole:] for i in indices])
    if not whole:
        return total
    blocks = jax.tree.map(lambda a: a[:whole].reshape(-1, size), (values, list(indices)))
    add = lambda total, block: (total + of_block(*block), None)  # noqa: E731
    return scan(add, total, blocks)[0]


def model_at(indices: Sequence[Array], weights: Array, factors: Sequence[Array]) -> Array:
    """Entries of ⟦λ; A_1, …⟧ at scattered indices, one array of them a mode.

    A component at a time, written out: one loop over the entries that looks up a number a factor.
    A sum over the components of looked up rows would store those first.
    """
    columns = [factors[0].T * weights[:, None], *(a.T for a in factors[1:])]

    def of_group(columns: Sequence[Array]) -> Array:
        each = zip(*columns, strict=True)
        return reduce(
            jnp.add,
            (reduce(jnp.multiply, (a[i] for a, i in zip(r, indices, strict=True))) for r in each),
        )

    rank = len(weights)
    if not rank:
        return jnp.zeros(len(indices[0]), weights.dtype)
    if rank <= _WRITTEN_OUT:
        return of_group(columns)
    padded = (jnp.pad(a, ((0, -rank % _WRITTEN_OUT), (0, 0))) for a in columns)
    groups = [a.reshape(-1, _WRITTEN_OUT, a.shape[1]) for a in padded]
    add = lambda total, group: (total + of_group(group), None)  # noqa: E731
    return scan(add, jnp.zeros(len(indices[0]), weights.dtype), groups)[0]


def core_at(indices: Sequence[Array], core: Array, matrices: Sequence[Array]) -> Array:
    """Entries of core ×ₙ Uₙ at scattered indices, a block of them at a time."""

    def of_entry(at: tuple[Array, ...]) -> Array:
        rows = (u[i] for u, i in zip(matrices, at, strict=True))
        return reduce(lambda c, row: jnp.tensordot(row, c, 1, precision="highest"), rows, core)

    return lax.map(of_entry, tuple(indices), batch_size=max(_AT_ONCE // core.size, 1))


def in_blocks(f: Callable[..., Any], arrays: Any) -> Any:
    """f(*arrays) of all entries, (nnz,), for an f that is elementwise.

    A loop over blocks, for what comes out of one is stored: else XLA would compute it anew, number
    by number, wherever it is read.
    """
    count = len(jax.tree.leaves(arrays)[0])
    if count <= _FEW:
        return f(*arrays)

    def of_size(most: int, arrays: Any) -> Any:
        blocks = max(2, -(-count // most))
        size = count // blocks
        whole = blocks * size
        cut = jax.tree.map(lambda a: a[:whole].reshape(blocks, size), arrays)
        found = scan(lambda _, block: (None, f(*block)), None, cut)[1]
        found = jax.tree.map(lambda a: a.ravel(), found)
        if whole == count:
            return found
        rest = f(*jax.tree.map(lambda a: a[whole:], arrays))
        return jax.tree.map(lambda *pair: jnp.concatenate(pair), found, rest)

    return by_platform(partial(of_size, _BLOCK), partial(of_size, _LARGE_BLOCK), arrays)
