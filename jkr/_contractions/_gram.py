"""Grams of Khatri–Rao products: (∗ms)ᴴ(∗ms) = ∘ₙ AₙᴴAₙ (I10ᴴ), and their weighted kin (J3).

The normal equations of every least-squares problem with a Khatri–Rao product start here.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._mttkrp import mttkrp
from jkr._linalg._dtypes import Precision, promoted, with_weights
from jkr._linalg._small import gram, pair_columns, square
from jkr._linalg._tangents import is_zero
from jkr._products._pairing import paired


def khatri_rao_gram(*ms: ArrayLike) -> Array:
    """Gram matrix of a Khatri–Rao product, (∗ms)ᴴ(∗ms) = ∘ₙ AₙᴴAₙ (I10ᴴ), never forming it.

    Args:
        *ms: matrices (..., I_n, R) with equal column counts; leading batch dimensions broadcast.

    Returns:
        Array (..., R, R), Hermitian, of the operands' (promoted) dtype; float16 and bfloat16 are
        accumulated in float32.

    Raises:
        ValueError: no matrix, fewer than two dimensions, unequal column counts, batches that do
            not broadcast, or a list of matrices (unpack it).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.khatri_rao_gram(jnp.ones((300, 1)), jnp.ones((400, 1)))
        Array([[120000.]], dtype=float32)

    Derivative (R1), with G₋ₙ the Hadamard product of the other Grams: Ġ = Σₙ Sₙ + Sₙᴴ,
    Sₙ = (AₙᴴȦₙ)∘G₋ₙ, whose transpose is Āₙ = conj(Aₙ)((Ḡ + Ḡᴴ)∘G₋ₙ), in JAX's convention for
    cotangents: one matrix product a factor, where plain autodiff of AᴴA, seeing two different
    arguments, takes two.
    Saved are the factors and their Grams; nothing of ∏ I_n rows exists in any derivative.

    Source: laws I10, I10ᴴ; Khatri & Rao, Sankhya 30 (1968) 167–180.
    """
    arrays = _check.matrices("khatri_rao_gram", ms, columns=True)
    return _gram(tuple(promoted(*arrays)))


@jax.custom_jvp
@jax.jit
def _gram(ms: tuple[Array, ...]) -> Array:
    return _hadamard(_grams(ms)).astype(ms[0].dtype)


@partial(_gram.defjvp, symbolic_zeros=True)
def _gram_jvp(primals, tangents):
    (ms,), (dms,) = primals, tangents
    grams = _grams(ms)
    batch = jnp.broadcast_shapes(*(g.shape for g in grams))
    total = jnp.zeros(batch, grams[0].dtype)
    for n, (a, da) in enumerate(zip(ms, dms, strict=True)):
        if not is_zero(da):
            total = total + _hadamard([gram(a, da), *grams[:n], *grams[n + 1 :]])
    return _gram(ms), (total + total.mT.conj()).astype(ms[0].dtype)


def _grams(ms: Sequence[Array]) -> list[Array]:
    return [gram(a, a) for a in ms]


def _hadamard(grams: Sequence[Array]) -> Array:
    return paired(grams, cross_rows=False, cross_columns=False)


def weighted_gram(
    entry_weights: ArrayLike,
    factors: Sequence[ArrayLike],
    mode: int,
    *,
    precision: Precision = None,
) -> Array:
    """Every row's weighted Gram KᴴWᵢK, K = ∗_{m≠n} A_m, Wᵢ = diag(row i of W₍ₙ₎), never forming K.

    G[i, r, s] = Σ W[i_1, …, i_N] ∏_{m≠n} conj(A_m[i_m, r]) A_m[i_m, s], over all indices with
    i_n = i. All rows at once are one MTTKRP of the weight tensor with the face-split factors
    conj(A_m) • A_m (J3ᴴ); each Gram is Hermitian, so that R(R+1)/2 of their columns do.

    Args:
        entry_weights: real tensor W (I_1, …, I_N) of weights; booleans count as 0 and 1.
        factors: factor matrices (I_m, R), one a mode; the one of mode n counts only by its shape.
        mode: n, counted from 0; negative modes count from the end.
        precision: of the matrix product with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Array (I_n, R, R), of the operands' (promoted) dtype; integers and booleans become the
        default float.

    Raises:
        ValueError: weights that are complex or of order 0, factors that are no sequence of matrices
            with equal column counts and one row for each index of their mode, or a mode out of
            range or no int.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> factors = [jnp.ones((n, 1)) for n in (2, 3, 4)]
        >>> jkr.weighted_gram(jnp.ones((2, 3, 4)), factors, 0).ravel()
        Array([12., 12.], dtype=float32)

    Derivative: that of `mttkrp` (R2).

    Source: laws I30, J2, J3, J3ᴴ; Currie, Durban & Eilers, JRSS B 68 (2006) 259–280,
    doi:10.1111/j.1467-9868.2006.00543.x.
    """
    w = _check.tensor("weighted_gram", entry_weights)
    arrays, rank = _check.factors("weighted_gram", factors, w.shape)
    n = _check.mode("weighted_gram", mode, w.ndim)
    w = _check.inexact("weighted_gram", _check.real("weighted_gram", "entry_weights", w))
    w, arrays = with_weights(w, [_check.inexact("weighted_gram", a) for a in arrays])
    w = w.astype(arrays[0].dtype)
    upper = mttkrp(w, [pair_columns(a) for a in arrays], n, precision=precision)
    return square(upper, rank)
