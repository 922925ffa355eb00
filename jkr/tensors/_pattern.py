"""Where the stored entries of a sparse tensor are, arranged for a pass over each mode.

This is prepared once, outside of any transform, with NumPy: sorted by counting, a mode at a time.
What is left are arrays of integers; their sizes and the chunk width alone are static.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jkr import _check
from jkr._linalg._loops import alike

_BLOCK = 1 << 16  # chunks that are summed at once
_WIDTHS = (1, 2, 4)  # of chunks
# What the sum by rows takes for a chunk, in units of a lane of it: measured (docs/performance.md).
_ROW_SUM = 3.0


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("others", "rows", "source"),
    meta_fields=(),
)
@dataclass(frozen=True)
class Layout:
    """Stored entries by the rows of one mode, in chunks of c, and these in blocks of one size.

    Attributes:
        others: of each other mode the entries' indices, (blocks, c, chunks); those of a lane that
            is padding are those of the row's last entry.
        rows: that of each chunk, increasing, (blocks, chunks).
        source: which entry is where, (blocks, c, chunks), a permutation; what is beyond the last
            entry is padding.
    """

    others: tuple[Array, ...]
    rows: Array
    source: Array

    def arranged(self, x: Array) -> Array:
        """Numbers of the stored entries, (nnz,), in their places, zeros in padding.

        A permutation, whose transpose is its inverse, another look-up; that of a look-up alone
        would be a sum by unsorted indices.
        """
        x, order = alike(jnp.pad(x, (0, self.source.size - x.size)), self.source.ravel())

        def inverse(_: object, y: Array) -> Array:
            place = (
                jnp.zeros_like(order)
                .at[order]
                .set(lax.iota(order.dtype, order.size), unique_indices=True)
            )
            return y[place]

        moved = lax.custom_linear_solve(
            lambda y: inverse(None, y), x, lambda _, x: x[order], inverse
        )
        return moved.reshape(self.source.shape)


def layout(indices: np.ndarray, shape: Sequence[int], mode: int) -> Layout:
    """The layout of a mode, of sorted indices (nnz, N)."""
    order = _by_counting(indices[:, mode], shape[mode])
    keys = indices[order, mode]
    # Rows that hold something, where they begin, and how many entries they have.
    begin = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(begin, append=len(keys))
    width = _width(counts)
    chunks = -(-counts // width)
    blocks = -(-int(chunks.sum()) // _BLOCK)
    chunks[-1] += -int(chunks.sum()) % blocks  # of padding alone
    _check.few_chunks("tensors.Sparse", int(chunks.sum()) * width)
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), chunks)  # which row a chunk is of
    before = np.cumsum(chunks) - chunks
    first = (np.arange(len(owner)) - before[owner]) * width  # of a chunk's entries, in its row
    others = [m for m in range(len(shape)) if m != mode]
    sizes = blocks, width, len(owner) // blocks
    found = [np.empty(sizes, np.int32) for _ in others]
    source = np.empty(sizes, np.int32)
    free = len(order)
    for k in range(width):
        beyond = first + k >= counts[owner]
        entry = order[begin[owner] + np.minimum(first + k, counts[owner] - 1)]
        for array, m in zip(found, others, strict=True):
            array[:, k] = indices[entry, m].reshape(blocks, -1)
        extra = int(beyond.sum())
        entry[beyond] = np.arange(free, free + extra)
        source[:, k], free = entry.reshape(blocks, -1), free + extra
    rows = jnp.asarray(keys[begin][owner].reshape(blocks, -1))
    return Layout(tuple(map(jnp.asarray, found)), rows, jnp.asarray(source))


def _width(counts: np.ndarray) -> int:
    """Of a chunk: the one that costs least, padding against sums by rows."""
    cost = lambda c: (-(-counts // c)).sum() * (c + _ROW_SUM)  # noqa: E731
    return min(_WIDTHS, key=cost)


def sorted_and_merged(
    indices: np.ndarray, shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct indices in order, the order, and which of the distinct ones each is in it."""
    order = np.arange(len(indices), dtype=np.int32)
    for n in reversed(range(len(shape))):
        order = order[_by_counting(indices[order, n], shape[n])]
    found = indices[order]
    new = np.ones(len(found), bool)
    new[1:] = (found[1:] != found[:-1]).any(axis=1)
    return found[new], order, np.cumsum(new, dtype=np.int32) - 1


def _by_counting(keys: np.ndarray, length: int) -> np.ndarray:
    """The stable order of small integers; SciPy's way from entries to rows is a counting sort."""
    from scipy.sparse import coo_array

    count = len(keys)
    if length > 8 * count:
        return np.argsort(keys, kind="stable").astype(np.int32)
    where = np.arange(count, dtype=np.int32)
    ones = np.ones(count, np.int8)
    return coo_array((ones, (keys.astype(np.int32), where)), shape=(length, count)).tocsr().indices
