"""Least squares of one factor under a constraint, by the alternating direction method (ADMM).

Only the proximal operator of the constraint is asked for. One factorisation serves all rounds, and
the dual variable is kept for the next sweep over the factors, so that few rounds do.

Source: [HSL16].
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from jkr._linalg._loops import fori_loop
from jkr._linalg._psd import definite_root
from jkr._linalg._small import gram, matmul

_ROUNDS = 10


def admm(
    prox: Callable[[Array, Array], Array], G: Array, Y: Array, previous: Array, dual: Array
) -> tuple[Array, Array]:
    """Rounds of the alternating direction method for one factor, from Z and the scaled dual U.

    A ← (Y + ρ(Z − U))(G + ρI)⁻ᵀ, Z ← prox(A + U, 1/ρ), U ← U + A − Z, with ρ = tr(G)/R, so that one
    factorisation serves all rounds.
    """
    rank = G.shape[-1]
    trace = jnp.mean(jnp.diagonal(G, axis1=-2, axis2=-1).real)
    rho = jnp.where(trace > 0, trace, 1)
    eye = jnp.eye(rank, dtype=G.dtype).reshape((1,) * (G.ndim - 2) + (rank, rank))
    shifted = G + rho.astype(G.dtype) * eye
    if G.ndim == 2:
        F = definite_root(shifted)
        solve = lambda b: gram(F, matmul(F, b.T)).T  # noqa: E731
    else:
        F = jax.vmap(definite_root)(shifted)
        solve = jax.vmap(lambda F, b: gram(F, matmul(F, b[:, None]))[:, 0], (0, 0))
        solve = partial(solve, F)

    def step(_, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        Z, U = carry
        A = solve(Y + rho.astype(Y.dtype) * (Z - U))
        Z = prox(A + U, 1 / rho)
        return Z, U + A - Z

    return fori_loop(0, _ROUNDS, step, (previous, dual))
