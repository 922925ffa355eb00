"""What the fits share of their stationarity equations, and the derivatives of a result from them.

A fit's own module gives the gradient of its objective; here stand the entries that move, the
preconditioners that its Hessian has where K, the Khatri–Rao product of the other factors, meets
the second derivative of the loss, and how the solution and its fit become functions of the data.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._passes import all_modes
from jkr._linalg._norms import column_norms
from jkr._linalg._psd import inverse_root
from jkr._linalg._small import gram, matmul, pair_columns, product_of_others, square
from jkr.cp._data import Options, seen_rows
from jkr.cp._fit import Problem
from jkr.cp._implicit import Equations, Factors, Linear, pushed, stationary_point
from jkr.cp._model import CPTensor
from jkr.cp._result import CPResult


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


def held(problem: Problem, options: Options) -> Factors:
    """The factors of the fixed modes."""
    given = () if problem.given is None else problem.given.factors
    return tuple(a.astype(problem.x.dtype) for n, a in enumerate(given) if n not in options.free)


def moving(free: Factors, w: Array | None, l2: Array, options: Options) -> list[Array]:
    """Not the zeros of nonnegative factors, nor, without a penalty, rows with nothing observed."""
    masks, seen = [], None if w is None else seen_rows(w)
    for n, a in zip(options.free, free, strict=True):
        mask = a != 0 if n in options.nonnegative else jnp.ones(a.shape, bool)
        if seen is not None:
            mask = mask & ((l2 > 0) | seen[n])[:, None]
        masks.append(mask)
    return masks


def preconditioners(
    factors: Factors, curvature: Array | None, l2: Array, options: Options
) -> list[Linear]:
    """Inverses of the diagonal blocks of JᴴHJ + l2, H the second derivatives of the loss.

    Without a curvature H is 1, and the blocks of one mode are one matrix, ∘_{m≠n} A_mᴴA_m; with
    one, a tensor of nonnegative entries, every row has its own (J3ᴴ).
    """
    rank, dtype = factors[0].shape[1], factors[0].dtype
    penalty = l2.astype(dtype) * jnp.eye(rank, dtype=dtype)
    grams = [gram(a, a) for a in factors]
    rows = (
        None
        if curvature is None
        else all_modes(curvature.astype(dtype), [pair_columns(a) for a in factors], None)
    )

    def of_mode(n: int) -> Linear:
        if rows is None:
            F = inverse_root(product_of_others(grams, n) + penalty)
            return lambda v: matmul(matmul(v, F.T), F.conj())
        F = jax.vmap(inverse_root)(square(rows[n], rank) + penalty[None, :, :])
        return lambda v: jnp.einsum("isr,isq,iq->ir", F.conj(), F, v, precision="highest")

    return [of_mode(n) for n in options.free]


def relative_gradient(slopes: Factors, factors: Factors, size: Array, options: Options) -> Array:
    """`CPResult.stationarity`: the largest of all free modes' gradients, relative.

    Args:
        slopes: gradients with respect to the free factors.
        factors: all factors, balanced.
        size: of what the gradient is made of, a norm over the tensor's entries.
        options: of the fit.
    """
    norms = [column_norms(a)[None, :] for a in factors]
    worst = jnp.zeros_like(size)
    for n, g in zip(options.free, slopes, strict=True):
        if n in options.nonnegative:
            g = jnp.where(factors[n] == 0, jnp.minimum(g, 0), g)
        whole = size * jnp.max(product_of_others(norms, n))
        steepness = column_norms(g.reshape(-1, 1))[0] / jnp.where(whole > 0, whole, 1)
        worst = jnp.maximum(worst, steepness)
    return jnp.where(jnp.isfinite(worst), worst, jnp.inf)


def attached(
    result: CPResult,
    equations: Equations,
    known: Any,
    unit: Array,
    fixed: Factors,
    squared_error: Callable[..., Array],
    arguments: Sequence[Any],
    options: Options,
) -> CPResult:
    """The same result as a function of what is known (R7).

    Args:
        result: of a fit.
        equations: that it fulfils.
        known: what they depend on.
        unit: that of the weights in the equations.
        fixed: factors of the fixed modes.
        squared_error: (model, *arguments) to the square of its relative error.
        arguments: the data.
        options: of the fit.
    """
    result = lax.stop_gradient(result)
    units = parted(result.cp.factors, options)[0]
    weights, units = stationary_point(equations, result.cp.weights / unit, units, known)
    cp = CPTensor(weights * unit, merged(units, fixed, options))
    error = _known_error(squared_error, result.relative_error, (cp, *arguments))
    return result._replace(cp=cp, relative_error=error, fit=1 - error)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _known_error(squared_error: Callable[..., Array], value: Array, arguments: tuple) -> Array:
    """The relative error that was found, with the derivative of its definition."""
    return value


@partial(_known_error.defjvp, symbolic_zeros=True)
def _known_error_jvp(squared_error, primals, tangents):
    error = _known_error(squared_error, *primals)
    there = error > 10 * float(jnp.finfo(error.dtype).eps)  # an exact fit is at a kink
    moved = pushed(squared_error, primals[1], tangents[1])
    return error, jnp.where(there, moved / (2 * jnp.where(there, error, 1)), 0)
