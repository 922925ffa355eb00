"""Nonnegative least squares for one factor, by hierarchical alternating least squares (HALS).

min ½ tr(A H Aᵀ) − tr(Y Aᵀ) over A ≥ 0, so A H = Y without the bound, one column at a time:

    A[:, r] ← max(0, A[:, r] + (Y − A H)[:, r] / H[r, r]),

the exact minimiser over that column, so that no step makes the fit worse; a few rounds of them
cost less than the MTTKRP before (Gillis & Glineur's acceleration). An active-set solver would be
exact, at a cost that differs from row to row and from lane to lane of a `vmap`.
"""

import jax.numpy as jnp
from jax import Array, lax

from jkr._linalg._loops import fori_loop

_ROUNDS = 4


def hals(H: Array, y: Array, a: Array) -> Array:
    """Rounds of column updates from a ≥ 0, for H (R, R) or one a row (I, R, R), real.

    Args:
        H: matrix, or matrices, of the normal equations, symmetric positive semi-definite.
        y: right-hand sides (I, R), one a row.
        a: the factor to improve (I, R), nonnegative. An entry whose diagonal of H is zero stays.

    Returns:
        Factor (I, R), nonnegative.

    Source: [CP09]; [GG12].
    """
    H = H.reshape(-1, *H.shape[-2:])
    diagonal = jnp.diagonal(H, axis1=1, axis2=2)
    diagonal = jnp.broadcast_to(diagonal, a.shape)

    def column(i, a):
        r = i % a.shape[1]
        row = lax.dynamic_index_in_dim(H, r, axis=1, keepdims=False)
        of = lambda m: lax.dynamic_index_in_dim(m, r, axis=1, keepdims=False)  # noqa: E731
        d = of(diagonal)
        step = (of(y) - jnp.sum(a * row, axis=1)) / jnp.where(d > 0, d, 1)
        new = jnp.where(d > 0, jnp.maximum(of(a) + step, 0), of(a))
        return lax.dynamic_update_index_in_dim(a, new, r, axis=1)

    return fori_loop(0, _ROUNDS * a.shape[1], column, a)
