"""Sweeping until the fit settles: what every fitting algorithm shares.

An algorithm is a step on its state, a NamedTuple with at least `cp`, `fit`, `change` and
`iteration`. `run` repeats it inside one `while_loop`, for `jit` and `vmap`; `drive` repeats it from
Python, to show progress, call back, and stop at Ctrl-C.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr.cp._result import CPResult

Step = Callable[[Any], Any]


def unfinished(state: Any, tol: Array, max_iters: int) -> Array:
    """Whether another step is due: the fit is finite and has not settled."""
    settled = (state.change < tol) | jnp.isnan(state.fit)
    return (state.iteration < max_iters) & ~settled


def advanced(state: Any, fit: Array, **fields: Any) -> Any:
    """The state after one more step, which reached this fit."""
    change = jnp.abs(fit - state.fit)
    return state._replace(fit=fit, change=change, iteration=state.iteration + 1, **fields)


def run(step: Step, state: Any, tol: Array, max_iters: int) -> tuple[Any, Array]:
    """The last state, and the fit after each step, (max_iters,), zero where none was done."""

    def body(carry: tuple[Any, Array]) -> tuple[Any, Array]:
        state, history = carry
        after = step(state)
        return after, history.at[state.iteration].set(after.fit)

    history = jnp.zeros(max_iters, state.fit.dtype)
    return lax.while_loop(
        lambda carry: unfinished(carry[0], tol, max_iters), body, (state, history)
    )


def drive(
    step: Step,
    state: Any,
    tol: Array,
    max_iters: int,
    *,
    progress: bool,
    callback: Callable[[Any], object] | None,
    title: str,
) -> tuple[Any, Array, bool]:
    """As `run`, from Python; the third value says whether Ctrl-C stopped it.

    Args:
        step: one step, compiled.
        state: the start.
        tol: smallest change of fit.
        max_iters: largest number of steps.
        progress: whether to show a bar.
        callback: called with the state after each step.
        title: of the bar.
    """
    history, interrupted = [], False
    bar = _bar(max_iters, title) if progress else None
    try:
        while unfinished(state, tol, max_iters):
            state = jax.block_until_ready(step(state))
            history.append(state.fit)
            if bar is not None:
                bar.set_postfix_str(f"fit {float(state.fit):.6f}", refresh=False)
                bar.update()
            if callback is not None:
                callback(state)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        if bar is not None:
            bar.close()
    # An interrupt may fall between a step and its entry.
    fits = jnp.zeros(max_iters, state.fit.dtype)
    fits = fits.at[: len(history)].set(jnp.asarray(history, state.fit.dtype))
    return state, fits, interrupted


def _bar(total: int, title: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("progress=True needs tqdm: pip install 'jkr[plot]'") from error
    return tqdm(total=total, desc=title, unit="sweep")


def best(results: CPResult) -> CPResult:
    """Of several results, stacked in front, the one with the highest fit."""
    k = jnp.argmax(jnp.where(jnp.isfinite(results.fit), results.fit, -jnp.inf))
    return jax.tree.map(lambda a: a[k], results)
