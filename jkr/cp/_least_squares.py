"""The objective of ALS at its solution: gradient, how far it is from zero, derivatives of the fit.

½Σ W∘|T − M|² + ½ l2 Σ‖Aₙ‖² in the units of `Data`, its free factors balanced: all column norms of a
component equal, which is where the penalty is least.
"""

from functools import partial

import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._partial import reconstruct
from jkr._contractions._passes import all_modes
from jkr._linalg._small import gram, matmul, product_of_others
from jkr.cp._data import Options, measured, observed, unit_weights
from jkr.cp._equations import attached, held, merged, moving, parted, preconditioners
from jkr.cp._equations import relative_gradient as _relative
from jkr.cp._fit import Problem
from jkr.cp._implicit import Equations, Factors, Linear, balanced
from jkr.cp._loss import half_squares
from jkr.cp._model import CPTensor
from jkr.cp._result import CPResult
from jkr.cp._sweep import Data, prepared

Known = tuple[Data, Factors]  # the data, and the factors of the fixed modes


def equations(options: Options) -> Equations:
    """The stationarity equations of a fit with these options, in `Known`."""
    return Equations(
        partial(gradient, options=options),
        partial(_preconditioners, options=options),
        partial(_moving, options=options),
    )


def gradient(free: Factors, known: Known, options: Options) -> Factors:
    """Aₙ Γₙᵀ − T₍ₙ₎K̄ₙ + l2 Aₙ, or (W∘(M − T))₍ₙ₎K̄ₙ + l2 Aₙ, of the free modes.

    Γₙ is the Hadamard product of the other Grams, Kₙ the Khatri–Rao product of the other factors,
    T in units of its scale.
    """
    (x, w, l2, scale, _), factors = known[0], merged(free, known[1], options)
    conjugate = tuple(a.conj() for a in factors)
    if w is None:
        ys = all_modes(x, conjugate, options.precision)
        grams = [gram(a, a) for a in factors]
        slopes = (
            matmul(a, product_of_others(grams, n).T) - y / scale.astype(x.dtype)
            for n, (a, y) in enumerate(zip(factors, ys, strict=True))
        )
    else:
        residual = w * reconstruct(factors, options.precision) - x / scale.astype(x.dtype)
        residual = jnp.where(w == 0, 0, residual)  # what weighs nothing has no derivative
        slopes = all_modes(residual, conjugate, options.precision)
    penalty = l2.astype(x.dtype)
    return tuple(g + penalty * factors[n] for n, g in enumerate(slopes) if n in options.free)


def _preconditioners(free: Factors, known: Known, options: Options) -> list[Linear]:
    data, fixed = known
    return preconditioners(merged(free, fixed, options), data.w, data.l2, options)


def _moving(free: Factors, known: Known, options: Options) -> list[Array]:
    return moving(free, known[0].w, known[0].l2, options)


def stationarity(cp: CPTensor, data: Data, options: Options) -> Array:
    """The relative gradient of `CPResult` at a model in the units of the tensor."""
    units, fixed = parted(cp.factors, options)
    free = balanced(cp.weights / data.scale.astype(cp.weights.dtype), units)
    slopes = gradient(free, (data, fixed), options)
    return _relative(slopes, merged(free, fixed, options), data.norm, options)


def differentiable(result: CPResult, problem: Problem, options: Options) -> CPResult:
    """The same result, with derivatives with respect to the data, l2 and the fixed factors."""
    x, w, _, l2 = problem
    scale, norm, _ = measured(*lax.stop_gradient((x, w)))
    fixed = held(problem, options)
    known = prepared(x, w, l2, scale, norm, options), fixed
    error, unit = partial(_squared_error, options=options), scale.astype(x.dtype)
    return attached(result, equations(options), known, unit, fixed, error, (x, w, scale), options)


def _squared_error(
    cp: CPTensor, x: Array, w: Array | None, scale: Array, options: Options
) -> Array:
    # With entry weights, if only ones, because without them digits cancel near an exact fit.
    w = jnp.ones(x.shape, x.real.dtype) if w is None else unit_weights(w)
    seen = observed(jnp.where(jnp.isfinite(x), x, 0), w) / scale.astype(x.dtype)
    model = CPTensor(cp.weights / scale.astype(x.dtype), cp.factors)
    norm = jnp.sum(w * (seen * seen.conj()).real)
    return 2 * half_squares(model, seen, w, options.precision) / jnp.where(norm > 0, norm, 1)
