"""MTTKRP, the matricised tensor times Khatri–Rao product, of one mode or of all.

Yₙ = X₍ₙ₎(∗_{m≠n} A_m). The modes are split in two groups, one matrix product contracts X with the
group that n is not in, and a second stage, small, contracts the rest (`_partial`). The split is
the same for all modes of one tensor (`_split`), so that all N of them cost two passes over X:
explicitly in `mttkrps`, and by common-subexpression elimination where `mttkrp` is called for
several modes under one `jit`. A tensor with one long mode between short ones goes slice by slice
instead (`_slices`).
"""

from collections.abc import Sequence
from functools import partial

import jax
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._passes import all_modes, one_mode
from jkr._linalg._dtypes import Precision, promoted


def mttkrp(
    tensor: ArrayLike, factors: Sequence[ArrayLike], mode: int, *, precision: Precision = None
) -> Array:
    """Matricised tensor times Khatri–Rao product, X₍ₙ₎(∗_{m≠n} A_m), never formed.

    Y[i_n, r] = Σ X[i_1, …, i_N] ∏_{m≠n} A_m[i_m, r], multilinear in its arguments: nothing is
    conjugated.

    Args:
        tensor: tensor (I_1, …, I_N), N ≥ 1.
        factors: factor matrices (I_m, R), one a mode; the one of mode n counts only by its shape.
        mode: n, counted from 0; negative modes count from the end.
        precision: of the matrix product with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Array (I_n, R), of the operands' (promoted) dtype; float16 and bfloat16 are accumulated in
        float32.

    Raises:
        ValueError: a tensor of order 0, factors that are no sequence of matrices with equal column
            counts and one row for each index of their mode, or a mode out of range or no int.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.mttkrp(jnp.ones((2, 3, 4)), [jnp.ones((n, 1)) for n in (2, 3, 4)], 0).ravel()
        Array([12., 12.], dtype=float32)

    Derivative (R2): MTTKRP and reconstruction are each other's transposes (J5), so with the
    cotangent Ȳ, X̄ = ⟦A_1, …, Ȳ (in place of Aₙ), …, A_N⟧, and Ā_m = the mode-m MTTKRP with Ȳ in
    place of Aₙ. That is what JAX's transposition of the two stages computes; saved are only the
    arguments. Plain autodiff saves the partial contractions too, at every step of a `scan`.

    Source: law J5; Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, section
    3.4; splitting the modes: Phan, Tichavský & Cichocki, IEEE Trans. Signal Process. 61 (2013)
    4834–4846, doi:10.1109/TSP.2013.2269903.
    """
    x = _check.tensor("mttkrp", tensor)
    arrays, _ = _check.factors("mttkrp", factors, x.shape)
    n = _check.mode("mttkrp", mode, x.ndim)
    x, *arrays = promoted(x, *arrays)
    return _mttkrp(x, tuple(arrays), n, precision)


@partial(jax.jit, static_argnums=(2, 3))
def _mttkrp(x: Array, factors: tuple[Array, ...], n: int, precision: Precision) -> Array:
    # R2 is this checkpoint. It recomputes the partial contractions where they are needed again
    # (a compiler that sees both copies, outside a scan, still shares them: prevent_cse=False).
    kernel = partial(one_mode, mode=n, precision=precision)
    return jax.checkpoint(kernel, prevent_cse=False)(x, factors)


def mttkrps(
    tensor: ArrayLike, factors: Sequence[ArrayLike], *, precision: Precision = None
) -> tuple[Array, ...]:
    """MTTKRPs of all modes, (mttkrp(X, factors, 0), …), from two passes over the tensor.

    Args:
        tensor: tensor (I_1, …, I_N), N ≥ 1.
        factors: factor matrices (I_m, R), one a mode.
        precision: of the matrix products with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Tuple of N arrays (I_n, R), of the operands' (promoted) dtype.

    Raises:
        ValueError: a tensor of order 0, or factors that are no sequence of matrices with equal
            column counts and one row for each index of their mode.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> ys = jkr.mttkrps(jnp.ones((2, 3, 4)), [jnp.ones((n, 1)) for n in (2, 3, 4)])
        >>> [float(y[0, 0]) for y in ys]
        [12.0, 8.0, 6.0]

    Derivative (R2): as for `mttkrp`; all cotangents together cost a few passes over the tensor,
    whatever the number of modes.

    Source: as for `mttkrp`: law J5, and doi:10.1109/TSP.2013.2269903 for the two passes.
    """
    x = _check.tensor("mttkrps", tensor)
    arrays, _ = _check.factors("mttkrps", factors, x.shape)
    x, *arrays = promoted(x, *arrays)
    return _mttkrps(x, tuple(arrays), precision)


@partial(jax.jit, static_argnums=2)
def _mttkrps(x: Array, factors: tuple[Array, ...], precision: Precision) -> tuple[Array, ...]:
    kernel = partial(all_modes, precision=precision)
    return jax.checkpoint(kernel, prevent_cse=False)(x, factors)
