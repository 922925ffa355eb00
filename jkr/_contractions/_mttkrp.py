"""MTTKRP, the matricised tensor times Khatri–Rao product X₍ₙ₎(∗_{m≠n} A_m)."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check


def mttkrp(tensor: ArrayLike, factors: Sequence[ArrayLike], mode: int) -> Array:
    """Matricised tensor times Khatri–Rao product, X₍ₙ₎(∗_{m≠n} A_m).

    Y[i_n, r] = Σ X[i_1, …, i_N] ∏_{m≠n} A_m[i_m, r], multilinear in its arguments: nothing is
    conjugated.

    Args:
        tensor: tensor (I_1, …, I_N), N ≥ 1.
        factors: factor matrices (I_m, R), one a mode; the one of mode n counts only by its shape.
        mode: n, counted from 0; negative modes count from the end.

    Returns:
        Array (I_n, R), of the operands' (promoted) dtype.

    Raises:
        ValueError: factors that are no sequence of matrices with equal column counts and one row
            for each index of their mode, or a mode out of range.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.mttkrp(jnp.ones((2, 3, 4)), [jnp.ones((n, 1)) for n in (2, 3, 4)], 0).ravel()
        Array([12., 12.], dtype=float32)

    Source: law J5; Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, section
    3.4.
    """
    x = _check.tensor("mttkrp", tensor)
    arrays, _ = _check.factors("mttkrp", factors, x.shape)
    n = _check.mode("mttkrp", mode, x.ndim)
    r = x.ndim
    operands = [part for m, a in enumerate(arrays) if m != n for part in (a, [m, r])]
    if not operands:
        return jnp.broadcast_to(x[:, None], arrays[n].shape)
    return jnp.einsum(x, list(range(r)), *operands, [n, r])
