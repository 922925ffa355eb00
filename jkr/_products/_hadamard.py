"""Hadamard product A ∘ B, and its blockwise form, the penetrating face product A [∘] B.

(A ∘ B)[i, j] = A[i, j] B[i, j]
A [∘] [B₁ … Bₙ] = [A∘B₁ … A∘Bₙ]
"""

from functools import partial

from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh
from jkr._products._pairing import paired


@partial(any_mesh, large=True)
def hadamard(*ms: ArrayLike) -> Array:
    """Hadamard (elementwise) product of matrices of one shape.

    (A ∘ B)[i, j] = A[i, j] B[i, j]. Unlike `*`, rows and columns do not broadcast.

    Args:
        *ms: matrices (..., I, J); leading batch dimensions broadcast.

    Returns:
        Array (..., I, J), of the operands' (promoted) dtype. One matrix alone is returned as it is.

    Raises:
        ValueError: no matrix, fewer than two dimensions, unequal row or column counts, batches that
            do not broadcast, or a list of matrices (unpack it).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.hadamard(jnp.array([[1, 2]]), jnp.array([[3, 4]]))
        Array([[3, 8]], dtype=int32)

    Source: [KB09], section 2.6.
    """
    arrays = _check.matrices("hadamard", ms, rows=True, columns=True)
    return paired(arrays, cross_rows=False, cross_columns=False)


@partial(any_mesh, large=True)
def penetrating_face(a: ArrayLike, b: ArrayLike) -> Array:
    """Penetrating face product: A ∘ every p×g block of the p×(g·n) matrix B.

    A [∘] [B₁ … Bₙ] = [A∘B₁ … A∘Bₙ].

    Args:
        a: matrix (..., p, g).
        b: matrix (..., p, g·n); leading batch dimensions broadcast.

    Returns:
        Array (..., p, g·n), of the operands' (promoted) dtype.

    Raises:
        ValueError: unequal row counts, columns of b that are no multiple of those of a, fewer
            than two dimensions, batches that do not broadcast.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.penetrating_face(jnp.array([[1, 2]]), jnp.array([[1, 1, 5, 5]]))
        Array([[ 1,  2,  5, 10]], dtype=int32)

    Source: law I26; [Sly99].
    """
    x, y, n = _check.penetrating("penetrating_face", a, b)
    p, g = x.shape[-2:]
    blocks = x.reshape(*x.shape[:-2], p, 1, g) * y.reshape(*y.shape[:-2], p, n, g)
    return blocks.reshape(*blocks.shape[:-3], p, n * g)
