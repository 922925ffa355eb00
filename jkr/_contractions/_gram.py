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
from jkr._linalg._dtypes import promoted
from jkr._linalg._small import gram
from jkr._linalg._tangents import is_zero
from jkr._mesh import any_mesh
from jkr._products._pairing import paired


@any_mesh
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
