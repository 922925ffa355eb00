"""Lazy products as lineax operators: lineax's solvers run on them (imported only when asked for).

The transpose is the operator's own (I1), so no solver transposes a computation.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import Array

from jkr.operators._product import Product


class ProductOperator(lx.AbstractLinearOperator):
    """A lazy product that lineax can use.

    Attributes:
        product: the lazy product, floating or complex.
        tags: what lineax is to believe of it, such as `lineax.positive_semidefinite_tag`.
    """

    product: Product
    tags: frozenset[object] = eqx.field(static=True)

    def mv(self, vector: Any) -> Array:
        """Times a vector."""
        return self.product @ vector

    def as_matrix(self) -> Array:
        """The product, formed."""
        return self.product.to_dense()

    def transpose(self) -> "ProductOperator":
        """By I1; tags go along."""
        return ProductOperator(self.product.T, lx.transpose_tags(self.tags))

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """A vector, one entry a column."""
        return jax.ShapeDtypeStruct(self.product.shape[1:], self.product.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """A vector, one entry a row."""
        return jax.ShapeDtypeStruct(self.product.shape[:1], self.product.dtype)


@lx.linearise.register(ProductOperator)
def _(operator):
    return operator


@lx.materialise.register(ProductOperator)
def _(operator):
    return lx.MatrixLinearOperator(operator.as_matrix(), operator.tags)


@lx.conj.register(ProductOperator)
def _(operator):
    return ProductOperator(jax.tree.map(jnp.conj, operator.product), operator.tags)


@lx.diagonal.register(ProductOperator)
def _(operator):
    return jnp.diagonal(operator.as_matrix())


@lx.tridiagonal.register(ProductOperator)
def _(operator):
    return tuple(jnp.diagonal(operator.as_matrix(), k) for k in (0, -1, 1))


def _tagged(operator: ProductOperator, tags: tuple[object, ...]) -> bool:
    return not operator.tags.isdisjoint(tags)


_TAGS = {
    lx.is_symmetric: (lx.symmetric_tag, lx.diagonal_tag),
    lx.is_diagonal: (lx.diagonal_tag,),
    lx.has_unit_diagonal: (lx.unit_diagonal_tag,),
    lx.is_lower_triangular: (lx.lower_triangular_tag, lx.diagonal_tag),
    lx.is_upper_triangular: (lx.upper_triangular_tag, lx.diagonal_tag),
    lx.is_tridiagonal: (lx.tridiagonal_tag, lx.diagonal_tag),
    lx.is_positive_semidefinite: (lx.positive_semidefinite_tag,),
    lx.is_negative_semidefinite: (lx.negative_semidefinite_tag,),
}
for _question, _answers in _TAGS.items():
    _question.register(ProductOperator)(partial(_tagged, tags=_answers))
