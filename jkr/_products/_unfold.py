"""Unfolding a tensor into a matrix, in C order, and folding it back.

X₍ₙ₎ moves mode n to the front and reshapes, so that for a CP tensor
X₍ₙ₎ = Aₙ diag(λ) (∗_{m≠n} A_m)ᵀ with the modes in their natural order (J4).
"""

from collections.abc import Sequence
from functools import partial
from math import prod

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh


@partial(any_mesh, large=True)
def unfold(tensor: ArrayLike, mode: int) -> Array:
    """Mode-n unfolding (matricisation) of a tensor, in C order.

    X₍ₙ₎[i_n, j], where j runs over the other modes in natural order, the last one fastest.
    This is TensorLy's `unfold`. Kolda's papers, MATLAB and pyttb let the first mode run fastest
    (Fortran order); their columns are a permutation of these, and their Khatri–Rao products
    take the modes in reverse.

    Args:
        tensor: tensor (I_1, …, I_N).
        mode: n, counted from 0; negative modes count from the end.

    Returns:
        Array (I_n, ∏_{m≠n} I_m), of the same dtype.

    Raises:
        ValueError: a tensor of order 0, a mode out of range or no int.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.unfold(jnp.arange(8).reshape(2, 2, 2), 1)
        Array([[0, 1, 4, 5],
               [2, 3, 6, 7]], dtype=int32)

    Source: law J4; [KB09], section 2.4 (there in Fortran order).
    """
    x = _check.tensor("unfold", tensor)
    n = _check.mode("unfold", mode, x.ndim)
    moved = jnp.moveaxis(x, n, 0)
    return moved.reshape(moved.shape[0], prod(moved.shape[1:]))


@partial(any_mesh, large=True)
def fold(matrix: ArrayLike, mode: int, shape: Sequence[int]) -> Array:
    """The tensor of a given shape whose mode-n unfolding is `matrix`.

    fold(unfold(X, n), n, X.shape) = X.

    Args:
        matrix: matrix (I_n, ∏_{m≠n} I_m).
        mode: n, counted from 0; negative modes count from the end.
        shape: (I_1, …, I_N).

    Returns:
        Array (I_1, …, I_N), of the same dtype.

    Raises:
        ValueError: a shape that is no sequence of ints of at least 0, a mode out of range or no
            int, or a matrix that is no unfolding of such a tensor.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.fold(jnp.array([[0, 1, 4, 5], [2, 3, 6, 7]]), 1, (2, 2, 2)).ravel()
        Array([0, 1, 2, 3, 4, 5, 6, 7], dtype=int32)

    Source: law J4; [KB09].
    """
    m, n, dims = _check.unfolding("fold", matrix, mode, shape)
    return jnp.moveaxis(m.reshape(dims[n], *dims[:n], *dims[n + 1 :]), 0, n)
