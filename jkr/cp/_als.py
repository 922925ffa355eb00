"""CP by alternating least squares: the calls that users make, and how a fit is put together.

A fit measures the data, makes a start, sweeps until the fit settles (`_sweep`, `_fit`), and
recomputes the fit from the residual once.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._partial import Precision
from jkr._contractions._precise import accumulator
from jkr._contractions._residual import squared_residual
from jkr._contractions._solve import is_singular
from jkr._products._hadamard import hadamard
from jkr.cp import _result
from jkr.cp._fit import best, drive, run
from jkr.cp._model import CPTensor, square_root
from jkr.cp._result import CPResult
from jkr.cp._start import checked_start, drawn
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


def als(
    tensor: ArrayLike,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    restarts: int = 1,
    tol: ArrayLike = 1e-6,
    max_iters: int = 500,
    precision: Precision = None,
    progress: bool = False,
    callback: Callable[[ALSState], object] | None = None,
) -> CPResult:
    """Fit a CP model by alternating least squares: min ½‖W½∘(T − M)‖² + ½ l2 Σₙ‖Aₙ‖².

    Works under `jit` (what is no array is static) and `vmap` (over tensors, keys, starts, entry
    weights, l2, tol; each lane stops by itself); compiles once for each shape and set of static
    options, whatever the number of sweeps. Complex tensors are fitted as they are. A singular Gram
    gives the minimum-norm update. float16 and bfloat16 data are fitted in float32, and only the
    model is rounded back.

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2, finite where it is observed; integers become the default
            float.
        rank: R, the number of components.
        key: a `jax.random.key`, needed by a random start.
        init: "random" (standard normal factors), "uniform" (on [0, 1)), "svd" (leading singular
            vectors of each unfolding, unobserved entries as zeros; columns beyond its rank are
            random), or a CPTensor of that shape and rank, whose weights are absorbed into a free
            mode.
        entry_weights: real W ≥ 0 of T's shape, booleans included: 0 = unobserved, 1 = observed.
            What lies under a zero, NaN or inf, is never read. Solved exactly, row by row. A row
            with nothing observed keeps its start, up to the scale of the columns (with l2 > 0 it
            becomes zero).
        nonnegative: whether factors are kept nonnegative (HALS), or for which modes. Of a random
            start the absolute values are taken, of a given one the positive part.
        fixed_modes: modes whose factors stay as `init`, a CPTensor, has them.
        l2: weight of the penalty ½ l2 Σₙ‖Aₙ‖² on the free factors, with component weights spread
            evenly over them; in the units of the data.
        restarts: number of random starts, fitted side by side; the best fit is returned. Start k
            is that of `key=jax.random.split(key, restarts)[k]`.
        tol: stop when the fit changes by less than this in a sweep, strictly: `tol=0` runs
            exactly max_iters sweeps.
        max_iters: largest number of sweeps.
        precision: of the products with the tensor, as in `jax.lax.dot_general`.
        progress: show a bar (tqdm). With it or a callback, sweeps are driven from Python, and
            Ctrl-C returns the model so far.
        callback: called with the ALSState after each sweep.

    Returns:
        CPResult.

    Raises:
        ValueError: a tensor of order below 2 or with an empty mode, rank, restarts or max_iters
            below 1, a random start without a key, an init of another shape or rank, entry weights
            of another shape; outside `jit`, NaN or inf in observed data and entry weights that are
            negative or not finite (inside, `status` says so); nonnegative factors of a complex
            tensor; fixed modes without a CPTensor, or no free mode; progress or callback under a
            transform.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> result = jkr.cp.als(truth.full(), 2, key=jax.random.key(1))
        >>> bool(result.converged), bool(result.fit > 0.99)
        (True, True)

    Source: Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, figure 3.3; laws
    I10ᴴ, J3ᴴ; entry weights: Tomasi & Bro, Chemom. Intell. Lab. Syst. 75 (2005) 163–180,
    doi:10.1016/j.chemolab.2004.07.003; sharing passes: Phan, Tichavský & Cichocki (2013),
    doi:10.1109/TSP.2013.2269903.
    """
    name = "cp.als"
    x, w, options = _arguments(name, tensor, entry_weights, nonnegative, fixed_modes, precision)
    rank = _check.rank(name, rank)
    max_iters = _check.at_least_one(name, "max_iters", max_iters)
    restarts = _check.at_least_one(name, "restarts", restarts)
    kind, given, key = checked_start(name, init, key, x, rank, restarts)
    _check_fixed(name, kind, options, x.ndim)
    real = jnp.zeros((), accumulator(x.dtype)).real.dtype
    l2, tol = (_check.scalar(name, n, v).astype(real) for n, v in (("l2", l2), ("tol", tol)))
    static = kind, rank, restarts, max_iters, options
    if progress or callback is not None:
        _refuse_tracers(name, (x, w, given, key, l2, tol))
        show = {"progress": progress, "callback": callback}
        result = _driven(x, w, given, key, l2, tol, *static, show)
    else:
        result = _fit(x, w, given, key, l2, tol, *static)
    _refuse_bad_data(name, result.status)
    return result


def als_init(
    tensor: ArrayLike,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
) -> ALSState:
    """The state before the first sweep of `als`, to be advanced by `als_step`.

    Args:
        tensor: as in `als`, and so are all others.
        rank: R.
        key: of a random start.
        init: the start.
        entry_weights: W.
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stay.

    Returns:
        ALSState, a pytree: save it, resume from it, pass it through `jit`, `vmap` and `scan`.

    Raises:
        ValueError: as in `als`.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.als_init(x, 2, key=jax.random.key(1))
        >>> for _ in range(3):
        ...     state = jkr.cp.als_step(x, state)
        >>> int(state.iteration)
        3
    """
    name = "cp.als_init"
    x, w, options = _arguments(name, tensor, entry_weights, nonnegative, fixed_modes, None)
    kind, given, key = checked_start(name, init, key, x, _check.rank(name, rank), 1)
    _check_fixed(name, kind, options, x.ndim)
    state, status = _first(x, w, given, key, kind, rank, options)
    _refuse_bad_data(name, status)
    return state


def als_step(
    tensor: ArrayLike,
    state: ALSState,
    *,
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    precision: Precision = None,
) -> ALSState:
    """One sweep of `als`: every free factor updated once, in the order of the modes.

    Args:
        tensor: the tensor that the state was made for; the options, too, are to be the same.
        state: from `als_init` or from the step before.
        entry_weights: W.
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stay.
        l2: weight of the penalty.
        precision: of the products with the tensor.

    Returns:
        ALSState. Where the sweep is not finite, `fit` is NaN and the model is the one before.

    Raises:
        ValueError: as in `als`.

    Example:
        See `als_init`.
    """
    name = "cp.als_step"
    x, w, options = _arguments(name, tensor, entry_weights, nonnegative, fixed_modes, precision)
    _check.factors(name, state.cp.factors, x.shape)
    l2 = _check.scalar(name, "l2", l2).astype(state.fit.dtype)
    return _sweep(_prepare(x, w, l2, options, state), state, options)


def _arguments(name, tensor, entry_weights, nonnegative, fixed_modes, precision):
    """The tensor, the entry weights in its real dtype or None, and the static options."""
    x = _check.data(name, tensor)
    w = None
    if entry_weights is not None:
        w = _check.entry_weights(name, entry_weights, x.shape)
    positive = _check.modes(name, "nonnegative", nonnegative, x.ndim)
    if positive and jnp.iscomplexobj(x):
        raise ValueError(f"{name}: nonnegative factors need a real tensor, got {x.dtype}")
    fixed = _check.modes(name, "fixed_modes", fixed_modes, x.ndim)
    free = tuple(n for n in range(x.ndim) if n not in fixed)
    if not free:
        raise ValueError(f"{name}: at least one mode needs to be free, got fixed_modes {fixed}")
    return x, w, Options(positive, free, precision)


def _check_fixed(name: str, kind: str, options: Options, order: int) -> None:
    if kind != "given" and len(options.free) < order:
        raise ValueError(f"{name}: fixed_modes need init to be a CPTensor that holds their factors")


def _refuse_tracers(name: str, arguments: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments)):
        raise ValueError(
            f"{name}: progress and callback work outside jit, vmap and grad only, got traced arrays"
        )


def _refuse_bad_data(name: str, status: Array) -> None:
    if not isinstance(status, jax.core.Tracer):
        worst = int(jnp.max(status))
        if worst in (_result.BAD_DATA, _result.BAD_WEIGHTS):
            raise ValueError(f"{name}: {_result.MESSAGES[worst]}")


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
def _fit(x, w, given, key, l2, tol, kind, rank, restarts, max_iters, options) -> CPResult:
    wide, wide_w = _widened(x, w)

    def fitted(key: Array | None) -> tuple[ALSState, Array, Array]:
        state, status = _begin(wide, wide_w, given, key, kind, rank, options)
        data = prepared(wide, wide_w, l2, state, options)
        step = partial(sweep, data, options=options)
        last, history = run(step, inner(state, options), tol, max_iters)
        return outer(last, state, options), history, status

    if restarts == 1:
        state, history, status = fitted(key)
    else:
        state, history, status = best(jax.vmap(fitted)(jax.random.split(key, restarts)))
    return _finished(x, wide, wide_w, state, history, tol, status, options)


@partial(jax.jit, static_argnums=(4, 5, 6))
def _first(x, w, given, key, kind, rank, options) -> tuple[ALSState, Array]:
    return _begin(*_widened(x, w), given, key, kind, rank, options)


@partial(jax.jit, static_argnums=3)
def _prepare(x, w, l2, options, state) -> Data:
    return prepared(*_widened(x, w), l2, state, options)


@partial(jax.jit, static_argnums=2)
def _sweep(data, state, options) -> ALSState:
    return outer(sweep(data, inner(state, options), options), state, options)


@partial(jax.jit, static_argnums=6)
def _finish(x, w, state, history, tol, status, options) -> CPResult:
    return _finished(x, *_widened(x, w), state, history, tol, status, options)


def _driven(x, w, given, key, l2, tol, kind, rank, restarts, max_iters, options, show) -> CPResult:
    """`_fit` from Python, restarts one after the other."""
    keys = [key] if restarts == 1 else list(jax.random.split(key, restarts))
    results, interrupted = [], False
    for k, key in enumerate(keys):
        state, status = _first(x, w, given, key, kind, rank, options)
        data = _prepare(x, w, l2, options, state)
        state, history, interrupted = drive(
            lambda state, data=data: _sweep(data, state, options),
            state,
            tol,
            max_iters,
            title="ALS" if restarts == 1 else f"ALS, start {k + 1} of {restarts}",
            **show,
        )
        status = jnp.maximum(status, _result.INTERRUPTED) if interrupted else status
        results.append(_finish(x, w, state, history, tol, status, options))
        if interrupted:
            break
    winner = max(results, key=lambda result: float(jnp.nan_to_num(result.fit, nan=-jnp.inf)))
    return winner._replace(status=results[-1].status) if interrupted else winner
