"""Solving with the small positive semi-definite matrices of normal equations."""

import jax.numpy as jnp
from jax import Array


def psd_solve(G: Array, b: Array) -> Array:
    """Minimum-norm solution of G x = b, G Hermitian positive semi-definite (R, R).

    Eigenvalues below R·eps times the largest one count as zero, so a singular G gives a finite
    answer.
    """
    values, vectors = jnp.linalg.eigh(G)
    cutoff = jnp.finfo(G.dtype).eps * G.shape[-1] * values[-1]
    kept = values > cutoff
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0).astype(G.dtype)
    return vectors @ (inverse[:, None] * (vectors.conj().T @ b))
