"""Kronecker product A ⊗ B, and the row permutation that ties it to Khatri–Rao (I14).

(A ⊗ B)[i·p + k, j·q + l] = A[i, j] B[k, l]
"""

from functools import partial

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh
from jkr._products._pairing import paired


@partial(any_mesh, large=True)
def kronecker(*ms: ArrayLike) -> Array:
    """Kronecker product of matrices, the last one's indices fastest.

    (A ⊗ B)[i·p + k, j·q + l] = A[i, j] B[k, l], and A ⊗ B ⊗ C = (A ⊗ B) ⊗ C.

    Args:
        *ms: matrices (..., I_n, J_n); leading batch dimensions broadcast.

    Returns:
        Array (..., ∏ I_n, ∏ J_n), of the operands' (promoted) dtype. One matrix alone is
        returned as it is.

    Raises:
        ValueError: no matrix, fewer than two dimensions, batches that do not broadcast, or a list
            of matrices (unpack it).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.kronecker(jnp.array([[1, 2]]), jnp.array([[1, 0], [0, 1]]))
        Array([[1, 0, 2, 0],
               [0, 1, 0, 2]], dtype=int32)

    Source: [KB09], section 2.6.
    """
    return paired(_check.matrices("kronecker", ms), cross_rows=True, cross_columns=True)


@partial(any_mesh, large=True)
def kronecker_permutation(a: int, b: int, c: int, d: int) -> Array:
    """Row permutation P of (A⊗B)∗(C⊗D) = P[(A∗C)⊗(B∗D)], as indices (I14).

    The rows run (a, b, c, d) on the left and (a, c, b, d) inside the bracket, so that
    left = right[p] with p[((α·b + β)·c + γ)·d + δ] = ((α·c + γ)·b + β)·d + δ.

    Args:
        a: row count of A.
        b: row count of B.
        c: row count of C.
        d: row count of D.

    Returns:
        Integer array (a·b·c·d,).

    Raises:
        ValueError: a negative row count, or one that is not an int.

    Example:
        >>> import jkr
        >>> jkr.kronecker_permutation(1, 2, 2, 1)
        Array([0, 2, 1, 3], dtype=int32)

    Source: law I14; [Sly99].
    """
    a, b, c, d = _check.sizes("kronecker_permutation", (a, b, c, d))
    return jnp.arange(a * b * c * d).reshape(a, c, b, d).transpose(0, 2, 1, 3).reshape(-1)
