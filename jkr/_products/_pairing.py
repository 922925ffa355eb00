"""Crossed and matched axes: the four products of the family as one broadcast multiplication.

With A (m, n) and B (p, q), crossing the rows gives A the shape (m, 1, …) and B (1, p, …);
matching them gives (m, 1, …) and (p, 1, …) with m = p. Columns likewise. One multiplication and
one reshape then serve every product, at the cost of writing the result once.
"""

from collections.abc import Sequence
from functools import reduce

from jax import Array


def paired(ms: Sequence[Array], *, cross_rows: bool, cross_columns: bool) -> Array:
    """The n-ary product, folded from the left (the four products are associative: I5)."""

    def product(a: Array, b: Array) -> Array:
        (m, n), (p, q) = a.shape[-2:], b.shape[-2:]
        rows = (1, p) if cross_rows else (p, 1)
        columns = (1, q) if cross_columns else (q, 1)
        blocks = a.reshape(*a.shape[:-2], m, 1, n, 1) * b.reshape(*b.shape[:-2], *rows, *columns)
        return blocks.reshape(*blocks.shape[:-4], m * rows[1], n * columns[1])

    return reduce(product, ms)
