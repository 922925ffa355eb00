"""Least squares with a Khatri–Rao matrix, by its normal equations (J1)."""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._gram import khatri_rao_gram
from jkr._contractions._matmul import khatri_rao_rmatmul
from jkr._linalg._dtypes import Precision, accumulator, promoted
from jkr._linalg._psd import psd_solve
from jkr._mesh import any_mesh


@any_mesh
def khatri_rao_lstsq(
    ms: Sequence[ArrayLike], y: ArrayLike, *, l2: ArrayLike = 0.0, precision: Precision = None
) -> Array:
    """Least squares with K = ∗ms: argmin ‖K x − y‖² + l2‖x‖², of minimum norm; K is never formed.

    x = (KᴴK + l2 I)⁺ Kᴴ y with KᴴK = ∘ₙ AₙᴴAₙ (J1, I10ᴴ), whatever the rank of K.

    Normal equations square the condition number of K: where it exceeds 1/√eps (3·10³ in float32,
    7·10⁷ in float64), directions that y hardly sees count as dependent, and x is finite but no
    longer accurate along them; a little `l2` says which answer is wanted. The squares of ∏ Aₙ
    need to be in range: entries of K between 1e-18 and 1e18 in float32.

    Args:
        ms: matrices (I_n, R), a sequence.
        y: (∏ I_n,) or (∏ I_n, k).
        l2: nonnegative scalar, in the units of ‖K‖²; a traced one below 0 gives NaN.
        precision: of the matrix product with y, as in `jax.lax.dot_general`; Gram and solve are
            always in full precision.

    Returns:
        Array (R,) or (R, k), of the operands' (promoted) dtype, finite for finite data; integers
        are solved in the default float.

    Raises:
        ValueError: ms that are no sequence of matrices with equal column counts, y of another
            number of rows, l2 that is no real scalar, or negative.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> ms = [jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [1.0]])]
        >>> jkr.khatri_rao_lstsq(ms, jkr.khatri_rao(*ms) @ jnp.array([3.0]))
        Array([3.], dtype=float32)

    Derivative (R3): one more solve with the same factor, ẋ = G⁺(ḃ − Ġx), by
    `lax.custom_linear_solve`; both modes, any order. Where the Gram is singular the minimum-norm
    solution jumps when the rank changes and has no derivative; this one is finite, and that of
    the solution within the range of the Gram. Plain autodiff of a factorisation is NaN there,
    and that of `jnp.linalg.lstsq` forms K.

    Source: law J1; [KB09], section 2.6.
    """
    name = "khatri_rao_lstsq"
    arrays, _ = _check.factors(name, ms, what="ms")
    arrays = [_check.inexact(name, a) for a in arrays]
    rows = prod(a.shape[0] for a in arrays)
    y, _ = _check.right_hand_side(name, "y", _check.inexact(name, y), rows)
    y, *arrays = promoted(y, *arrays)
    wide = accumulator(y.dtype)
    b = khatri_rao_rmatmul([a.astype(wide) for a in arrays], y.astype(wide), precision=precision)
    return normal_solve(name, arrays, b, l2).astype(y.dtype)


def normal_solve(name: str, ms: Sequence[Array], b: Array, l2: ArrayLike) -> Array:
    """(KᴴK + l2 I)⁺ b with K = ∗ms, for b = Kᴴy of whatever y (J1); in the accumulator's dtype."""
    wide = accumulator(ms[0].dtype)
    penalty = _check.at_least_zero(name, "l2", l2, jnp.finfo(wide).dtype)
    gram = khatri_rao_gram(*(a.astype(wide) for a in ms))
    penalty = jnp.asarray(penalty).astype(wide)
    return _solve(gram + penalty * jnp.eye(gram.shape[0], dtype=wide), b.astype(wide))


_solve = jax.jit(psd_solve)  # its loop would be compiled anew at every call outside `jit`
