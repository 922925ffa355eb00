"""The door to lineax, which is imported when it is used and may be missing."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jkr import _check
from jkr.operators._product import Product

if TYPE_CHECKING:
    import lineax


def to_lineax(op: Product, tags: object = ()) -> "lineax.AbstractLinearOperator":
    """A lazy product as a `lineax.AbstractLinearOperator` (extra `lineax`).

    Args:
        op: a `Kronecker`, `KhatriRao` or `FaceSplitting`; integers become the default float.
        tags: what lineax is to believe of it, one or several, such as
            `lineax.positive_semidefinite_tag`.

    Returns:
        Operator of vectors (columns,) to vectors (rows,), which differentiates with respect to
        the factors.

    Raises:
        ValueError: what is no lazy product.
        ModuleNotFoundError: lineax is not installed.

    Example:
        >>> import jax.numpy as jnp, lineax, jkr
        >>> K = jkr.operators.KhatriRao(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [1.0]]))
        >>> operator = jkr.operators.to_lineax(K)
        >>> y = 3 * K.to_dense()[:, 0]
        >>> lineax.linear_solve(operator, y, lineax.LSMR(rtol=1e-5, atol=1e-5)).value
        Array([3.], dtype=float32)

    Source: law I1, for the transpose.
    """
    name = "operators.to_lineax"
    op = _check.lazy(name, op, Product)
    try:
        from jkr.operators._lineax import ProductOperator
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"jkr.{name} needs {error.name}: pip install 'jkr[lineax]'", name=error.name
        ) from error
    several = tags if isinstance(tags, Iterable) else (tags,)
    return ProductOperator(op._inexact("to_lineax"), frozenset(several))
