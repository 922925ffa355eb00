"""The objective of ALS at its solution: gradient, how far it is from zero, derivatives of the fit.

½Σ W∘|T − M|² + ½ l2 Σ‖Aₙ‖² in the units of `Data`, its free factors balanced: all column norms of a
component equal, which is where the penalty is least.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._gram import pair_columns, product_of_others, square
from jkr._contractions._groups import all_modes
from jkr._contractions._partial import reconstruct
from jkr._contractions._precise import gram, matmul
from jkr._contractions._solve import inverse_root
from jkr.cp._implicit import Equations, Factors, Linear, balanced, pushed, stationary_point
from jkr.cp._loss import half_squares
from jkr.cp._model import CPTensor, column_norms
from jkr.cp._result import CPResult
from jkr.cp._sweep import Data, Options, measured, observed, prepared, unit_weights

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
    """Inverses of the diagonal blocks of JᴴJ + l2: one a mode, or under entry weights one a row."""
    (_, w, l2, _, _), factors = known[0], merged(free, known[1], options)
    rank, dtype = free[0].shape[1], free[0].dtype
    penalty = l2.astype(dtype) * jnp.eye(rank, dtype=dtype)
    grams = [gram(a, a) for a in factors]
    rows = None if w is None else all_modes(w, [pair_columns(a) for a in factors], None)

    def of_mode(n: int) -> Linear:
        if rows is None:
            F = inverse_root(product_of_others(grams, n) + penalty)
            return lambda v: matmul(matmul(v, F.T), F.conj())
        F = jax.vmap(inverse_root)(square(rows[n], rank) + penalty[None, :, :])
        return lambda v: jnp.einsum("isr,isq,iq->ir", F.conj(), F, v, precision="highest")

    return [of_mode(n) for n in options.free]


def _moving(free: Factors, known: Known, options: Options) -> list[Array]:
    """Not the zeros of nonnegative factors, nor, without a penalty, rows with nothing observed."""
    (_, w, l2, _, _), masks = known[0], []
    for n, a in zip(options.free, free, strict=True):
        mask = a != 0 if n in options.nonnegative else jnp.ones(a.shape, bool)
        if w is not None:
            seen = jnp.any(w != 0, axis=tuple(m for m in range(w.ndim) if m != n))
            mask = mask & ((l2 > 0) | seen)[:, None]
        masks.append(mask)
    return masks


def merged(free: Factors, fixed: Factors, options: Options) -> Factors:
    """All factors, in the order of the modes."""
    others: Iterator[Array] = iter(fixed)
    movable: Iterator[Array] = iter(free)
    order = len(free) + len(fixed)
    return tuple(next(movable if n in options.free else others) for n in range(order))


def parted(factors: Factors, options: Options) -> tuple[Factors, Factors]:
    """Free and fixed factors."""
    free = tuple(factors[n] for n in options.free)
    return free, tuple(a for n, a in enumerate(factors) if n not in options.free)


def stationarity(cp: CPTensor, data: Data, options: Options) -> Array:
    """The relative gradient of `CPResult` at a model in the units of the tensor."""
    units, fixed = parted(cp.factors, options)
    free = balanced(cp.weights / data.scale.astype(cp.weights.dtype), units)
    norms = [column_norms(a)[None, :] for a in merged(free, fixed, options)]
    slopes = gradient(free, (data, fixed), options)
    worst = jnp.zeros_like(data.norm)
    for n, a, g in zip(options.free, free, slopes, strict=True):
        if n in options.nonnegative:
            g = jnp.where(a == 0, jnp.minimum(g, 0), g)
        size = data.norm * jnp.max(product_of_others(norms, n))
        steepness = jnp.sqrt(jnp.sum((g * g.conj()).real)) / jnp.where(size > 0, size, 1)
        worst = jnp.maximum(worst, steepness)
    return jnp.where(jnp.isfinite(worst), worst, jnp.inf)


def differentiable(
    result: CPResult, x: Array, w: Array | None, l2: Array, fixed: Factors, options: Options
) -> CPResult:
    """The same result, with derivatives with respect to the data, l2 and the fixed factors."""
    result = lax.stop_gradient(result)
    scale, norm, _ = measured(*lax.stop_gradient((x, w)))
    known = prepared(x, w, l2, scale, norm, options), fixed
    units = parted(result.cp.factors, options)[0]
    unit = scale.astype(x.dtype)
    weights, units = stationary_point(equations(options), result.cp.weights / unit, units, known)
    cp = CPTensor(weights * unit, merged(units, fixed, options))
    error = _known_error(options, result.relative_error, cp, x, w, scale)
    return result._replace(cp=cp, relative_error=error, fit=1 - error)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _known_error(
    options: Options, value: Array, cp: CPTensor, x: Array, w: Array | None, scale: Array
) -> Array:
    """The relative error that was found, with the derivative of its definition."""
    return value


@partial(_known_error.defjvp, symbolic_zeros=True)
def _known_error_jvp(options, primals, tangents):
    def squared_error(cp, x, w, scale):
        # With entry weights, if only ones, because without them digits cancel near an exact fit.
        w = jnp.ones(x.shape, x.real.dtype) if w is None else unit_weights(w)
        seen = observed(jnp.where(jnp.isfinite(x), x, 0), w) / scale.astype(x.dtype)
        model = CPTensor(cp.weights / scale.astype(x.dtype), cp.factors)
        norm = jnp.sum(w * (seen * seen.conj()).real)
        return 2 * half_squares(model, seen, w, options.precision) / jnp.where(norm > 0, norm, 1)

    error = _known_error(options, *primals)
    there = error > 10 * float(jnp.finfo(error.dtype).eps)  # an exact fit is at a kink
    moved = pushed(squared_error, primals[1:], tangents[1:])
    return error, jnp.where(there, moved / (2 * jnp.where(there, error, 1)), 0)
