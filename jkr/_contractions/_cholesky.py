"""Positive definite systems of any size, such as penalised normal equations, by Cholesky.

G is scaled to a unit diagonal, so that columns of very different scale are told from dependent
ones. Where a pivot is no larger than rounding, the factor is that of the matrix with a little added
to its diagonal: the answer is then finite, one of small norm, and flagged. `_solve` is for small
matrices in inner loops, and gives minimum norm; this one costs a third of a matrix product.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.linalg import cho_solve

from jkr._contractions._solve import implicit_solve


def definite_solve(G: Array, b: Array) -> tuple[Array, Array]:
    """Solution of G x = b, G Hermitian positive definite, and whether G is singular to rounding.

    Derivative (R3): that of the equation, ẋ = G⁻¹(ḃ − Ġx), one more solve with the same factor.

    Args:
        G: (n, n), Hermitian, positive semi-definite.
        b: (n,) or (n, k), of the same dtype, float32 or wider.

    Returns:
        Array of the shape of b, and a boolean: whether a pivot of G, scaled to a unit diagonal,
        does not exceed max(n, 16)·eps. Where none does, the residual is at rounding; else finite
        (for finite arguments).
    """
    n = G.shape[0]
    if n == 0:
        return b, jnp.zeros((), bool)
    fixed = lax.stop_gradient(G)
    tolerance = max(n, 16) * float(jnp.finfo(G.dtype).eps)
    diagonal = jnp.diagonal(fixed).real
    scale = jnp.where(diagonal > 0, lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 1)
    scale = scale.astype(G.dtype)
    scaled = scale[:, None] * fixed * scale[None, :]
    L = lax.linalg.cholesky(scaled, symmetrize_input=False)
    singular = ~(jnp.min(jnp.diagonal(L).real) ** 2 > tolerance)  # NaN, where the factor fails
    largest = jnp.max(jnp.sum(jnp.abs(scaled), axis=1))

    def raised(scaled: Array, L: Array) -> Array:
        more = (tolerance * (1 + largest)).astype(scaled.dtype) * jnp.eye(n, dtype=scaled.dtype)
        return lax.linalg.cholesky(scaled + more, symmetrize_input=False)

    L = lax.cond(singular, raised, lambda scaled, L: L, scaled, L)

    def inverse(v: Array) -> Array:
        s = scale if v.ndim == 1 else scale[:, None]
        return s * cho_solve((L, True), s * v)

    return implicit_solve(G, b, inverse), singular
