"""The compiled programs of ALS: a whole fit, or its parts where Python drives the sweeps.

A fit measures the data, makes a start, sweeps until the fit settles, and recomputes the fit from
the residual once: three passes over the tensor beside those of the sweeps.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from jkr._contractions._precise import accumulator
from jkr._contractions._residual import squared_residual
from jkr._contractions._solve import is_singular
from jkr._products._hadamard import hadamard
from jkr.cp import _result
from jkr.cp._fit import best, drive, run
from jkr.cp._model import CPTensor, square_root
from jkr.cp._result import CPResult
from jkr.cp._start import drawn
from jkr.cp._sweep import (
    ALSState,
    Data,
    Options,
    inner,
    measured,
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
        observed = x if w is None else jnp.where(w == 0, 0, x)
        observed = observed / scale.astype(x.dtype) if kind == "svd" else observed
        cp = drawn(kind, key, observed, rank)
        # As large as the data, so that a penalty has something to weigh.
        size = jnp.where(norm > 0, norm, 1) * scale / rank**0.5
        sizes = size.astype(x.dtype) * jnp.ones_like(cp.weights)
        units = (
            unit_columns(jnp.abs(a) if n in options.nonnegative else a, a)[1]
            for n, a in enumerate(cp.factors)
        )
        cp = CPTensor(sizes, tuple(units))
    else:
        cp = _absorbed(jax.tree.map(lambda a: a.astype(x.dtype), given), options)
    fit = jnp.where(status == _result.CONVERGED, -jnp.inf, jnp.nan).astype(norm.dtype)
    start = ALSState(cp, fit, jnp.full_like(fit, jnp.inf), jnp.zeros((), int), scale, norm)
    return start, status


def _absorbed(given: CPTensor, options: Options) -> CPTensor:
    """A given start with unit columns and nonnegative weights, fixed factors as they are."""
    total, factors = jnp.ones_like(given.weights), list(given.factors)
    for n in options.free:
        a = factors[n]
        a = a * given.weights[None, :] if n == options.free[-1] else a
        norms, factors[n] = unit_columns(jnp.maximum(a, 0) if n in options.nonnegative else a, a)
        total = total * norms
    return CPTensor(total, tuple(factors))


def _finished(x, wide, w, state, history, tol, status, options) -> CPResult:
    """The result: the exact fit, one pass over the tensor, and how it ended."""
    weights, factors, grams, *_ = inner(state, options)
    unit = None if w is None else unit_weights(w)
    squared = squared_residual(weights, factors, wide, unit, scale=state.scale, precision="highest")
    relative_error = square_root(squared) / jnp.where(state.norm > 0, state.norm, 1)
    fit = 1 - relative_error
    converged = state.change < tol
    eps = float(jnp.finfo(wide.dtype).eps)
    vanished = jnp.any(weights.real <= eps * jnp.max(weights.real))
    dependent = vanished | is_singular(hadamard(*grams), eps**0.5)
    ended = jnp.where(dependent, _result.DEPENDENT, _result.CONVERGED)
    ended = jnp.where(converged, ended, _result.MAX_ITERS)
    broken = jnp.isnan(state.fit) | ~jnp.isfinite(fit)
    ended = jnp.where(broken, _result.NOT_FINITE, ended)
    return CPResult(
        cp=jax.tree.map(lambda a: a.astype(x.dtype), state.cp),
        fit=fit,
        relative_error=relative_error,
        iterations=state.iteration,
        converged=converged,
        status=jnp.maximum(ended, status).astype(jnp.int32),
        history=jnp.where(jnp.arange(len(history)) < state.iteration - 1, history, fit),
    )


def _widened(x: Array, w: Array | None) -> tuple[Array, Array | None]:
    x = x.astype(accumulator(x.dtype))
    return x, None if w is None else w.astype(x.real.dtype)


# Compiled once for each shape and set of static options.


@partial(jax.jit, static_argnums=(6, 7, 8, 9, 10))
def fit(x, w, given, key, l2, tol, kind, rank, restarts, max_iters, options) -> CPResult:
    wide, wide_w = _widened(x, w)

    def fitted(key: Array | None) -> tuple[ALSState, Array, Array]:
        state, status = _begin(wide, wide_w, given, key, kind, rank, options)
        data = prepared(wide, wide_w, l2, state, options)
        one_sweep = partial(sweep, data, options=options)
        last, history = run(one_sweep, inner(state, options), tol, max_iters)
        return outer(last, state, options), history, status

    if restarts == 1:
        state, history, status = fitted(key)
    else:
        state, history, status = best(jax.vmap(fitted)(jax.random.split(key, restarts)))
    return _finished(x, wide, wide_w, state, history, tol, status, options)


@partial(jax.jit, static_argnums=(4, 5, 6))
def first(x, w, given, key, kind, rank, options) -> tuple[ALSState, Array]:
    return _begin(*_widened(x, w), given, key, kind, rank, options)


@partial(jax.jit, static_argnums=3)
def prepare(x, w, l2, options, state) -> Data:
    return prepared(*_widened(x, w), l2, state, options)


@partial(jax.jit, static_argnums=2)
def step(data, state, options) -> ALSState:
    return outer(sweep(data, inner(state, options), options), state, options)


@partial(jax.jit, static_argnums=6)
def finish(x, w, state, history, tol, status, options) -> CPResult:
    return _finished(x, *_widened(x, w), state, history, tol, status, options)


def driven(x, w, given, key, l2, tol, kind, rank, restarts, max_iters, options, show) -> CPResult:
    """`fit` from Python, restarts one after the other."""
    keys = [key] if restarts == 1 else list(jax.random.split(key, restarts))
    results, interrupted = [], False
    for k, key in enumerate(keys):
        state, status = first(x, w, given, key, kind, rank, options)
        data = prepare(x, w, l2, options, state)
        state, history, interrupted = drive(
            lambda state, data=data: step(data, state, options),
            state,
            tol,
            max_iters,
            title="ALS" if restarts == 1 else f"ALS, start {k + 1} of {restarts}",
            **show,
        )
        status = jnp.maximum(status, _result.INTERRUPTED) if interrupted else status
        results.append(finish(x, w, state, history, tol, status, options))
        if interrupted:
            break
    winner = max(results, key=lambda result: float(jnp.nan_to_num(result.fit, nan=-jnp.inf)))
    return winner._replace(status=results[-1].status) if interrupted else winner
