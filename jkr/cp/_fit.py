"""Stepping until a fit settles: what every fitting algorithm shares.

An algorithm says how to begin, to step, and to finish. `fit` is one compiled program, for `jit` and
`vmap`: the start, the steps in one `while_loop`, the result with its derivatives. `driven` takes
the same steps from Python, to show progress, call back, and stop at Ctrl-C.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from jkr._linalg._dtypes import accumulator
from jkr.cp import _result
from jkr.cp._model import CPTensor
from jkr.cp._result import CPResult


class Problem(NamedTuple):
    """What a fit is of.

    Attributes:
        x: tensor.
        w: entry weights, or None.
        given: the model to start from, or None.
        l2: weight of the penalty, in the units of the data.
    """

    x: Array
    w: Array | None
    given: CPTensor | None
    l2: Any


class Algorithm(Protocol):
    """A fitting algorithm: static, hashable, compared by value.

    States are NamedTuples with at least `change` (NaN where something was not finite), `iteration`
    and what `watches` names. Steps are taken on an inner form of the state, which may be another.

    Attributes:
        title: its name, for a progress bar.
        watches: the field of states that history holds.
    """

    title: ClassVar[str]
    watches: ClassVar[str]

    def begin(self, problem: Problem, key: Array | None) -> tuple[Any, Array]:
        """The state before the first step, and a status that tells of bad data."""
        ...

    def prepare(self, problem: Problem, state: Any) -> Any:
        """What every step reads."""
        ...

    def enter(self, state: Any) -> Any:
        """The inner form of a state."""
        ...

    def step(self, data: Any, inner: Any) -> Any:
        """One step."""
        ...

    def leave(self, inner: Any, state: Any) -> Any:
        """The state after the steps that began at `state` and ended at `inner`."""
        ...

    def score(self, result: CPResult) -> Array:
        """What the best of several results has most of."""
        ...

    def finish(
        self, problem: Problem, data: Any, state: Any, steps: Array, ending: "Ending"
    ) -> CPResult:
        """The result, of what was watched after each step."""
        ...

    def differentiable(self, problem: Problem, result: CPResult) -> CPResult:
        """The same result, with derivatives with respect to the problem."""
        ...


class Ending(NamedTuple):
    """How a fit ended, as far as it is known before the model is looked at.

    Attributes:
        status: of the data.
        tol: the change below which a fit has settled.
        dtype: of the tensor, to which the model is to be rounded.
    """

    status: Array
    tol: Array
    dtype: DTypeLike

    def told(
        self, state: Any, model: CPTensor, slope: Array, dependent: Array, error: Array
    ) -> dict:
        """The fields of a result that say how it ended."""
        converged = state.change < self.tol
        ended = jnp.where(slope > _result.ROUGH_ABOVE, _result.ROUGH, _result.CONVERGED)
        ended = jnp.where(dependent, _result.DEPENDENT, ended)
        ended = jnp.where(converged, ended, _result.MAX_ITERS)
        rounded = [a.astype(self.dtype) for a in jax.tree.leaves(model)]
        finite = jnp.stack([jnp.all(jnp.isfinite(a)) for a in rounded])
        broken = jnp.isnan(state.change) | ~jnp.isfinite(error) | ~jnp.all(finite)
        ended = jnp.where(broken, _result.NOT_FINITE, ended)
        return {
            "iterations": state.iteration,
            "converged": converged,
            "status": jnp.maximum(ended, self.status).astype(jnp.int32),
            "stationarity": slope,
        }


def unfinished(state: Any, tol: Array, max_iters: int) -> Array:
    """Whether another step is due: all is finite and has not settled."""
    settled = (state.change < tol) | jnp.isnan(state.change)
    return (state.iteration < max_iters) & ~settled


def padded(steps: Array, count: Array, last: Array) -> Array:
    """History: the numbers before the last step, and from there on the last."""
    return jnp.where(jnp.arange(len(steps)) < count - 1, steps, last)


# Compiled once for each shape and set of static options.


@partial(jax.jit, static_argnums=(0, 4, 5))
def fit(
    algorithm: Algorithm, problem: Problem, key: Any, tol: Any, restarts: int, max_iters: int
) -> CPResult:
    """The best of several fits, begun side by side."""
    wide = _widened(problem)

    def one(key: Array | None) -> CPResult:
        still = lax.stop_gradient(wide)
        start, status = algorithm.begin(still, key)
        data = algorithm.prepare(still, start)
        last, steps = _run(algorithm, data, algorithm.enter(start), tol, max_iters)
        ending = Ending(status, tol, problem.x.dtype)
        return algorithm.finish(still, data, algorithm.leave(last, start), steps, ending)

    if restarts == 1:
        result = one(key)
    else:
        result = best(algorithm, jax.vmap(one)(jax.random.split(key, restarts)))
    return _rounded(algorithm.differentiable(wide, result), problem.x.dtype)


@partial(jax.jit, static_argnums=0)
def first(algorithm: Algorithm, problem: Problem, key: Array | None) -> tuple[Any, Array]:
    """The state before the first step, and the status of the data."""
    return algorithm.begin(_widened(problem), key)


@partial(jax.jit, static_argnums=0)
def prepare(algorithm: Algorithm, problem: Problem, state: Any) -> Any:
    """What every step reads."""
    return algorithm.prepare(_widened(problem), state)


@partial(jax.jit, static_argnums=0)
def step(algorithm: Algorithm, data: Any, state: Any) -> Any:
    """The state after one more step."""
    return algorithm.leave(algorithm.step(data, algorithm.enter(state)), state)


@partial(jax.jit, static_argnums=0)
def _finish(algorithm, problem, data, state, steps, tol, status) -> CPResult:
    ending = Ending(status, tol, problem.x.dtype)
    result = algorithm.finish(_widened(problem), data, state, steps, ending)
    return _rounded(result, problem.x.dtype)


def _run(
    algorithm: Algorithm, data: Any, state: Any, tol: Array, max_iters: int
) -> tuple[Any, Array]:
    """The last state, and what was watched after each step, (max_iters,), zero where none was."""

    def body(carry: tuple[Any, Array]) -> tuple[Any, Array]:
        state, steps = carry
        after = algorithm.step(data, state)
        return after, steps.at[state.iteration].set(getattr(after, algorithm.watches))

    steps = jnp.zeros(max_iters, getattr(state, algorithm.watches).dtype)
    return lax.while_loop(lambda carry: unfinished(carry[0], tol, max_iters), body, (state, steps))


def driven(
    algorithm: Algorithm,
    problem: Problem,
    key: Any,
    tol: Any,
    restarts: int,
    max_iters: int,
    *,
    progress: bool,
    callback: Callable[[Any], object] | None,
) -> CPResult:
    """`fit` from Python, restarts one after the other; Ctrl-C keeps what there is."""
    keys = [key] if restarts == 1 else list(jax.random.split(key, restarts))
    results, interrupted = [], False
    for k, key in enumerate(keys):
        which = "" if restarts == 1 else f", start {k + 1} of {restarts}"
        title = algorithm.title + which if progress else None
        try:
            state, status = first(algorithm, problem, key)
            data = prepare(algorithm, problem, state)
            state, steps, interrupted = _drive(
                algorithm, data, state, tol, max_iters, title=title, callback=callback
            )
            results.append(_finish(algorithm, problem, data, state, steps, tol, status))
        except KeyboardInterrupt:
            if not results:
                raise
            interrupted = True
        if interrupted:
            break
    winner = best(algorithm, jax.tree.map(lambda *leaves: jnp.stack(leaves), *results))
    status = jnp.maximum(winner.status, _result.INTERRUPTED) if interrupted else winner.status
    return winner._replace(status=status)


def _drive(
    algorithm: Algorithm,
    data: Any,
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
        while unfinished(state, tol, max_iters):
            state = jax.block_until_ready(step(algorithm, data, state))
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
    """Of several results, stacked in front, the one with the highest score."""
    score = algorithm.score(results)
    k = jnp.argmax(jnp.where(jnp.isfinite(score), score, -jnp.inf))
    return jax.tree.map(lambda a: a[k], results)


def _widened(problem: Problem) -> Problem:
    """In the dtype in which sums are taken."""
    x = problem.x.astype(accumulator(problem.x.dtype))
    w = None if problem.w is None else problem.w.astype(x.real.dtype)
    return problem._replace(x=x, w=w)


def _rounded(result: CPResult, dtype: DTypeLike) -> CPResult:
    return result._replace(cp=jax.tree.map(lambda a: a.astype(dtype), result.cp))
