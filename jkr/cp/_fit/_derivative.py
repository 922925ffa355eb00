"""Derivatives of a fit, by the implicit function theorem (R7), for every algorithm alike.

A fit ends where the gradient of its objective, g(A; d), is zero on the factors that are free to
move, d being all that the objective depends on: data, entry weights, l2, fixed factors, and what
penalties hold. So g(A + Ȧ; d + ḋ) = 0 too: H Ȧ = −∂g/∂d · ḋ, one linear system with the Hessian H,
whatever the number of steps; the start does not enter. Its transpose, which JAX makes, is
d̄ = −(∂g/∂d)ᵀ H⁻¹ Ā.

Gauge. Multiplying the columns of a component by c_1, …, c_N with ∏ cₙ = 1 changes nothing, so H is
singular along such changes (for complex factors along phases, too). The system is solved for
factors of equal column norms, orthogonally to the gauge: that is where balanced factors stay
balanced. Unit columns and weights are made of them afterwards, by plain code.

Entries that a constraint holds at zero, or that nothing is known of, do not move either.

Source: [BBC22].
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr import _check
from jkr._linalg._cg import Linear, as_vector, solve_symmetric
from jkr._linalg._psd import inverse_roots, rows_by_roots
from jkr._linalg._tangent_space import off_gauge
from jkr._linalg._tangents import is_zero, tangent_of
from jkr.cp._fit._result import CPResult
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Factors, Objective, squared_error
from jkr.tensors._tensor import Scale

_STEPS = 500  # of conjugate gradients


def with_derivatives(result: CPResult, objective: Objective, scale: Scale) -> CPResult:
    """The same result as a function of all that the objective depends on.

    The scale, that of the data, is a constant: it says in which units the equations are solved.
    """
    result = lax.stop_gradient(result)
    if not all(c.differentiable for c in objective.constraints):
        cp, error = _without_derivatives((result.cp, result.relative_error), objective)
        return result._replace(cp=cp, relative_error=error, fit=1 - error)
    problem, unit = objective.in_units(scale), objective.unit(scale).astype(objective.dtype)
    units = objective.movable(result.cp.factors)
    weights, units = stationary_point(problem, result.cp.weights / unit, units)
    cp = CPTensor(weights * unit, objective.factors(units))
    error = _known_error(result.relative_error, objective, cp)
    return result._replace(cp=cp, relative_error=error, fit=1 - error)


@jax.custom_jvp
def _without_derivatives(values: Any, objective: Objective) -> Any:
    """The values themselves, of a fit whose solution is known to move in ways not derived here."""
    return values


@partial(_without_derivatives.defjvp, symbolic_zeros=True)
def _without_derivatives_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    values, objective = primals
    if not all(is_zero(d) for d in jax.tree.leaves(tangents[1])):
        _check.differentiable([c for c in objective.constraints if not c.differentiable])
    return values, jax.tree.map(jnp.zeros_like, values)


class System(NamedTuple):
    """The Hessian at a solution, on what moves; vectors are flat and real.

    Attributes:
        free: the balanced factors.
        flat: factors to a vector.
        back: a vector to factors.
        project: a vector's part that moves, an orthogonal projection.
        multiply: H on what moves, nothing of the rest.
        precondition: about the inverse of that.
    """

    free: Factors
    flat: Callable[[Factors], Array]
    back: Callable[[Array], Factors]
    project: Linear
    multiply: Linear
    precondition: Linear

    def solve(self, b: Factors) -> Factors:
        """H⁻¹b within what moves."""
        v = self.project(self.flat(b))
        v = solve_symmetric(self.multiply, self.precondition, v, steps=_STEPS)
        # Once more, because what moves depends on the data too: second derivatives see it here.
        return self.back(self.project(v))


@jax.custom_jvp
def stationary_point(objective: Objective, weights: Array, units: Factors) -> tuple[Array, Factors]:
    """The weights and unit columns themselves, where the gradient is zero: functions of the data.

    Args:
        objective: with all that it depends on.
        weights: λ, (R,), nonnegative. What tangent they have does not count.
        units: the columns of the free factors; nor theirs.
    """
    return weights, units


@partial(stationary_point.defjvp, symbolic_zeros=True)
def _stationary_point_jvp(primals, tangents):
    objective, *_ = primals
    # The solution as a function of the data, here too: second derivatives move the system.
    point = weights, units = stationary_point(*primals)
    system, ones = linearised(objective, weights, units)
    gradient = lambda objective: objective.gradient(ones, system.free)  # noqa: E731
    forced = tangent_of(gradient, (objective,), (tangents[0],))
    if forced is None:
        return point, jax.tree.map(jnp.zeros_like, point)
    moved = system.solve(jax.tree.map(jnp.negative, forced))
    return point, jax.jvp(partial(normal_form, objective, units), (system.free,), (moved,))[1]


def normal_form(objective: Objective, units: Factors, free: Factors) -> tuple[Array, Factors]:
    """Weights and columns of balanced factors, `units` being those before."""
    ones = jnp.ones(free[0].shape[1], free[0].dtype)
    cp = objective.normal_form(ones, free, units)
    return cp.weights, objective.movable(cp.factors)


def linearised(objective: Objective, weights: Array, units: Factors) -> tuple[System, Array]:
    """The system at a stationary point, and the weights that go with its balanced factors."""
    cp = CPTensor(weights, objective.factors(units))
    ones, free = objective.balanced(cp)
    roots = tuple(inverse_roots(G) for G in objective.curvature(ones, free))
    masks = objective.moves(free)
    back = as_vector(free)[1]

    def flat(vs: Factors) -> Array:
        return as_vector(vs)[0]

    def moving_part(vs: Factors) -> Factors:
        return tuple(jnp.where(mask, v, 0) for v, mask in zip(vs, masks, strict=True))

    moving = moving_part(free)

    def project(v: Array) -> Array:
        return flat(off_gauge(moving_part(back(v)), moving))

    def restricted(f: Callable[[Factors], Factors], v: Array) -> Array:
        return project(flat(f(back(project(v)))))

    def hessian(vs: Factors) -> Factors:
        # Forward, inside the loop of the solver: a linearisation would keep its residuals, several
        # arrays of the tensor's size.
        return jax.jvp(partial(objective.gradient, ones), (free,), (vs,))[1]

    def by_blocks(vs: Factors) -> Factors:
        return tuple(rows_by_roots(F, v) for F, v in zip(roots, vs, strict=True))

    multiply, precondition = partial(restricted, hessian), partial(restricted, by_blocks)
    return System(free, flat, back, project, multiply, precondition), ones


@jax.custom_jvp
def _known_error(value: Array, objective: Objective, cp: CPTensor) -> Array:
    """The relative error that was found, with the derivative of its definition."""
    return value


@partial(_known_error.defjvp, symbolic_zeros=True)
def _known_error_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    error = _known_error(*primals)
    there = error > 10 * float(jnp.finfo(error.dtype).eps)  # an exact fit is at a kink
    moved = tangent_of(squared_error, primals[1:], tangents[1:])
    if moved is None:
        return error, jnp.zeros_like(error)
    return error, jnp.where(there, moved / (2 * jnp.where(there, error, 1)), 0)
