"""The laws as rewriting rules: what the product of two lazy products is.

All four are one: where the columns on the left and the rows on the right are both crossed, and
their blocks conform, the product goes block by block, and keeps the left one's way with rows and
the right one's way with columns (both matched: a Hadamard product, which is an array).

The blocks need not be factors: those whose sizes multiply to the same are one block, so that
(A⊗B⊗C)(D∗E), where A⊗B fits D, is ((A⊗B)D)∗(CE), (A⊗B)D being the operator's product with a
matrix. Where no law is in the table, or the only common block is the whole, the columns of the
right product go one after the other through the left one: the result is an array.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr import _check
from jkr._linalg._dtypes import accumulator
from jkr._linalg._small import matmul
from jkr._products._hadamard import hadamard
from jkr.operators._khatri_rao import FaceSplitting, KhatriRao
from jkr.operators._kronecker import Kronecker
from jkr.operators._product import Product


class Law(NamedTuple):
    """A rewriting law.

    Attributes:
        label: where it is written out.
        form: what it makes of the blocks' products.
    """

    label: str
    form: Callable[..., Any]


def _row_by_row(*blocks: Array) -> Any:
    """A • B; of columns this is A ∘ B (I21)."""
    return (hadamard if all(b.shape[1] == 1 for b in blocks) else FaceSplitting)(*blocks)


def _column_by_column(*blocks: Array) -> Any:
    """A ∗ B; of rows this is A ∘ B (I21, transposed)."""
    return (hadamard if all(b.shape[0] == 1 for b in blocks) else KhatriRao)(*blocks)


# The laws of more than two products (I16, I22, I31–I34) follow by applying these in turn.
LAWS: dict[tuple[type[Product], type[Product]], Law] = {
    (FaceSplitting, KhatriRao): Law("I8 (I7, I9, I10)", hadamard),
    (FaceSplitting, Kronecker): Law("I15 (I21)", _row_by_row),
    (Kronecker, KhatriRao): Law("I13", _column_by_column),
    (Kronecker, Kronecker): Law("(A⊗B)(C⊗D) = AC⊗BD", Kronecker),
}

_COLUMNS = 16  # of the right product, formed at a time where no law applies


def multiply(left: Any, right: Any) -> Any:
    """Left @ right, at least one of them a lazy product, in the best form there is."""
    op = left if isinstance(left, Product) else right
    left, right = (
        x if isinstance(x, Product) else _check.array(op._name(), x) for x in (left, right)
    )
    _check.inner(op._name(), left.shape, right.shape)
    if not isinstance(right, Product):
        return left._apply(right)
    if not isinstance(left, Product):
        return right.T._apply(left.T).T
    return _by_law(left, right)


def _by_law(left: Product, right: Product) -> Any:
    law = LAWS.get((type(left), type(right)))
    blocks = _blocks(left._sizes(1), right._sizes(0)) if law else []
    alone = len(left.factors), len(right.factors)
    if law is None or (len(blocks) == 1 and alone != (1, 1)):
        return _without_law(left, right)
    dtype = jnp.result_type(left.dtype, right.dtype)
    products = [_block(_part(left, i), _part(right, j), dtype) for i, j in blocks]
    return jax.tree.map(lambda a: a.astype(dtype), law.form(*products))


def _blocks(left: Sequence[int], right: Sequence[int]) -> list[tuple[slice, slice]]:
    """Runs of factors, as short as can be, whose sizes on both sides multiply to the same."""
    runs, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        (p, k), (q, m) = (left[i], i + 1), (right[j], j + 1)
        while p != q and (k < len(left) or m < len(right)):
            if k < len(left) and (p < q or m == len(right)):
                p, k = p * left[k], k + 1
            else:
                q, m = q * right[m], m + 1
        if p != q:  # only where a size is zero
            return [(slice(None), slice(None))]
        runs.append((slice(i, k), slice(j, m)))
        i, j = k, m
    i, j = (run.start for run in runs.pop())  # the last takes all that is left, of size one
    return [*runs, (slice(i, None), slice(j, None))]


def _part(op: Product, run: slice) -> Product | Array:
    """A run of factors: a matrix, or an operator."""
    factors = op.factors[run]
    return factors[0] if len(factors) == 1 else type(op)(*factors)


def _block(left: Product | Array, right: Product | Array, dtype: Any) -> Array:
    """The product of two blocks, an array in the accumulator's dtype."""
    wide = accumulator(dtype)
    if isinstance(left, Product) or isinstance(right, Product):
        return multiply(left, right).astype(wide)
    return matmul(left.astype(dtype), right.astype(dtype), None).astype(wide)


def _without_law(left: Product, right: Product) -> Array:
    """One product of the whole: with a matrix, or column by column."""
    dtype = jnp.result_type(left.dtype, right.dtype)
    if len(left.factors) == 1 or len(right.factors) == 1:
        whole = slice(None)
        return _block(_part(left, whole), _part(right, whole), dtype).astype(dtype)
    return _by_columns(left, right) if right.shape[1] else jnp.zeros((left.shape[0], 0), dtype)


@jax.jit  # outside `jit` the loop would be compiled anew at every call
def _by_columns(left: Product, right: Product) -> Array:
    """The right operator's columns, some at a time, through the left one's product with them."""
    column = jax.checkpoint(lambda j: left @ right._column(j))
    n = right.shape[1]
    return lax.map(column, jnp.arange(n), batch_size=min(_COLUMNS, n)).T
