"""Khatri–Rao product A ∗ B and its dual, the face-splitting product A • B.

(A ∗ B)[i·p + k, r] = A[i, r] B[k, r]        columns matched
(A • B)[i, j·q + l] = A[i, j] B[i, l]        rows matched

They are each other's transposes, (A•B)ᵀ = Aᵀ∗Bᵀ (I1), and one pairing serves both.
"""

from functools import partial

from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh
from jkr._products._pairing import paired


@partial(any_mesh, large=True)
def khatri_rao(*ms: ArrayLike) -> Array:
    """Khatri–Rao product: Kronecker products of matching columns, the last row index fastest.

    (A ∗ B)[i·p + k, r] = A[i, r] B[k, r], and A ∗ B ∗ C = (A ∗ B) ∗ C. The order is that of
    SciPy, NumPy's `kron` and TensorLy (`khatri_rao([A, B])` there). Kolda's papers, MATLAB and
    pyttb use the same product, but with unfoldings in Fortran order, and so take the modes in
    reverse: their A_N ⊙ … ⊙ A_1 stands where this library writes A_1 ∗ … ∗ A_N (see `unfold`).

    Args:
        *ms: matrices (..., I_n, R) with equal column counts; leading batch dimensions broadcast.

    Returns:
        Array (..., ∏ I_n, R), of the operands' (promoted) dtype. One matrix alone is returned as
        it is.

    Raises:
        ValueError: no matrix, fewer than two dimensions, unequal column counts, batches that do
            not broadcast, or a list of matrices (unpack it).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.khatri_rao(jnp.array([[1, 2], [3, 4]]), jnp.array([[1, 1], [0, 5]]))
        Array([[ 1,  2],
               [ 0, 10],
               [ 3,  4],
               [ 0, 20]], dtype=int32)

    Plain autodiff of the product is already best. What forms it to contract it next can usually
    avoid that: see the contractions, such as `mttkrp`.

    Source: Khatri & Rao, Sankhya 30 (1968) 167–180; laws I1–I10, I13, I14.
    """
    arrays = _check.matrices("khatri_rao", ms, columns=True)
    return paired(arrays, cross_rows=True, cross_columns=False)


@partial(any_mesh, large=True)
def face_splitting(*ms: ArrayLike) -> Array:
    """Face-splitting product (transposed Khatri–Rao): Kronecker products of matching rows.

    (A • B)[i, j·q + l] = A[i, j] B[i, l], and (A•B)ᵀ = Aᵀ∗Bᵀ (I1).

    Args:
        *ms: matrices (..., I, J_n) with equal row counts; leading batch dimensions broadcast.

    Returns:
        Array (..., I, ∏ J_n), of the operands' (promoted) dtype. One matrix alone is returned as
        it is.

    Raises:
        ValueError: no matrix, fewer than two dimensions, unequal row counts, batches that do not
            broadcast, or a list of matrices (unpack it).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.face_splitting(jnp.array([[1, 2]]), jnp.array([[1, 10]]))
        Array([[ 1, 10,  2, 20]], dtype=int32)

    Source: laws I1–I9; [Sly99].
    """
    arrays = _check.matrices("face_splitting", ms, rows=True)
    return paired(arrays, cross_rows=False, cross_columns=True)
