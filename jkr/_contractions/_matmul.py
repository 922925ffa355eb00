"""Products with Khatri–Rao and face-splitting matrices that are never formed.

The right-hand side's columns are one more mode, so these are reconstruction and MTTKRP again:

    (∗ms) x  = ⟦A_1, …, A_N, xᵀ⟧, its first N modes flattened
    (∗ms)ᴴ y = the last mode's MTTKRP of y, folded to (I_1, …, I_N, k), with conj(Aₙ), transposed
    (•ms) x  = (∗ msᵀ)ᵀ x, likewise without the conjugate (I1)
"""

from collections.abc import Sequence
from functools import partial
from math import prod

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._mttkrp import mttkrp
from jkr._contractions._reconstruct import reconstruct
from jkr._linalg._dtypes import Precision, promoted
from jkr._mesh import any_mesh, is_sharded


@partial(any_mesh, large=True)
def khatri_rao_matmul(
    ms: Sequence[ArrayLike], x: ArrayLike, *, precision: Precision = None
) -> Array:
    """Khatri–Rao product times a vector or matrix, (∗ms) x, the product never formed.

    ((A ∗ B) x)[i·p + k] = Σ_r A[i, r] B[k, r] x[r].

    Args:
        ms: matrices (I_n, R), a sequence.
        x: (R,) or (R, k).
        precision: of the matrix product, as in `jax.lax.dot_general`.

    Returns:
        Array (∏ I_n,) or (∏ I_n, k), of the operands' (promoted) dtype.

    Raises:
        ValueError: ms that are no sequence of matrices with equal column counts, or x of another
            number of rows.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.khatri_rao_matmul([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])], jnp.ones(2))
        Array([11.], dtype=float32)

    Derivative (R2): with respect to x it is `khatri_rao_rmatmul` (unconjugated), with respect to
    a matrix an MTTKRP; saved are only the arguments.

    Source: laws J4, J5.
    """
    arrays, rank = _check.factors("khatri_rao_matmul", ms, what="ms")
    x, columns = _check.right_hand_side("khatri_rao_matmul", "x", x, rank)
    x, *arrays = promoted(x, *arrays)
    full = reconstruct((*arrays, x.T if columns else x[None, :]), precision)
    return full.reshape(prod(a.shape[0] for a in arrays), *columns)


@any_mesh
def khatri_rao_rmatmul(
    ms: Sequence[ArrayLike], y: ArrayLike, *, precision: Precision = None
) -> Array:
    """Conjugate transpose of a Khatri–Rao product times a vector or matrix, (∗ms)ᴴ y.

    ((A ∗ B)ᴴ y)[r] = Σ_ik conj(A[i, r] B[k, r]) y[i·p + k].

    Args:
        ms: matrices (I_n, R), a sequence.
        y: (∏ I_n,) or (∏ I_n, k).
        precision: of the matrix product, as in `jax.lax.dot_general`.

    Returns:
        Array (R,) or (R, k), of the operands' (promoted) dtype.

    Raises:
        ValueError: ms that are no sequence of matrices with equal column counts, or y of another
            number of rows.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.khatri_rao_rmatmul([jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])], jnp.ones(1))
        Array([3., 8.], dtype=float32)

    Derivative (R2): with respect to y it is `khatri_rao_matmul`, with respect to a matrix an
    MTTKRP; saved are only the arguments.

    Source: law J5.
    """
    arrays, rank = _check.factors("khatri_rao_rmatmul", ms, what="ms")
    rows = [a.shape[0] for a in arrays]
    y, columns = _check.right_hand_side("khatri_rao_rmatmul", "y", y, prod(rows))
    y, *arrays = promoted(y, *arrays)
    return _transposed(y, [a.conj() for a in arrays], rows, rank, columns, precision)


@partial(any_mesh, large=True)
def face_splitting_matmul(
    ms: Sequence[ArrayLike], x: ArrayLike, *, precision: Precision = None
) -> Array:
    """Face-splitting product times a vector or matrix, (•ms) x, the product never formed.

    ((A • B) x)[i] = Σ_jl A[i, j] B[i, l] x[j·q + l].

    Args:
        ms: matrices (I, J_n), a sequence.
        x: (∏ J_n,) or (∏ J_n, k).
        precision: of the matrix product, as in `jax.lax.dot_general`.

    Returns:
        Array (I,) or (I, k), of the operands' (promoted) dtype.

    Raises:
        ValueError: ms that are no sequence of matrices with equal row counts, or x of another
            number of rows.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.face_splitting_matmul([jnp.array([[1.0, 2.0]]), jnp.array([[3.0]])], jnp.ones(2))
        Array([9.], dtype=float32)

    Derivative (R2): as for `khatri_rao_rmatmul` with the matrices transposed (I1).

    Source: laws I1, I21, J5.
    """
    arrays, rank = _check.rows_matched("face_splitting_matmul", ms)
    inner = [a.shape[1] for a in arrays]
    x, columns = _check.right_hand_side("face_splitting_matmul", "x", x, prod(inner))
    x, *arrays = promoted(x, *arrays)
    return _transposed(x, [a.T for a in arrays], inner, rank, columns, precision)


def _transposed(
    y: Array,
    arrays: Sequence[Array],
    rows: Sequence[int],
    rank: int,
    columns: tuple[int, ...],
    precision: Precision,
) -> Array:
    """(∗arrays)ᵀ y as the MTTKRP of the mode that y's columns are."""
    k = prod(columns)
    unread = jnp.zeros((k, rank), y.dtype)
    out = mttkrp(y.reshape(*rows, k), (*arrays, unread), len(rows), precision, is_sharded(y))
    return out.T.reshape(rank, *columns)
