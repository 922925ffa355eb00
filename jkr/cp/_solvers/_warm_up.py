"""Sweeps of ALS before the steps of Gauss–Newton: how many, and from how many starts.

Twenty sweeps, where steps are dear: under entry weights, with nonnegative factors, and of least
squares where the loss is another but the model the mean of the data (Poisson counts 60×50×40,
R = 5: 11 steps then, not 21 to 47). Else one, for sweeps alone come to saddles that damped steps
pass by (20³, R = 16, near orthogonal factors, float32: of 48 starts all end well after one sweep,
43 after twenty). In a core, where sweeps cost next to nothing, four starts do twenty each, and the
best is rarely at a saddle: for an exact tensor one or two steps are left of twenty.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from jkr._linalg._loops import fori_loop
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.cp._solvers._algorithm import Start
from jkr.cp._solvers._als import ALSState, Alternating

FEW, MANY = 1, 20  # sweeps
_OFF = 1e-3  # of a column's root mean square: how far from their bound entries begin


def sweeps_for(objective: Objective, *, drawn: bool) -> int:
    """How many sweeps of ALS suit a start: one drawn at random, or a model that may be near."""
    if objective.has_functions:
        return MANY if drawn and objective.near_least_squares else 0
    return FEW if objective.by_columns else MANY


def after_sweeps(objective: Objective, start: Start, sweeps: int, starts: int) -> CPTensor:
    """The best of several starts after sweeps of ALS, of an objective near least squares.

    A model that was given, where the loss is another, is kept if its objective is no larger.
    """
    squares = objective.least_squares()
    cp = _best(squares, start, sweeps, starts) if starts > 1 else _swept(squares, start, sweeps).cp
    if not objective.has_functions:
        return cp
    cp = _off_bounds(objective, cp)
    if start.drawn:
        return cp
    value = lambda cp: objective.value(*objective.balanced(cp))  # noqa: E731
    kept = value(start.cp) <= value(cp)
    return jax.tree.map(partial(jnp.where, kept), start.cp, cp)


def _best(objective: Objective, start: Start, sweeps: int, starts: int) -> CPTensor:
    """The best of several starts after sweeps of ALS.

    Others than the first are the same with its rows in another order, which are as random. A model
    that was given is not changed for them, which would be in another order: where they come much
    further it is at a saddle, and taken after one sweep instead.
    """

    def ordered(k: Array) -> CPTensor:
        factors = (jnp.roll(a, (n + 1) * k, axis=0) for n, a in enumerate(start.cp.factors))
        return start.cp._replace(factors=tuple(factors))

    swept = lambda k: _swept(objective, start._replace(cp=ordered(k)), sweeps)  # noqa: E731
    states = jax.vmap(swept)(jnp.arange(starts))
    errors = jnp.where(jnp.isfinite(states.fit), 1 - states.fit, jnp.inf)
    if start.drawn:
        return jax.tree.map(lambda a: a[jnp.argmin(errors)], states.cp)
    as_good = errors[0] <= 1.01 * jnp.min(errors) + 1e-3
    once = _swept(objective, start, FEW).cp
    return jax.tree.map(lambda a, b: jnp.where(as_good, a[0], b), states.cp, once)


def _swept(objective: Objective, start: Start, sweeps: int) -> ALSState:
    """The state after some sweeps of ALS."""
    als = Alternating()
    sweep = lambda _, state: als.step(objective, state)  # noqa: E731
    return fori_loop(0, sweeps, sweep, als.init(objective, start))


def _off_bounds(objective: Objective, cp: CPTensor) -> CPTensor:
    """The model of least squares, off bounds where other losses may be infinite."""
    factors = tuple(
        a + _OFF / a.shape[0] ** 0.5 if c.kind == "cone" else a
        for a, c in zip(cp.factors, objective.constraints, strict=True)
    )
    weights = cp.weights + _OFF * jnp.mean(cp.weights)
    return objective.normal_form(weights, objective.movable(factors), objective.movable(factors))
