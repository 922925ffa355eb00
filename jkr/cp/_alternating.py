"""Alternating least squares as an algorithm: how a fit begins, and what is said of it at its end.

A fit measures the data, makes a start, sweeps until the fit settles (`_sweep`, `_fit`), recomputes
the fit from the residual once and looks at its gradient: five passes over the tensor beside those
of the sweeps.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jkr._contractions._elementwise import entry_sum, squared_distance
from jkr._linalg._norms import square_root
from jkr._linalg._psd import is_singular
from jkr._products._hadamard import hadamard
from jkr.cp import _least_squares, _sweep
from jkr.cp._data import Options, unit_weights
from jkr.cp._fit import Ending, Problem, padded
from jkr.cp._result import CPResult
from jkr.cp._start import begun
from jkr.cp._sweep import ALSState, Data, Inner, prepared


@dataclass(frozen=True)
class ALS:
    """Alternating least squares.

    Attributes:
        kind: of start.
        rank: R.
        options: of the fit.
    """

    kind: str
    rank: int
    options: Options
    title: ClassVar[str] = "ALS"
    watches: ClassVar[str] = "fit"

    def begin(self, problem: Problem, key: Array | None) -> tuple[ALSState, Array]:
        """The state before the first sweep, and a status that tells of bad data."""
        start = begun(problem.x, problem.w, problem.given, key, self.kind, self.rank, self.options)
        cp, scale, norm, status = start
        fit = jnp.where(status == 0, -jnp.inf, jnp.nan).astype(norm.dtype)
        return ALSState(cp, fit, -fit, jnp.zeros((), int), scale, norm), status

    def prepare(self, problem: Problem, state: ALSState) -> Data:
        """What every sweep reads."""
        x, w, _, l2 = problem
        return prepared(x, w, l2, state.scale, state.norm, self.options)

    def enter(self, state: ALSState) -> Inner:
        """The form that sweeps work on."""
        return _sweep.inner(state, self.options)

    def step(self, data: Data, inner: Inner) -> Inner:
        """One sweep."""
        return _sweep.sweep(data, inner, self.options)

    def leave(self, inner: Inner, state: ALSState) -> ALSState:
        """The state in the units of the data."""
        return _sweep.outer(inner, state, self.options)

    def score(self, result: CPResult) -> Array:
        """The fit."""
        return result.fit

    def finish(
        self, problem: Problem, data: Data, state: ALSState, steps: Array, ending: Ending
    ) -> CPResult:
        """The result, with the exact fit and its gradient."""
        x, w, *_ = problem
        weights, factors, grams, *_ = self.enter(state)
        unit, scale = None if w is None else unit_weights(w), state.scale.astype(x.dtype)
        distance = lambda m, x: squared_distance(m, x / scale)  # noqa: E731
        squared = entry_sum(distance, weights, factors, x, unit, precision="highest")
        error = square_root(squared) / jnp.where(state.norm > 0, state.norm, 1)
        fit = 1 - error
        slope = _least_squares.stationarity(state.cp, data, self.options)
        eps = float(jnp.finfo(x.dtype).eps)
        vanished = jnp.any(weights.real <= eps * jnp.max(weights.real))
        dependent = vanished | is_singular(hadamard(*grams), eps**0.5)
        told = ending.told(state, state.cp, slope, dependent, error)
        history = padded(steps, state.iteration, fit)
        return CPResult(cp=state.cp, fit=fit, relative_error=error, **told, history=history)

    def differentiable(self, problem: Problem, result: CPResult) -> CPResult:
        """R7."""
        return _least_squares.differentiable(result, problem, self.options)
