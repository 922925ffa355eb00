"""vec stacks the columns of a matrix; unvec puts them back.

vec(A)[j·m + i] = A[i, j], so vec(AXB) = (Bᵀ⊗A) vec(X).
"""

from collections.abc import Sequence
from functools import partial

from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh


@partial(any_mesh, large=True)
def vec(a: ArrayLike) -> Array:
    """Stack the columns of a matrix: vec(A)[j·m + i] = A[i, j].

    Args:
        a: matrix (..., m, n).

    Returns:
        Array (..., m·n), of the same dtype.

    Raises:
        ValueError: fewer than two dimensions.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.vec(jnp.array([[1, 2], [3, 4]]))
        Array([1, 3, 2, 4], dtype=int32)

    Source: [KB09]; laws I29, I30.
    """
    x = _check.one_matrix("vec", a)
    m, n = x.shape[-2:]
    return x.swapaxes(-2, -1).reshape(*x.shape[:-2], m * n)


@partial(any_mesh, large=True)
def unvec(v: ArrayLike, shape: Sequence[int]) -> Array:
    """The matrix whose columns are stacked in v: unvec(vec(A), A.shape) = A.

    Args:
        v: vector (..., m·n).
        shape: (m, n).

    Returns:
        Array (..., m, n), of the same dtype.

    Raises:
        ValueError: a shape that is not two ints of at least 0, or another number of entries.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.unvec(jnp.array([1, 3, 2, 4]), (2, 2))
        Array([[1, 2],
               [3, 4]], dtype=int32)

    Source: [KB09]; laws I29, I30.
    """
    x, (m, n) = _check.vector_to_matrix("unvec", v, shape)
    return x.reshape(*x.shape[:-1], n, m).swapaxes(-2, -1)
