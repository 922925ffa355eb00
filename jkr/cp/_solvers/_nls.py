"""Damped Gauss–Newton (Levenberg–Marquardt): all factors at once, to a stationary point.

A step solves (JᴴHJ + μI) d = −g for balanced factors, g being the gradient, J the derivative of the
model and H the second derivatives of the loss (ones, for least squares; the positive part, for
others). Along narrow valleys, where components are nearly parallel, the model curves more than such
a step sees: geodesic acceleration solves once more, with the second derivative of the model along d
on the right, and takes d + a/2. (Other losses go without: it saves none of their steps.) μ follows
the ratio of the decrease of the objective to that which was predicted (Nielsen's rule).

Where all entries weigh the same a step reads the tensor for the gradient where it leads, and no
more: the objective comes of the same readings. By Grams it is good to eps·‖T‖² only; what is less
than that shows in the gradients at both ends of the step (as in Hager and Zhang's approximate Wolfe
conditions).

Products with JᴴJ are of Grams there (I10ᴴ) and read no tensor. What is orthogonal to all columns of
a factor is apart from the rest, so that the system has N·R² unknowns whatever the shape; where they
are few the matrix is written out and factorised. Else conjugate gradients solve it, preconditioned
by the diagonal blocks; for other losses, and under entry weights, each product is one pass over the
entries.

Nonnegative factors: entries at zero that the gradient would push below stay there, the others move
and are cut at zero (a projected Newton step). Squared factors, the other way, lose their slope at
the bound: 49 to 254 steps to within 1e-6 of objectives that this reached in 2 to 5 (15×12×10,
R = 3, two fifths of the factors zero, noise 5 %).

It begins with some sweeps of ALS (`_warm_up`).

Source: [SVBD13]; geodesic acceleration: [TS12]; damping: [Nie99]; bounds: [Ber82]; small
differences: [HZ05].
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from jkr import _check
from jkr._linalg._cg import as_vector, solve_symmetric
from jkr._linalg._definite import definite_inverse
from jkr._linalg._norms import square_root
from jkr._linalg._psd import basis, definite_root, inverse_roots, rows_by_roots
from jkr._linalg._small import gram, inner, matmul
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Factors, Objective
from jkr.cp._solvers._algorithm import Algorithm, Start, scaled_start
from jkr.cp._solvers._warm_up import MANY, after_sweeps, sweeps_for
from jkr.cp.constraints import Fixed, Free, Nonnegative
from jkr.tensors._tensor import GOOD, Scale

_WRITTEN_OUT = 800  # unknowns up to which the matrix is
_STEPS = 100  # of conjugate gradients
_INEXACT = 0.1  # largest relative residual of theirs
_STARTS = 4  # of a core, where a sweep costs so much less than a factorisation:
_CHEAPER = 16  # times, in multiplications
_DAMPING = 1e-3  # of the largest entry of the diagonal, before the first step
_MOST_DAMPING = 1e12
_FALLS = 1e-4  # of the decrease that was predicted: what a step that is taken gains at least
_AT_REST = 64  # times eps: a stationarity that is rounding
_SMALL = 1e-4  # relative residual below which the gradient has to fall in proportion
_SEEN = 128  # times rounding: a difference of objectives that is trusted
_BEND = 1.5  # how long an acceleration may be, in steps


Solve = Callable[[Factors], Factors]
InexactSolve = Callable[[Factors, Array | float], Factors]  # second: the relative residual to reach


class NLSState(NamedTuple):
    """Between two steps; a pytree of arrays that can be saved and resumed.

    Attributes:
        cp: the model, a CPTensor (I_1, …, I_N) of rank R: unit columns, nonnegative weights, fixed
            factors as given. For a float16 or bfloat16 tensor it is in float32.
        objective: of the model, a real scalar; NaN where something was not finite.
        value: the same in units of the data, which is in range wherever they are.
        magnitude: Σ `W∘|f(M, T)|` at the start, of other losses than least squares, whose values
            may cancel; else 0.
        gradient: of the value, with respect to the balanced free factors.
        stationarity: of the model, as in `CPResult`, a real scalar.
        change: the same, more where the residual is less than 1e-4 of the data, zero once a step
            predicts less than rounding; NaN where the value is.
        iteration: steps done, those refused included, an integer scalar.
        damping: μ over the largest entry of the diagonal of JᴴHJ, a real scalar.
        growth: by what μ is multiplied when the next step is refused, a real scalar.
        scale: how large the data are, a `jkr.tensors.Scale`.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.NLS().init(x, 2, key=jax.random.key(1))
        >>> state.cp.shape, int(state.iteration)
        ((4, 5, 6), 0)

    Source: [SVBD13].
    """

    cp: CPTensor
    objective: Array
    value: Array
    magnitude: Array
    gradient: Factors
    stationarity: Array
    change: Array
    iteration: Array
    damping: Array
    growth: Array
    scale: Scale


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaussNewton(Algorithm):
    """Damped Gauss–Newton.

    Attributes:
        sweeps: of ALS, before the first step; None for as many as suit.
        starts: how many to compare after those sweeps, if there are any.
        near: whether the start is near the end, and no saddle.
    """

    sweeps: int | None = field(default=None, metadata={"static": True})
    starts: int = field(default=1, metadata={"static": True})
    near: bool = field(default=False, metadata={"static": True})

    title: ClassVar[str] = "NLS"
    state: ClassVar[type] = NLSState
    watches: ClassVar[str] = "objective"
    works_in_units: ClassVar[bool] = True
    states_are_models: ClassVar[bool] = True
    products: ClassVar[int] = 10

    def check(self, name: str, objective: Objective) -> None:
        """Constraints that a projected step obeys."""
        _check.smooth_constraints(name, objective.constraints, (Free, Nonnegative, Fixed))

    def init(self, objective: Objective, start: Start) -> NLSState:
        """The state before the first step."""
        cp, scale, drawn = start
        sweeps = sweeps_for(objective, drawn=drawn) if self.sweeps is None else self.sweeps
        if sweeps:
            cp = after_sweeps(objective, start, sweeps, self.starts)
        elif drawn:
            cp = scaled_start(objective, cp)
        problem, weights, free = objective.at(cp, scale)
        here = _Point.at(problem, weights, free, scale)
        good = jnp.isfinite(here.value) & (scale.status == GOOD)
        here = here._replace(value=jnp.where(good, here.value, jnp.nan))
        one = jnp.ones_like(here.value)
        return NLSState(
            cp=cp,
            objective=objective.from_units(here.value, scale),
            value=here.value,
            magnitude=problem.magnitude(weights, free) if problem.has_functions else 0 * one,
            gradient=here.gradient,
            stationarity=here.stationarity,
            change=_stopping_measure(problem, here, scale),
            iteration=jnp.zeros((), int),
            damping=_DAMPING * one,
            growth=2 * one,
            scale=scale,
        )

    def step(self, objective: Objective, state: NLSState) -> NLSState:
        """One damped step, taken if the objective falls as it should."""
        problem, weights, free = objective.at(state.cp, state.scale)
        here = _Point(weights, free, state.value, state.gradient, state.stationarity)
        moved, predicted = _moved(problem, here, state.damping)
        new = problem.normal_form(weights, moved, problem.movable(state.cp.factors))
        there = _Point.at(problem, *problem.balanced(new), state.scale)
        noise = _noise(problem, here, state)
        ratio = (_decrease(problem, here, there, state) + noise) / (predicted + noise)
        taken, resting, done = self._verdict(here, there, ratio, predicted, noise, state.damping)
        unit = objective.unit(state.scale).astype(new.weights.dtype)
        new = new._replace(weights=new.weights * unit)
        cp, here = jax.tree.map(partial(jnp.where, taken), (new, there), (state.cp, here))
        shrink = jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3)
        damping = state.damping * jnp.where(taken, shrink, state.growth)
        least = _least_damping(damping)
        change = _stopping_measure(problem, here, state.scale)
        return NLSState(
            cp=cp,
            objective=objective.from_units(here.value, state.scale),
            value=here.value,
            magnitude=state.magnitude,
            gradient=here.gradient,
            stationarity=here.stationarity,
            change=jnp.where(done & ~jnp.isnan(change), 0, change),
            iteration=state.iteration + 1,
            damping=jnp.where(resting, least, jnp.maximum(damping, least)),
            growth=jnp.where(taken, 2, 2 * state.growth),
            scale=state.scale,
        )

    def _verdict(
        self,
        here: "_Point",
        there: "_Point",
        ratio: Array,
        predicted: Array,
        noise: Array,
        damping: Array,
    ) -> tuple[Array, Array, Array]:
        """Whether a step is taken, whether it began at rest, and whether it is the last.

        Near the end the objective no longer shows progress. The gradient does, until it is rounding
        and stops halving. It stops at saddles, too: so a start from afar has to rest with the least
        damping as well, and a step that finds rest there and no less gradient is not taken.
        """
        eps = float(jnp.finfo(ratio.dtype).eps)
        accepted = jnp.isfinite(there.value) & jnp.isfinite(there.stationarity) & (ratio > _FALLS)
        stationarity = jnp.where(accepted, there.stationarity, here.stationarity)
        halves = stationarity <= 0.5 * here.stationarity
        stuck = (predicted <= noise / 8) & (stationarity <= _AT_REST * eps) & ~halves
        resting = stuck | (here.stationarity <= _AT_REST / 8 * eps)
        ends = resting & ((damping <= _least_damping(damping)) | self.near)
        done = ends | (predicted <= eps * noise) | (damping > _MOST_DAMPING)
        return accepted & (halves | ~ends), resting, done


class _Point(NamedTuple):
    """A model, balanced, and what of the objective is known there, in units of the data."""

    weights: Array
    free: Factors
    value: Array
    gradient: Factors
    stationarity: Array

    @classmethod
    def at(cls, problem: Objective, weights: Array, free: Factors, scale: Scale) -> "_Point":
        """By the readings that a gradient takes."""
        value, gradient = problem.value_and_gradient(weights, free, scale)
        stationarity = problem.stationarity(weights, free, gradient, scale)
        return cls(weights, free, value, gradient, stationarity)


def _moved(problem: Objective, here: _Point, damping: Array) -> tuple[Factors, Array]:
    """Factors after a damped step, and by how much the objective should fall."""
    moving = tuple(
        ~((a == 0) & (g > 0)) if problem.constraints[n].kind == "cone" else jnp.ones(a.shape, bool)
        for n, a, g in zip(problem.free, here.free, here.gradient, strict=True)
    )
    # As exact as the gradient is small: far from the end more would be wasted.
    tolerance = jnp.minimum(_INEXACT, jnp.sqrt(here.stationarity))
    system = _System.at(problem, here.weights, here.free, moving, damping)
    d = system.solve(tuple(-g for g in here.gradient), tolerance)
    predicted = system.predicted(here.gradient, d)
    if not problem.has_functions:  # steps of other losses are as many without
        d = system.bent(d)
    moved = tuple(
        problem.constraints[n].prox(x + v, jnp.ones_like(predicted))
        for n, x, v in zip(problem.free, here.free, d, strict=True)
    )
    return moved, predicted


def _noise(problem: Objective, here: _Point, state: NLSState) -> Array:
    """What a step may gain or lose by rounding alone."""
    eps = float(jnp.finfo(here.value.dtype).eps)
    noise = 64 * eps * jnp.maximum(jnp.abs(here.value), state.magnitude)
    if problem.has_functions:
        return noise
    # That of the residuals themselves, near an exact fit.
    return noise + (4 * eps * problem.norm(state.scale)) ** 2


def _decrease(problem: Objective, here: _Point, there: _Point, state: NLSState) -> Array:
    """By how much the objective falls from here to there.

    Where the difference is rounding, it is the mean of the slopes at both ends.
    """

    def rounding(point: _Point) -> Array:
        size = jnp.maximum(jnp.abs(point.value), state.magnitude)
        return problem.rounding(size, point.weights, point.free, state.scale)

    fell = here.value - there.value
    quadruples = zip(here.gradient, there.gradient, here.free, there.free, strict=True)
    chords = [jnp.sum(((g + h).conj() * (a - b)).real) / 2 for g, h, a, b in quadruples]
    seen = jnp.abs(fell) > _SEEN * jnp.maximum(rounding(here), rounding(there))
    return jnp.where(seen, fell, sum(chords[1:], start=chords[0]))


def _least_damping(damping: Array) -> float:
    """Less would leave the gauge, where nothing is known, to rounding."""
    return float(jnp.finfo(damping.dtype).eps) ** 0.75


def _stopping_measure(problem: Objective, here: _Point, scale: Scale) -> Array:
    """What has to fall below tol: the stationarity; NaN where the value is.

    It is times 1e-4/ρ where the relative residual ρ is less than 1e-4, so that all digits are asked
    of an exact fit; in float32 Grams do not tell so small a residual.
    """
    stationarity = jnp.where(jnp.isnan(here.value), jnp.nan, here.stationarity)
    if problem.has_functions:
        return stationarity
    norm = problem.norm(scale)
    residual = square_root(2 * here.value) / jnp.where(norm > 0, norm, 1)
    told = float(jnp.finfo(here.value.dtype).eps) ** 0.5
    return stationarity * jnp.maximum(1, _SMALL / jnp.maximum(residual, told))


def in_core(shape: tuple[int, ...], rank: int) -> GaussNewton:
    """For a small tensor, where sweeps may cost much less than steps."""
    unknowns = sum(min(n, rank) * rank for n in shape)
    cheap = unknowns**3 > _CHEAPER * rank * prod(shape)
    several = cheap and unknowns <= _WRITTEN_OUT
    return GaussNewton(sweeps=MANY, starts=_STARTS) if several else GaussNewton()


class _System(NamedTuple):
    """JᴴHJ + μI at a point, on what moves."""

    curved: Callable[[Factors], Factors]
    moving_part: Solve
    free: Factors
    mu: Array
    inverse: InexactSolve

    @classmethod
    def at(
        cls,
        problem: Objective,
        weights: Array,
        free: Factors,
        moving: Factors,
        damping: Array,
    ) -> "_System":
        blocks = problem.curvature(weights, free)
        steepest = [jnp.max(jnp.diagonal(G, axis1=-2, axis2=-1).real) for G in blocks]
        mu = damping * jnp.max(jnp.stack(steepest))
        eye = jnp.eye(weights.shape[0], dtype=weights.dtype)
        shift = lambda G: G + mu.astype(G.dtype) * eye.reshape((1,) * (G.ndim - 2) + eye.shape)  # noqa: E731
        roots = [inverse_roots(shift(G), definite_root) for G in blocks]

        def moving_part(vs: Factors) -> Factors:
            return tuple(jnp.where(m, v, 0) for m, v in zip(moving, vs, strict=True))

        def by_blocks(vs: Factors) -> Factors:
            return tuple(rows_by_roots(F, v) for F, v in zip(roots, vs, strict=True))

        if problem.by_columns:
            inverse = _inverse_by_columns(problem, weights, free, mu, by_blocks)
        else:
            inverse = _inverse(problem, weights, free, moving_part, mu, by_blocks)
        return cls(problem.gauss_newton(weights, free), moving_part, free, mu, inverse)

    def solve(self, b: Factors, tolerance: Array | float) -> Factors:
        """(JᴴHJ + μI)⁻¹ b on what moves."""
        return self.moving_part(self.inverse(self.moving_part(b), tolerance))

    def bent(self, d: Factors) -> Factors:
        """The step d and half its acceleration, unless that is too long to be one."""
        first = lambda at: jax.jvp(self.curved, (at,), (d,))[1]  # noqa: E731
        second = jax.jvp(first, (self.free,), (d,))[1]  # JᴴH and the model's second derivative
        # It only bends the step: a rough one will do.
        a = self.solve(tuple(-b for b in second), _INEXACT)
        short = _norm(a) <= _BEND * _norm(d)
        return tuple(v + jnp.where(short, w / 2, 0) for v, w in zip(d, a, strict=True))

    def predicted(self, gradient: Factors, d: Factors) -> Array:
        """By how much the quadratic model falls along d, its solution: ½ dᵀ(μd − g)."""
        v, g = as_vector(d)[0], as_vector(gradient)[0]
        return 0.5 * inner(v, self.mu * v - g)


def _inverse_by_columns(
    problem: Objective,
    weights: Array,
    free: Factors,
    mu: Array,
    by_blocks: Solve,
) -> InexactSolve:
    """(JᴴJ + μI)⁻¹ in the span of each factor's columns, min(I, R) coordinates, and beyond it.

    There the matrix is that of the coordinates of the factors; beyond, its diagonal blocks.
    """
    bases = [basis(a) for a in free]
    turned = lambda vs: tuple(gram(q, v) for q, v in zip(bases, vs, strict=True))  # noqa: E731
    back = lambda vs: tuple(matmul(q, v) for q, v in zip(bases, vs, strict=True))  # noqa: E731
    inside = _inverse(problem, weights, turned(free), lambda vs: vs, mu, by_blocks)

    def inverse(b: Factors, tolerance: Array | float) -> Factors:
        within = turned(b)
        rest = by_blocks(tuple(v - w for v, w in zip(b, back(within), strict=True)))
        return tuple(v + w for v, w in zip(back(inside(within, tolerance)), rest, strict=True))

    return inverse


def _inverse(
    problem: Objective,
    weights: Array,
    free: Factors,
    moving_part: Solve,
    mu: Array,
    by_blocks: Solve,
) -> InexactSolve:
    """(JᴴHJ + μI)⁻¹ by the matrix written out, where that is small, or by conjugate gradients."""
    if problem.by_grams and problem.penalty is None and sum(a.size for a in free) <= _WRITTEN_OUT:
        return _inverse_written_out(problem, weights, free, moving_part, mu)
    flat, back = lambda vs: as_vector(vs)[0], as_vector(free)[1]
    curved = problem.gauss_newton(weights, free)

    def multiply(v: Array) -> Array:
        product = jax.jvp(curved, (free,), (moving_part(back(v)),))[1]
        return flat(moving_part(product)) + mu * v

    def precondition(v: Array) -> Array:
        return flat(moving_part(by_blocks(moving_part(back(v)))))

    return lambda b, tolerance: back(
        solve_symmetric(multiply, precondition, flat(b), steps=_STEPS, tolerance=tolerance)
    )


def _inverse_written_out(
    problem: Objective, weights: Array, free: Factors, moving_part: Solve, mu: Array
) -> InexactSolve:
    """The same by a matrix of Grams, complex where the factors are."""
    ones, back = ravel_pytree(tuple(map(jnp.ones_like, free)))
    moves = ravel_pytree(moving_part(back(ones)))[0] != 0
    S = problem.gauss_newton_matrix(weights, free)
    S = jnp.where(moves[:, None] & moves[None, :], S, 0)
    solve, _ = definite_inverse(S + mu.astype(S.dtype) * jnp.eye(len(S), dtype=S.dtype))
    return lambda b, _: back(solve(ravel_pytree(b)[0]))


def _norm(vs: Factors) -> Array:
    return jnp.linalg.norm(as_vector(vs)[0])
