"""The loop of every fit: a start, steps until what is watched settles, and how it ended.

`fit` is one compiled program, for `jit` and `vmap`: the start, the steps in one `while_loop`, the
ending, the result with its derivatives. `fit_from_python` takes the same steps from Python, to show
progress, call back, and stop at Ctrl-C. Neither knows more of an algorithm than `Algorithm` says.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._elementwise import BLOCK
from jkr._linalg._loops import alike, while_loop
from jkr._linalg._norms import square_root, unit_columns
from jkr._linalg._psd import is_singular
from jkr._linalg._small import gram
from jkr._products._hadamard import hadamard
from jkr.cp._fit import _result
from jkr.cp._fit._derivative import with_derivatives
from jkr.cp._fit._determined import judged
from jkr.cp._fit._result import CPResult
from jkr.cp._fit._start import initial
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._loss import squared_residual
from jkr.cp._objective._objective import Objective
from jkr.cp._solvers._algorithm import Algorithm
from jkr.tensors._tensor import Scale

_HELD = 1 << 24  # entries that restarts may hold on their way, however small the tensor is


Run = tuple[Any, Array]  # a state, and what was watched after each step


class Plan(NamedTuple):
    """What of a fit is static: a program is compiled for each.

    Attributes:
        kind: of start, "given" if it is a model.
        rank: R.
        restarts: how many random starts, fitted together or one after the other.
        max_iters: largest number of steps.
    """

    kind: str
    rank: int
    restarts: int = 1
    max_iters: int = 0


def step_is_due(state: Any, tol: Array, max_iters: int) -> Array:
    """Whether another step is due: all is finite and has not settled."""
    settled = (state.change < tol) | jnp.isnan(state.change)
    return (state.iteration < max_iters) & ~settled


@partial(jax.jit, static_argnums=0)
def fit(
    plan: Plan,
    algorithm: Algorithm,
    objective: Objective,
    given: CPTensor | None,
    key: Any,
    tol: Array,
) -> CPResult:
    """The best of several fits."""
    # Inside `shard_map` all lanes may share a start or a fixed factor, but not what they fit.
    objective, given, tol = alike(objective, given, tol)
    wide = objective.wide()
    still = lax.stop_gradient(wide)
    scale, *_ = still.scales()
    ready = still.prepared()

    def one(key: Array | None) -> CPResult:
        start = initial(still, scale, given, key, plan.kind, plan.rank)
        state = algorithm.init(ready, start)
        last, steps = _run(algorithm, ready, state, tol, plan.max_iters)
        return _result_of_state(algorithm, ready, last, steps, scale, tol, objective.dtype)

    if plan.restarts == 1:
        result = one(key)
    else:
        several = jax.vmap(one) if _fit_side_by_side(plan, still) else partial(lax.map, one)
        result = best(algorithm, several(jax.random.split(key, plan.restarts)))
    result = judged(lax.stop_gradient(result), still, scale, algorithm.products)
    return _rounded(with_derivatives(result, wide, scale), objective)


def _fit_side_by_side(plan: Plan, objective: Objective) -> bool:
    """Whether what all restarts hold on their way is small, or small beside the tensor.

    Side by side they share readings of it, but each has partial products, of R columns and all
    modes but one, and blocks of entries, and waits for the slowest.
    """
    tensor = objective.terms[0].tensor
    entries = tensor.visited
    held = plan.rank * tensor.partial_sums + min(entries, BLOCK)
    return plan.restarts * held <= max(entries // 4, _HELD)


# The same, a step at a time: compiled once for each shape and set of static options.


@partial(jax.jit, static_argnums=(0, 1))
def first(
    kind: str,
    rank: int,
    algorithm: Algorithm,
    objective: Objective,
    given: CPTensor | None,
    key: Array | None,
) -> tuple[Any, Scale]:
    """The state before the first step, and how large the data are."""
    wide = objective.wide()
    scale, *_ = wide.scales()
    start = initial(wide, scale, given, key, kind, rank)
    return algorithm.init(wide.prepared(), start), scale


def prepared(objective: Objective) -> Objective:
    """What every step reads; no program, whose result would hold the tensor once more."""
    return objective.wide().prepared()


@jax.jit
def step(algorithm: Algorithm, objective: Objective, state: Any) -> Any:
    """The state after one more step on a prepared objective."""
    return algorithm.step(objective, state)


@jax.jit
def step_on(algorithm: Algorithm, objective: Objective, state: Any) -> Any:
    """The state after one more step, the objective as the user gave it."""
    return algorithm.step(prepared(objective), state)


@jax.jit
def _end(algorithm, objective, ready, state, steps, scale, tol) -> CPResult:
    result = _result_of_state(algorithm, ready, state, steps, scale, tol, objective.dtype)
    return _rounded(judged(result, objective.wide(), scale, algorithm.products), objective)


def _run(
    algorithm: Algorithm, objective: Objective, state: Any, tol: Array, max_iters: int
) -> tuple[Any, Array]:
    """The last state, and what was watched after each step, (max_iters,), zero where none was."""

    def due(run: Run) -> Array:
        return step_is_due(run[0], tol, max_iters)

    def recorded(run: Run, after: Any) -> Run:
        state, steps = run
        return after, steps.at[state.iteration].set(getattr(after, algorithm.watches))

    one_more = lambda run: recorded(run, step(algorithm, objective, run[0]))  # noqa: E731
    start = state, jnp.zeros(max_iters, getattr(state, algorithm.watches).dtype)
    trusting = algorithm.trusting_step(objective)
    if trusting is None:
        return while_loop(due, one_more, start)

    def several(run: Run) -> Run:
        """Trusting steps as long as all is well, then one with care if it is not."""

        def another(turn: tuple[Run, Array]) -> tuple[Run, Array]:
            run, _ = turn
            after, good = trusting(run[0])
            return jax.tree.map(partial(jnp.where, good), recorded(run, after), run), good

        turn = while_loop(lambda turn: turn[1] & due(turn[0]), another, (run, jnp.ones((), bool)))
        once = lambda turn: (one_more(turn[0]), ~turn[1])  # noqa: E731
        return while_loop(lambda turn: ~turn[1], once, turn)[0]

    by_steps, in_turns = partial(while_loop, due, one_more), partial(while_loop, due, several)
    return lax.platform_dependent(start, cpu=by_steps, default=in_turns)


def fit_from_python(
    plan: Plan,
    algorithm: Algorithm,
    objective: Objective,
    given: CPTensor | None,
    key: Any,
    tol: Any,
    *,
    progress: bool,
    callback: Callable[[Any], object] | None,
) -> CPResult:
    """`fit` from Python, restarts one after the other; Ctrl-C keeps what there is."""
    keys = [key] if plan.restarts == 1 else list(jax.random.split(key, plan.restarts))
    results, interrupted = [], False
    ready = prepared(objective)
    for k, key in enumerate(keys):
        which = "" if plan.restarts == 1 else f", start {k + 1} of {plan.restarts}"
        title = algorithm.title + which if progress else None
        try:
            state, scale = first(plan.kind, plan.rank, algorithm, objective, given, key)
            state, steps, interrupted = _run_from_python(
                algorithm, ready, state, tol, plan.max_iters, title=title, callback=callback
            )
            results.append(_end(algorithm, objective, ready, state, steps, scale, tol))
        except KeyboardInterrupt:
            if not results:
                raise
            interrupted = True
        if interrupted:
            break
    winner = best(algorithm, jax.tree.map(lambda *leaves: jnp.stack(leaves), *results))
    if interrupted:
        status = _result.worst(winner.status, _result.INTERRUPTED)
        status = jnp.asarray(status, winner.status.dtype)
        winner = winner._replace(status=status, converged=jnp.zeros((), bool))
    return winner._replace(objective=results[0].objective)


def _run_from_python(
    algorithm: Algorithm,
    objective: Objective,
    state: Any,
    tol: Array,
    max_iters: int,
    *,
    title: str | None,
    callback: Callable[[Any], object] | None,
) -> tuple[Any, Array, bool]:
    """As `_run`, from Python; the third value says whether Ctrl-C stopped it."""
    steps, interrupted = [], False
    bar = None if title is None else _bar(max_iters, title)
    try:
        while step_is_due(state, tol, max_iters):
            state = jax.block_until_ready(step(algorithm, objective, state))
            steps.append(getattr(state, algorithm.watches))
            if bar is not None:
                bar.set_postfix_str(f"{algorithm.watches} {float(steps[-1]):.6g}", refresh=False)
                bar.update()
            if callback is not None:
                callback(state)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if bar is not None:
            bar.close()
    # An interrupt may fall between a step and its entry.
    dtype = getattr(state, algorithm.watches).dtype
    numbers = jnp.zeros(max_iters, dtype).at[: len(steps)].set(jnp.asarray(steps, dtype))
    return state, numbers, interrupted


def _bar(total: int, title: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("progress=True needs tqdm: pip install 'jkr[plot]'") from error
    return tqdm(total=total, desc=title, unit="step")


def best(algorithm: Algorithm, results: CPResult) -> CPResult:
    """Of several results, stacked in front, the best fit, or the least objective."""
    score = results.fit
    if algorithm.watches == "objective":
        objective = results.history[..., -1]
        # All of them may be out of range where the fits are not.
        told = jnp.any(jnp.isfinite(objective) & (objective != 0))
        score = jnp.where(told, -objective, score)
    k = jnp.argmax(jnp.where(jnp.isfinite(score), score, -jnp.inf))
    return jax.tree.map(lambda a: a[k], results)


# How a fit ended


def _result_of_state(
    algorithm: Algorithm,
    objective: Objective,
    state: Any,
    steps: Array,
    scale: Scale,
    tol: Array,
    dtype: Any,
) -> CPResult:
    """The result, of what was watched after each step: a few passes over the data."""
    cp = algorithm.finish(objective, state.cp)
    squares = _squared_residual(objective, cp, scale)
    error = square_root(squares) / jnp.where(scale.norm > 0, scale.norm, 1)
    known = algorithm.states_are_models
    stationarity = state.stationarity if known else _stationarity(objective, cp, scale)
    last, broken = 1 - error, ~jnp.isfinite(error) | jnp.isnan(state.change)
    eps = float(jnp.finfo(error.dtype).eps)
    if algorithm.watches == "objective":
        last = state.objective
        if objective.only_squares:
            last = objective.of_residual(squares, cp, scale)
        elif not known:
            last = objective.value(*objective.balanced(cp))
        # An objective of nothing, where the fit is not perfect, has underflowed.
        underflowed = (last == 0) & (error > eps**0.5)
        broken = broken | (underflowed & (not algorithm.works_in_units))
    rounded = [jnp.all(jnp.isfinite(a.astype(dtype))) for a in jax.tree.leaves(cp)]
    broken = broken | ~jnp.all(jnp.stack(rounded))
    settled = (state.change < tol) | (stationarity <= _result.ROUNDING * eps)
    # The model is finite: a gradient that is not, or an objective, is that of a function.
    lost = (jnp.isinf(stationarity) | jnp.isnan(last)) & objective.has_functions
    dependent = _is_dependent(objective, cp)
    status = _status(stationarity, dependent=dependent, settled=settled, broken=broken, lost=lost)
    status = _result.unless_bad(scale, status)
    # What was watched before the last step, and from there on the last, exactly.
    history = jnp.where(jnp.arange(len(steps)) < state.iteration - 1, steps, last)
    return CPResult(
        cp=cp,
        fit=1 - error,
        relative_error=error,
        iterations=state.iteration,
        converged=status <= _result.DEPENDENT,
        status=status.astype(jnp.int32),
        stationarity=stationarity,
        history=history,
        undetermined=jnp.zeros((len(cp.factors), cp.rank), bool),
    )


def _status(
    stationarity: Array, *, dependent: Array, settled: Array, broken: Array, lost: Array
) -> Array:
    """The worst that is true, of data that are good."""
    status = jnp.where(stationarity > _result.ROUGH_ABOVE, _result.ROUGH, _result.CONVERGED)
    status = jnp.where(stationarity > _result.FAR_ABOVE, _result.STALLED, status)
    status = jnp.where(dependent, _result.DEPENDENT, status)
    status = jnp.where(settled, status, _result.MAX_ITERS)
    status = jnp.where(broken, _result.NOT_FINITE, status)
    return jnp.where(lost, _result.NO_DERIVATIVE, status)


def _stationarity(objective: Objective, cp: CPTensor, scale: Scale) -> Array:
    """`CPResult.stationarity` of a model."""
    problem, ones, free = objective.at(cp, scale)
    return problem.stationarity(ones, free, problem.gradient(ones, free), scale)


def _squared_residual(objective: Objective, cp: CPTensor, scale: Scale) -> Array:
    """‖W½∘(T − E)‖² in units of the data, E what the model stands for, from the residual itself."""
    (term,) = objective.terms
    tensor = term.tensor
    if term.loss.expects_model:
        tensor, (weights, factors) = tensor.beside(cp)
        cp = CPTensor(weights, tuple(factors))
    return squared_residual(term.loss, tensor, cp, scale.unit) / scale.weight


def _is_dependent(objective: Objective, cp: CPTensor) -> Array:
    """Whether components depend on each other linearly, or vanish."""
    eps = float(jnp.finfo(cp.weights.real.dtype).eps)
    size, units = cp.weights.real if objective.bearers else jnp.abs(cp.weights), list(cp.factors)
    for n, a in enumerate(units):
        if n not in objective.bearers:  # those have unit columns
            norms, units[n] = unit_columns(a, a)
            size = size * norms.real
    vanished = jnp.any(size <= eps * jnp.max(size))
    return vanished | is_singular(hadamard(*(gram(a, a) for a in units)), eps**0.5)


def _rounded(result: CPResult, objective: Objective) -> CPResult:
    """The model rounded to the dtype of the tensor, and what was minimised, for later."""
    cp = jax.tree.map(lambda a: a.astype(objective.dtype), result.cp)
    return result._replace(cp=cp, objective=objective.on(*(None for _ in objective.terms)))
