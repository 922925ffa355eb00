"""The compiled programs of ALS: a whole fit, or its parts where Python drives the sweeps.

A fit measures the data, makes a start, sweeps until the fit settles, recomputes the fit from the
residual once and looks at its gradient: five passes over the tensor beside those of the sweeps.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._precise import accumulator
from jkr._contractions._residual import squared_residual
from jkr._contractions._solve import is_singular
from jkr._products._hadamard import hadamard
from jkr.cp import _result
from jkr.cp._fit import best, drive, run
from jkr.cp._least_squares import differentiable, stationarity
from jkr.cp._model import CPTensor, square_root
from jkr.cp._result import CPResult
from jkr.cp._start import drawn
from jkr.cp._sweep import (
    ALSState,
    Data,
    Options,
    inner,
    measured,
    observed,
    outer,
    prepared,
    sweep,
    unit_columns,
    unit_weights,
)


def _begin(x, w, given, key, kind, rank, options) -> tuple[ALSState, Array]:
    """The state before the first sweep, and a status that tells of bad data."""
    scale, norm, status = measured(x, w)
    if given is None:
        cp = drawn(kind, key, observed(x, w) / scale.astype(x.dtype), rank)
        # As large as the data, so that a penalty has something to weigh.
        size = jnp.where(norm > 0, norm, 1) * scale / rank**0.5
        sizes = size.astype(x.dtype) * jnp.ones_like(cp.weights)
        units = (
            unit_columns(jnp.abs(a) if n in options.nonnegative else a, a)[1]
            for n, a in enumerate(cp.factors)
        )
        cp = CPTensor(sizes, tuple(units))
    else:
        given = jax.tree.map(lambda a: a.astype(x.dtype), given)
        cp = _absorbed(given, norm * scale, options)
    fit = jnp.where(status == _result.CONVERGED, -jnp.inf, jnp.nan).astype(norm.dtype)
    start = ALSState(cp, fit, jnp.full_like(fit, jnp.inf), jnp.zeros((), int), scale, norm)
    return start, status


def _absorbed(given: CPTensor, size: Array, options: Options) -> CPTensor:
    """A given start with unit columns and nonnegative weights, fixed factors as they are.

    Weights above a million times the size of the data say no more than that they are large.
    """
    total, factors = jnp.ones_like(given.weights.real), list(given.factors)
    signed = [n for n in options.free if n not in options.nonnegative] or options.free
    for n in options.free:
        a = factors[n] * given.weights[None, :] if n == signed[-1] else factors[n]
        norms, factors[n] = unit_columns(jnp.maximum(a, 0) if n in options.nonnegative else a, a)
        total = total * norms.real
    most = 1e6 * jnp.where(size > 0, size, 1)
    return CPTensor(jnp.minimum(total, most).astype(given.weights.dtype), tuple(factors))


def _finished(x, w, data, state, history, tol, status, dtype, options) -> CPResult:
    """The result: the exact fit, its gradient, and how it ended.

    The model is in the accumulator's dtype, and to be rounded to the given one.
    """
    weights, factors, grams, *_ = inner(state, options)
    unit = None if w is None else unit_weights(w)
    squared = squared_residual(weights, factors, x, unit, scale=state.scale, precision="highest")
    relative_error = square_root(squared) / jnp.where(state.norm > 0, state.norm, 1)
    fit = 1 - relative_error
    converged = state.change < tol
    slope = stationarity(state.cp, data, options)
    eps = float(jnp.finfo(x.dtype).eps)
    vanished = jnp.any(weights.real <= eps * jnp.max(weights.real))
    dependent = vanished | is_singular(hadamard(*grams), eps**0.5)
    ended = jnp.where(slope > _result.ROUGH_ABOVE, _result.ROUGH, _result.CONVERGED)
    ended = jnp.where(dependent, _result.DEPENDENT, ended)
    ended = jnp.where(converged, ended, _result.MAX_ITERS)
    rounded = [a.astype(dtype) for a in jax.tree.leaves(state.cp)]
    finite = jnp.stack([jnp.all(jnp.isfinite(a)) for a in rounded])
    broken = jnp.isnan(state.fit) | ~jnp.isfinite(fit) | ~jnp.all(finite)
    ended = jnp.where(broken, _result.NOT_FINITE, ended)
    return CPResult(
        cp=state.cp,
        fit=fit,
        relative_error=relative_error,
        iterations=state.iteration,
        converged=converged,
        status=jnp.maximum(ended, status).astype(jnp.int32),
        stationarity=slope,
        history=jnp.where(jnp.arange(len(history)) < state.iteration - 1, history, fit),
    )


def _widened(x: Array, w: Array | None) -> tuple[Array, Array | None]:
    x = x.astype(accumulator(x.dtype))
    return x, None if w is None else w.astype(x.real.dtype)


def _rounded(result: CPResult, dtype) -> CPResult:
    return result._replace(cp=jax.tree.map(lambda a: a.astype(dtype), result.cp))


# Compiled once for each shape and set of static options.


@partial(jax.jit, static_argnums=(6, 7, 8, 9, 10))
def fit(x, w, given, key, l2, tol, kind, rank, restarts, max_iters, options) -> CPResult:
    dtype, (wide, wide_w) = x.dtype, _widened(x, w)

    def fitted(key: Array | None) -> CPResult:
        x, w, start, penalty = lax.stop_gradient((wide, wide_w, given, l2))
        state, status = _begin(x, w, start, key, kind, rank, options)
        data = prepared(x, w, penalty, state.scale, state.norm, options)
        one_sweep = partial(sweep, data, options=options)
        last, history = run(one_sweep, inner(state, options), tol, max_iters)
        last = outer(last, state, options)
        return _finished(x, w, data, last, history, tol, status, dtype, options)

    if restarts == 1:
        result = fitted(key)
    else:
        result = best(jax.vmap(fitted)(jax.random.split(key, restarts)))
    every = () if given is None else given.factors
    fixed = tuple(a.astype(wide.dtype) for n, a in enumerate(every) if n not in options.free)
    return _rounded(differentiable(result, wide, wide_w, l2, fixed, options), dtype)


@partial(jax.jit, static_argnums=(4, 5, 6))
def first(x, w, given, key, kind, rank, options) -> tuple[ALSState, Array]:
    return _begin(*_widened(x, w), given, key, kind, rank, options)


@partial(jax.jit, static_argnums=3)
def prepare(x, w, l2, options, state) -> Data:
    return prepared(*_widened(x, w), l2, state.scale, state.norm, options)


@partial(jax.jit, static_argnames="options")
def step(data, state, options) -> ALSState:
    return outer(sweep(data, inner(state, options), options), state, options)


@partial(jax.jit, static_argnums=7)
def finish(x, w, data, state, history, tol, status, options) -> CPResult:
    result = _finished(*_widened(x, w), data, state, history, tol, status, x.dtype, options)
    return _rounded(result, x.dtype)


def driven(x, w, given, key, l2, tol, kind, rank, restarts, max_iters, options, show) -> CPResult:
    """`fit` from Python, restarts one after the other; Ctrl-C keeps what there is."""
    keys = [key] if restarts == 1 else list(jax.random.split(key, restarts))
    results, interrupted = [], False
    for k, key in enumerate(keys):
        title = "ALS" if restarts == 1 else f"ALS, start {k + 1} of {restarts}"
        try:
            state, status = first(x, w, given, key, kind, rank, options)
            data = prepare(x, w, l2, options, state)
            sweep_once = partial(step, data, options=options)
            state, history, interrupted = drive(
                sweep_once, state, tol, max_iters, title=title, **show
            )
            results.append(finish(x, w, data, state, history, tol, status, options))
        except KeyboardInterrupt:
            if not results:
                raise
            interrupted = True
        if interrupted:
            break
    winner = best(jax.tree.map(lambda *leaves: jnp.stack(leaves), *results))
    status = jnp.maximum(winner.status, _result.INTERRUPTED) if interrupted else winner.status
    return winner._replace(status=status)
