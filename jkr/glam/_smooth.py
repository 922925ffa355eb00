"""Penalised least squares on array data: P-spline smoothing in any number of dimensions.

    θ̂ = argmin ‖W½(y − X θ)‖² + Σₙ λₙ θᴴ(I ⊗ ⋯ ⊗ Pₙ ⊗ ⋯ ⊗ I)θ,     X = B_1 ⊗ ⋯ ⊗ B_d

The normal equations (XᴴWX + P) θ̂ = XᴴWy come from the array computations, so that the cells only
ever meet one basis at a time; they have ∏ Jₙ unknowns and are solved exactly. The effective degrees
of freedom, the trace of (XᴴWX + P)⁻¹XᴴWX, come from the same solve, and its derivatives from one
more: that is what makes generalised cross-validation a function to descend.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._definite import definite_solve
from jkr._linalg._dtypes import accumulator, promoted
from jkr._mesh import any_mesh
from jkr._products._pairing import paired
from jkr.glam._arrays import array_gram, fitted_values, projected, times_weights

# In order of severity, so that the largest status of a batch is its worst.
SOLVED, SINGULAR, NOT_FINITE, BAD_DATA, BAD_WEIGHTS, BAD_SMOOTHING = range(6)

MESSAGES = {
    SOLVED: "solved",
    SINGULAR: (
        "the penalised normal equations are singular to rounding, so the coefficients are not "
        "determined: larger smoothing parameters, fewer basis functions, or penalties that "
        "bridge the missing cells"
    ),
    NOT_FINITE: "the result is not finite; look for NaN and overflow in bases and penalties",
    BAD_DATA: "y holds NaN or inf; mark missing cells by entry_weights=0 there",
    BAD_WEIGHTS: "entry_weights need to be finite, nonnegative and not all zero",
    BAD_SMOOTHING: "smoothing parameters need to be finite and nonnegative",
}


class Smooth(NamedTuple):
    """A penalised fit of array data; a pytree, batched by `vmap` like any other.

    Attributes:
        coefficients: Θ (J_1, …, J_d).
        fitted: X θ (I_1, …, I_d), at missing cells too.
        edf: effective degrees of freedom, tr H = tr (XᴴWX + P)⁻¹XᴴWX, a real scalar.
        rss: weighted residual sum of squares, ‖W½(y − X θ)‖², a real scalar.
        gcv: generalised cross-validation, n·rss/(n − edf)², n the number of cells of weight not 0,
            a real scalar; inf where edf ≥ n.
        status: an integer scalar. 0 solved; 1 singular; 2 not finite; 3 NaN or inf in the data; 4
            weights that are negative, not finite or all zero; 5 smoothing parameters that are
            negative or not finite. `message` says it in words.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> y, P = jnp.array([0.0, 1.0, 2.0, 3.0]), jkr.glam.difference_penalty(4)
        >>> result = jkr.glam.smooth(y, [jnp.eye(4)], [P], jnp.array([10.0]))
        >>> result.coefficients.shape, result.message
        ((4,), 'solved')

    Source: [EM96]; [CDE06].
    """

    coefficients: Array
    fitted: Array
    edf: Array
    rss: Array
    gcv: Array
    status: Array

    @property
    def message(self) -> str:
        """What the status means and what to try; for a batch, the worst of its statuses."""
        return MESSAGES[int(jnp.max(self.status))]


@any_mesh
def smooth(
    y: ArrayLike,
    bases: Sequence[ArrayLike],
    penalties: Sequence[ArrayLike],
    smoothing: ArrayLike,
    *,
    entry_weights: ArrayLike | None = None,
) -> Smooth:
    """Penalised least squares on an array, with one basis, penalty and parameter a mode.

    θ̂ = argmin ‖W½(y − X θ)‖² + Σₙ λₙ θᴴ(I ⊗ ⋯ ⊗ Pₙ ⊗ ⋯ ⊗ I)θ, X = B_1 ⊗ ⋯ ⊗ B_d.

    With B-splines and difference penalties these are P-splines. A Poisson or binomial model is this
    on the working response and weights, a few times over. `vmap` fits many arrays, or parameters.

    The solve is exact: memory grows with (∏ Jₙ)² and time with (∏ Jₙ)³, so that a few thousand
    coefficients are its limit; of the cells there are copies and small multiples only. Normal
    equations square the condition number of X: in float32 coefficients keep three to six digits.
    Under a `jit` of your own let bases and weights be arguments: constants would be contracted
    while it compiles, slowly.

    Args:
        y: array (I_1, …, I_d), real or complex, d of 1 or more; masked ones included.
        bases: matrices (Iₙ, Jₙ), one a mode, a sequence.
        penalties: symmetric positive semi-definite matrices Pₙ (Jₙ, Jₙ), one a mode.
        smoothing: λ (d,), nonnegative, in the units of the weighted data; for gradients take its
            logarithm as the variable.
        entry_weights: real weights W of the cells, of the shape of y; 0 marks a missing cell, and
            what lies there, NaN included, is never read. None: all 1.

    Returns:
        Smooth, in the promoted dtype of y and bases; integers become the default float.

    Raises:
        ValueError: bases or penalties that are no sequence of matrices, one a mode; y, penalties,
            smoothing or entry_weights of another shape; complex weights or smoothing.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> from jkr import glam
        >>> x = jnp.linspace(0.0, 1.0, 20)
        >>> B, P = glam.bspline_basis(x, glam.uniform_knots(0, 1, 5)), glam.difference_penalty(8)
        >>> noise = 0.1 * jax.random.normal(jax.random.key(0), (20, 20))
        >>> y = jnp.sin(6 * x)[:, None] * x[None, :] + noise
        >>> gcv = lambda log: glam.smooth(y, [B, B], [P, P], jnp.exp(log)).gcv
        >>> slope = jax.jit(jax.grad(gcv))(jnp.zeros(2))
        >>> bool(gcv(-slope / jnp.linalg.norm(slope)) < gcv(jnp.zeros(2)))
        True

    Derivatives (R3), with respect to everything: one more solve with the same factor and ∏ Jₙ + 1
    right-hand sides, ẋ = A⁻¹(ḃ − Ȧx), by `lax.custom_linear_solve`; both modes, any order.

    Source: laws I15, I30; [CDE06]; [EM96]; [CW79] (generalised cross-validation).
    """
    name = "glam.smooth"
    arrays, rows, columns = _check.bases(name, bases)
    y, entry_weights = _check.data_and_weights(name, y, entry_weights)
    data = _check.array_of(name, "y", _check.inexact(name, y), rows)
    matrices = _check.penalties(name, penalties, columns)
    parameters = _check.smoothing(name, smoothing, len(rows))
    w = _check.weights_if_any(name, entry_weights, rows)
    data, *arrays = promoted(data, *arrays)
    dtype = data.dtype
    wide = accumulator(dtype)
    real = jnp.zeros((), wide).real.dtype
    result = _solved(
        data.astype(wide),
        [b.astype(wide) for b in arrays],
        [p.astype(wide) for p in matrices],
        parameters.astype(real),
        None if w is None else w.astype(real),
    )
    small = jnp.zeros((), dtype).real.dtype
    coefficients, model, *numbers, status = result
    edf, rss, gcv = (x.astype(small) for x in numbers)
    return Smooth(coefficients.astype(dtype), model.astype(dtype), edf, rss, gcv, status)


@jax.jit
def _solved(
    y: Array, bases: list[Array], penalties: list[Array], smoothing: Array, w: Array | None
) -> Smooth:
    exact = lax.Precision.HIGHEST
    G = array_gram(bases, w, exact)
    q = projected(bases, y if w is None else times_weights(y, w), exact).reshape(-1)
    A = G + _penalty(penalties, smoothing.astype(y.dtype))
    solution, singular = definite_solve(A, jnp.concatenate([q[:, None], G], axis=1))
    theta = solution[:, 0].reshape([b.shape[1] for b in bases])
    edf = jnp.trace(solution[:, 1:]).real
    model = fitted_values(bases, theta, exact)
    residual = y - model if w is None else jnp.where(w == 0, 0, y - model)
    squares = (residual * residual.conj()).real
    rss = jnp.sum(squares if w is None else w * squares)
    n = jnp.asarray(y.size if w is None else jnp.sum(w != 0), rss.dtype)
    left = jnp.where(n > edf, n - edf, 1)
    gcv = jnp.where(n > edf, n * rss / left**2, jnp.inf)
    status = _status(y, w, smoothing, theta, edf, singular)
    return Smooth(theta, model, edf, rss, gcv, status)


def _penalty(penalties: Sequence[Array], smoothing: Array) -> Array:
    """Σₙ λₙ I ⊗ ⋯ ⊗ Pₙ ⊗ ⋯ ⊗ I."""
    eyes = [jnp.eye(p.shape[0], dtype=p.dtype) for p in penalties]
    terms = [
        paired([*eyes[:n], smoothing[n] * p, *eyes[n + 1 :]], cross_rows=True, cross_columns=True)
        for n, p in enumerate(penalties)
    ]
    return sum(terms[1:], terms[0])


def _status(
    y: Array, w: Array | None, smoothing: Array, theta: Array, edf: Array, singular: Array
) -> Array:
    seen = jnp.isfinite(y) if w is None else jnp.isfinite(y) | (w == 0)
    conditions = [
        (~(jnp.isfinite(smoothing) & (smoothing >= 0)).all(), BAD_SMOOTHING),
        (~seen.all(), BAD_DATA),
        (~(jnp.isfinite(theta).all() & jnp.isfinite(edf)), NOT_FINITE),
        (singular, SINGULAR),
    ]
    if w is not None:
        fine = jnp.isfinite(w) & (w >= 0)
        conditions.insert(1, (~fine.all() | ~(w > 0).any(), BAD_WEIGHTS))
    flags, codes = zip(*conditions, strict=True)
    return jnp.select(flags, [jnp.int32(c) for c in codes], jnp.int32(SOLVED))
