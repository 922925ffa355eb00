"""Kronecker product times a vector or matrix, (⊗ms) x, one mode product a matrix.

With x folded to (J_1, …, J_N, k), the matrix Aₙ acts on axis n alone (the vec trick):

    Y[i_1, …, i_N, c] = Σ_j ∏ₙ Aₙ[i_n, j_n] X[j_1, …, j_N, c]

so N small matrix products stand for one with a ∏ I_n × ∏ J_n matrix. Each leaves its new axis in
front. From the last matrix to the first, with the columns of x in front at the start, that gives
the order of the result, and nothing is transposed in between.
"""

from collections.abc import Sequence
from math import prod

from jax import Array, lax

from jkr._linalg._dtypes import Precision, accumulator, full


def kronecker_matmul(ms: Sequence[Array], x: Array, precision: Precision = None) -> Array:
    """(⊗ms) x for matrices (I_n, J_n) and x (∏ J_n,) or (∏ J_n, k) of one dtype.

    The matrices that shrink x most act first: by an exchange of neighbours the work is least in
    the order of increasing 1/J_n − 1/I_n.

    Args:
        ms: matrices (I_n, J_n).
        x: (∏ J_n,) or (∏ J_n, k).
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        Array (∏ I_n,) or (∏ I_n, k), of the dtype of x; float16 and bfloat16 are accumulated in
        float32.
    """
    wide, order = accumulator(x.dtype), len(ms)
    y = x.T.reshape(*x.shape[1:], *(a.shape[1] for a in ms)).astype(wide)
    axes = [*range(order, y.ndim), *range(order)]  # that of the columns is the last, N
    for n in sorted(reversed(range(order)), key=lambda n: _growth(*ms[n].shape)):
        contracted = ((1,), (axes.index(n),))
        y = lax.dot_general(
            ms[n].astype(wide), y, (contracted, ((), ())), precision=full(precision)
        )
        axes = [n, *(m for m in axes if m != n)]
    y = y.transpose([axes.index(n) for n in range(y.ndim)])
    return y.reshape(prod(a.shape[0] for a in ms), *x.shape[1:]).astype(x.dtype)


def _growth(i: int, j: int) -> float:
    return 1 / max(j, 1) - 1 / max(i, 1)
