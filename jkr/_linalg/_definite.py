"""Positive definite systems of any size, such as penalised normal equations, by matrix products.

The sweep operator, a block of columns K at a time. With D = A_KK and U the columns A_·K in which
the rows K are replaced by −I,

    A ← A (its rows and columns K set to 0) − U D⁻¹ Uᴴ

turns a Hermitian A into −A⁻¹ once all blocks are through. The blocks D are small, and inverted by
the pivoted elimination of `_psd`, so all else is matrix products: as fast as those are on any
device and in any batch, with no LAPACK, whose threads and XLA's get in each other's way on a CPU (a
factorisation of 240 unknowns then took 250 ms instead of 0.4). Inverse and refined solve cost about
as much as four products of the matrix's size.

G is scaled to a unit diagonal first, so that columns of very different scale are told from
dependent ones; a pivot no larger than rounding gets a row of zeros in the inverse, and a flag. On
an accelerator Cholesky's factorisation does what is regular beyond doubt (`_psd` says why). That
file is for small matrices in inner loops, and gives minimum norm.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import Array, lax

from jkr._linalg._loops import alike, fori_loop
from jkr._linalg._psd import DOUBT, eliminate, implicit_solve, rounding, to_unit_diagonal, with_care
from jkr._linalg._small import gram, matmul

_BLOCK = 32  # columns swept at a time


def definite_solve(G: Array, b: Array) -> tuple[Array, Array]:
    """Solution of G x = b, G Hermitian positive definite, and whether G is singular to rounding.

    Derivative (R3): that of the equation, ẋ = G⁻¹(ḃ − Ġx), one more solve with the same inverse.

    Args:
        G: (n, n), Hermitian, positive semi-definite.
        b: (n,) or (n, k), of the same dtype, float32 or wider.

    Returns:
        Array of the shape of b, and a boolean: whether a pivot of G, scaled to a unit diagonal,
        does not exceed max(n, 16)·eps. Where none does, the residual is at rounding; else x is
        finite (for finite arguments), with a zero for every column that depends on others.
    """
    if G.shape[0] == 0:
        return b, jnp.zeros((), bool)
    G, b = alike(G, b)
    solve, singular = definite_inverse(G)
    return solve(b), singular


def definite_inverse(G: Array) -> tuple[Callable[[Array], Array], Array]:
    """The same for any number of right-hand sides: what solves, and whether G is singular."""
    fixed = lax.stop_gradient(G)
    scale = to_unit_diagonal(fixed)
    scaled = scale[:, None] * fixed * scale[None, :]
    by_cholesky = partial(with_care, _factorised, _swept)
    inverse, singular = lax.platform_dependent(scaled, cpu=_swept, default=by_cholesky)
    inverse = scale[:, None] * inverse * scale[None, :]
    return lambda b: implicit_solve(partial(matmul, G), b, partial(matmul, inverse)), singular


def _factorised(A: Array) -> tuple[tuple[Array, Array], Array]:
    """A⁻¹ by Cholesky, that it is not singular, and whether that is beyond doubt."""
    L = lax.linalg.cholesky(A, symmetrize_input=False)
    F = lax.linalg.triangular_solve(L, jnp.eye(len(A), dtype=A.dtype), left_side=True, lower=True)
    regular = jnp.all(jnp.diagonal(L).real ** 2 > DOUBT * rounding(A))
    return (gram(F, F), ~regular), regular


def _swept(A: Array) -> tuple[Array, Array]:
    """A⁻¹ of an A with unit diagonal, and whether it is singular."""
    n = A.shape[0]
    size = min(n, _BLOCK)
    blocks = -(-n // size)
    N = blocks * size
    eye = jnp.eye(N, dtype=A.dtype)
    tolerance = rounding(A)

    def sweep(k, carry):
        A, singular = carry
        first = k * size
        D = lax.dynamic_slice(A, (first, first), (size, size))
        E, pivots = eliminate(D, tolerance)
        null = pivots == 0
        root = jnp.where(null, 0, lax.rsqrt(jnp.where(null, 1, pivots))).astype(A.dtype)
        here = (jnp.arange(N) >= first) & (jnp.arange(N) < first + size)
        columns = lax.dynamic_slice_in_dim(A, first, size, axis=1)
        minus = -lax.dynamic_slice_in_dim(eye, first, size, axis=1)
        V = matmul(jnp.where(here[:, None], minus, columns), (root[:, None] * E).conj().T)
        rest = jnp.where(here[:, None] | here[None, :], 0, A)
        return rest - matmul(V, V.conj().T), singular | null.any()

    padded = eye.at[:n, :n].set(A)
    swept, singular = fori_loop(0, blocks, sweep, (padded, jnp.zeros((), bool)))
    return -swept[:n, :n], singular
