"""CP reconstruction ⟦A_1, …, A_N⟧, the transpose of MTTKRP (J5)."""

from collections.abc import Sequence
from functools import partial

import jax
from jax import Array

from jkr._contractions import _partial
from jkr._linalg._dtypes import Precision


@partial(jax.jit, static_argnums=1)
def reconstruct(factors: Sequence[Array], precision: Precision = None) -> Array:
    """X[i_1, …, i_N] = Σ_r ∏ₙ Aₙ[i_n, r], the only tensor-sized array being X.

    Derivative (R2): Āₙ = the mode-n MTTKRP of the cotangent X̄ (J5); saved are only the factors.
    """
    kernel = partial(_partial.reconstruct, precision=precision)
    return jax.checkpoint(kernel, prevent_cse=False)(factors)


def dense(weights: Array, factors: Sequence[Array], precision: Precision = None) -> Array:
    """⟦λ; A_1, …, A_N⟧, the tensor of a model; its weights ride on the shortest factor (I4)."""
    n = min(range(len(factors)), key=lambda n: factors[n].shape[0])
    scaled = factors[n] * weights[None, :]
    return reconstruct((*factors[:n], scaled, *factors[n + 1 :]), precision)
