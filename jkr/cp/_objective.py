"""The objective of GCP and what follows from it at a solution: gradient, curvature, derivatives.

F(A) = Σ W∘f(M, T) + ½ l2 Σ‖Aₙ‖² + g(A) over the free factors; the factors that the penalty g sees
are balanced, all column norms of a component equal, so that no scale is better than another.

Which entries are at their bound is told by one Newton step for each alone: a nonnegative entry a
with gradient s > 0 and curvature h, the diagonal of the Hessian, is to be zero where a ≤ s/h.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._elementwise import (
    entry_derivative,
    entry_sum,
    readable,
    squared_distance,
)
from jkr._contractions._partial import reconstruct
from jkr._contractions._passes import all_modes
from jkr.cp._data import Options, measured, observed
from jkr.cp._equations import attached, held, merged, moving, preconditioners, relative_gradient
from jkr.cp._fit import Problem
from jkr.cp._implicit import Equations, Factors, Linear, balanced, normal_form
from jkr.cp._loss import entry_loss
from jkr.cp._model import CPTensor
from jkr.cp._result import CPResult
from jkr.cp.losses import Loss

Penalty = Callable[[Factors], Array]


class Known(NamedTuple):
    """What the objective depends on beside the free factors.

    Attributes:
        x: tensor.
        w: entry weights, or None.
        l2: weight of the penalty.
        fixed: factors of the fixed modes.
    """

    x: Array
    w: Array | None
    l2: Array
    fixed: Factors


@dataclass(frozen=True)
class Objective:
    """F, static in all but the factors and `Known`.

    Attributes:
        loss: f.
        penalty: g, or None.
        options: of the fit.
    """

    loss: Loss
    penalty: Penalty | None
    options: Options

    def known(self, problem: Problem) -> Known:
        """What a problem gives."""
        x, w, _, l2 = problem
        return Known(x, w, jnp.asarray(l2, x.real.dtype), held(problem, self.options))

    def value(self, free: Factors, known: Known) -> Array:
        """F."""
        x, w, l2, fixed = known
        factors = merged(free, fixed, self.options)
        model = CPTensor(jnp.ones(factors[0].shape[1], x.dtype), factors)
        total = entry_loss(self.loss.function, model, x, w, self.options.precision)
        total = total + l2 / 2 * sum(jnp.sum((a * a.conj()).real) for a in free)
        if self.penalty is None:
            return total
        added = self.penalty(merged(self._even(free), fixed, self.options))
        return total + jnp.asarray(added).astype(total.dtype)

    def magnitude(self, free: Factors, known: Known) -> Array:
        """Σ W∘|f(M, T)|, 1 where that is zero or not finite."""
        x, w, _, fixed = known
        factors = merged(free, fixed, self.options)
        ones = jnp.ones(factors[0].shape[1], x.dtype)
        total = entry_sum(lambda m, x: jnp.abs(self.loss.function(m, x)), ones, factors, x, w)
        return jnp.where(jnp.isfinite(total) & (total > 0), total, 1)

    def _even(self, free: Factors) -> Factors:
        """The same component sizes, spread evenly over the free factors."""
        weights, units = normal_form(free, lax.stop_gradient(free))
        return balanced(weights, units)

    def gradient(self, free: Factors, known: Known) -> Factors:
        """The Sₙ with dF = Re Σ conj(dAₙ)∘Sₙ."""
        slopes = jax.grad(self.value)(free, known)
        return tuple(s.conj() for s in slopes)

    def curvature(self, free: Factors, known: Known) -> Array:
        """W∘∂²f/∂M², the positive part; over the reals, where the model is complex."""
        x, w, _, fixed = known
        model, data = self._model(free, fixed), readable(x, w)
        slope = lambda m: entry_derivative(self.loss.function, m, data)[1]  # noqa: E731
        ones = jnp.ones_like(model)
        second = jax.jvp(slope, (model,), (ones,))[1].real
        if jnp.iscomplexobj(model):
            second = (second + jax.jvp(slope, (model,), (1j * ones,))[1].imag) / 2
        second = jnp.maximum(second, 0)
        return second if w is None else w * jnp.where(w == 0, 0, second)

    def equations(self) -> Equations:
        """The stationarity equations, in `Known`."""
        return Equations(self.gradient, self._preconditioners, self._moving)

    def _preconditioners(self, free: Factors, known: Known) -> list[Linear]:
        factors = merged(free, known.fixed, self.options)
        curvature = self.curvature(free, known)
        return preconditioners(factors, curvature, known.l2, self.options)

    def _moving(self, free: Factors, known: Known) -> list[Array]:
        return moving(free, known.w, known.l2, self.options)

    def _model(self, free: Factors, fixed: Factors) -> Array:
        return reconstruct(merged(free, fixed, self.options), self.options.precision)

    def at_bounds(self, free: Factors, known: Known) -> Factors:
        """The factors with zeros where entries are at their bound, if F is no larger there."""
        if not self.options.nonnegative:
            return free
        slopes, factors = self.gradient(free, known), merged(free, known.fixed, self.options)
        diagonals = all_modes(self.curvature(free, known), [a * a for a in factors], None)
        moved = tuple(
            jnp.where((s > 0) & (a * (diagonals[n] + known.l2) <= s), 0, a)
            if n in self.options.nonnegative
            else a
            for n, a, s in zip(self.options.free, free, slopes, strict=True)
        )
        before, after = self.value(free, known), self.value(moved, known)
        rounding = 16 * float(jnp.finfo(before.dtype).eps) * jnp.abs(before)
        better = after <= before + rounding
        return jax.tree.map(partial(jnp.where, better), moved, free)

    def stationarity(self, free: Factors, known: Known) -> Array:
        """The relative gradient of `CPResult`: relative to ‖W∘f'‖ + ‖W∘f''∘M‖."""
        x, w, _, fixed = known
        factors = merged(free, fixed, self.options)

        def sizes(m: Array, x: Array) -> Array:
            slope = lambda m: entry_derivative(self.loss.function, m, x)[1]  # noqa: E731
            first, second = jax.jvp(slope, (m,), (m,))
            return squared_distance(first, jnp.zeros_like(m)) + squared_distance(
                second, jnp.zeros_like(m)
            )

        squares = None if w is None else w * w
        ones = jnp.ones(factors[0].shape[1], x.dtype)
        size = jnp.sqrt(entry_sum(sizes, ones, factors, x, squares))
        slopes = self.gradient(free, known)
        return relative_gradient(slopes, factors, size, self.options)

    def squared_error(self, cp: CPTensor, x: Array, w: Array | None, scale: Array) -> Array:
        """‖W½∘(T − E)‖²/‖W½∘T‖², E the data that the model stands for."""
        unit = scale.astype(x.dtype)

        def distance(m: Array, x: Array) -> Array:
            return squared_distance(self.loss.expected(m) / unit, x / unit)

        squared = entry_loss(distance, cp, x, w, self.options.precision)
        seen = squared_distance(observed(x, w) / unit, jnp.zeros_like(x))
        whole = jnp.sum(seen if w is None else w * seen)
        return squared / jnp.where(whole > 0, whole, 1)

    def differentiable(self, problem: Problem, result: CPResult) -> CPResult:
        """R7."""
        known = self.known(problem)
        scale = measured(*lax.stop_gradient((known.x, known.w)))[0]
        arguments, unit = (known.x, known.w, scale), jnp.ones((), known.x.dtype)
        return attached(
            result,
            self.equations(),
            known,
            unit,
            known.fixed,
            self.squared_error,
            arguments,
            self.options,
        )
