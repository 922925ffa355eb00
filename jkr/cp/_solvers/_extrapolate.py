"""Sweeps that begin ahead of where the last one ended: Nesterov's momentum, with restarts.

A sweep from x + β(x − x'), where x' is the model of a sweep ago, costs what one from x does, and
gets on several times as far where sweeps converge slowly: β = (t − 1)/t₊ grows from 0 towards 1
with t₊ = (1 + √(1 + 4t²))/2. What the sweep leaves at hand, its fit, says what the objective is.
If that rose the sweep is not taken: the model stays, t is 1 again, and the next sweep is plain.

x are the factors, the weights spread evenly over them. Those that left their cone or their set are
brought back, because updates go on from them; none is ever returned, but what a sweep made of them.

Source: [MYD20].
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jkr._linalg._small import gram
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.tensors._tensor import Scale

_PLAIN = 3  # sweeps from a start, after which it is clear which minimum they lead to


class Momentum(NamedTuple):
    """What the next sweep needs to begin ahead.

    Attributes:
        before: the model a sweep ago, a CPTensor.
        value: the objective of the model now, over ½‖W½∘T‖², a real scalar; inf before a sweep.
        t: of Nesterov's sequence, a real scalar at least 1; where it is 1 the next sweep is plain.
    """

    before: CPTensor
    value: Array
    t: Array


def at_rest(cp: CPTensor, scale: Scale) -> Momentum:
    """Before the first sweep."""
    one = jnp.ones_like(scale.norm)
    return Momentum(before=cp, value=one * jnp.inf, t=one)


def extrapolated(sweep: Callable[[Objective, Any], Any], objective: Objective, state: Any) -> Any:
    """The state after a sweep from ahead or, where the objective rose, the same at rest."""
    momentum = state.momentum
    one, plain = jnp.ones_like(momentum.t), momentum.t == 1
    t = (1 + jnp.sqrt(1 + 4 * momentum.t**2)) / 2
    ahead = _ahead(objective, state, (momentum.t - 1) / t)
    after = sweep(objective, _where(plain, state, ahead))
    value = _value(objective, after)
    t = jnp.where(after.iteration < _PLAIN, one, t)
    after = after._replace(momentum=Momentum(before=state.cp, value=value, t=t))
    stays = state._replace(iteration=after.iteration, momentum=momentum._replace(t=one))
    return _where(plain | (value <= momentum.value), after, stays)


def _where(which: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(partial(jnp.where, which), yes, no)


def _ahead(objective: Objective, state: Any, beta: Array) -> Any:
    """The state at x + β(x − x'), in normal form."""
    weights, now = objective.balanced(state.cp)
    _, before = objective.balanced(state.momentum.before)
    free = []
    for n, a, b in zip(objective.free, now, before, strict=True):
        constraint, moved = objective.constraints[n], a + beta.astype(a.dtype) * (a - b)
        is_set = constraint.kind in ("cone", "bounded")
        free.append(constraint.prox(moved, jnp.ones_like(beta)) if is_set else moved)
    cp = objective.normal_form(weights, tuple(free), objective.movable(state.cp.factors))
    grams = list(state.grams)
    for n in objective.free:
        grams[n] = gram(cp.factors[n], cp.factors[n])
    return state._replace(cp=cp, grams=tuple(grams))


def _value(objective: Objective, state: Any) -> Array:
    """The objective over ½‖W½∘T‖²: what the fit says, and the penalties."""
    problem, weights, free = objective.at(state.cp, state.scale)
    penalties = replace(problem, terms=()).value(weights, free)
    norm = objective.norm(state.scale)
    norm = jnp.where(norm > 0, norm, 1)
    return (1 - state.fit) ** 2 + 2 * (penalties / norm) / norm
