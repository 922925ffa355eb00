"""Derivatives of a fit, by the implicit function theorem (R7).

A fit ends where the gradient of its objective, g(A; data), is zero on the factors that are free to
move. So g(A + Ȧ; data + ḋ) = 0 too: H Ȧ = −∂g/∂data · ḋ, one linear system with the Hessian H,
whatever the number of sweeps; the start does not enter. Its transpose, which JAX makes, is
d̄ = −(∂g/∂data)ᵀ H⁻¹ Ā.

Gauge. Multiplying the columns of a component by c_1, …, c_N with ∏ cₙ = 1 changes nothing, so H is
singular along such changes (for complex factors along phases, too). The system is solved for
factors of equal column norms, orthogonally to the gauge: that is where balanced factors stay
balanced. Unit columns and weights are made of them afterwards, by plain code.

Entries that a constraint holds at zero do not move either: derivatives are those on the active set.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jkr import _check
from jkr._contractions._cg import solve_symmetric
from jkr.cp._sweep import unit_columns

_STEPS = 500  # of conjugate gradients

Factors = tuple[Array, ...]
Linear = Callable[[Array], Array]


class Equations(NamedTuple):
    """The stationarity equations of a fit.

    Attributes:
        gradient: (balanced free factors, data) to ∂/∂conj(Aₙ) of the objective, one a factor.
        preconditioners: (the same) to one linear map a factor, about the inverse of the diagonal
            block of the Hessian, symmetric positive semi-definite.
        held: for each factor, whether its zeros are held there.
    """

    gradient: Callable[[Factors, Any], Factors]
    preconditioners: Callable[[Factors, Any], Sequence[Linear]]
    held: tuple[bool, ...]


class System(NamedTuple):
    """The Hessian at a solution, on what moves; vectors are flat and real.

    Attributes:
        free: the balanced factors.
        flat: factors to a vector.
        back: a vector to factors.
        project: a vector's part that moves.
        multiply: H on what moves, the identity on the rest.
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
        moving = self.project(self.flat(b))
        return self.back(solve_symmetric(self.multiply, self.precondition, moving, steps=_STEPS))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def solution(
    equations: Equations, weights: Array, units: Factors, data: Any, scale: Array
) -> tuple[Array, Factors]:
    """Weights and unit columns at which the equations hold, differentiable in the data.

    Args:
        equations: of the fit.
        weights: λ, (R,), nonnegative, in the units of the tensor.
        units: the columns of the free factors.
        data: what the equations depend on, a pytree.
        scale: of the tensor; the equations are for weights in units of it.
    """
    return weights, units


@partial(solution.defjvp, symbolic_zeros=True)
def _solution_jvp(equations, primals, tangents):
    weights, units = solution(equations, *primals)
    _, _, data, scale = primals
    system = linearised(equations, weights, units, data, scale)
    forced = pushed(lambda data: equations.gradient(system.free, data), (data,), (tangents[2],))
    moved = system.solve(jax.tree.map(jnp.negative, forced))
    return jax.jvp(lambda free: normal_form(free, units, scale), (system.free,), (moved,))


def linearised(
    equations: Equations, weights: Array, units: Factors, data: Any, scale: Array
) -> System:
    """The system at a solution."""
    free = balanced(weights, units, scale)
    hessian = jax.linearize(lambda free: equations.gradient(free, data), free)[1]
    preconditioners = equations.preconditioners(free, data)
    back = _flattened(free)[1]

    def flat(vs: Factors) -> Array:
        return _flattened(vs)[0]

    def project(v: Array) -> Array:
        return flat(_movable(back(v), free, equations.held))

    def restricted(f: Callable[[Factors], Factors], v: Array) -> Array:
        inside = project(v)
        return project(flat(f(back(inside)))) + (v - inside)

    def precondition(vs: Factors) -> Factors:
        return tuple(f(v) for f, v in zip(preconditioners, vs, strict=True))

    multiply, precondition_flat = partial(restricted, hessian), partial(restricted, precondition)
    return System(free, flat, back, project, multiply, precondition_flat)


def balanced(weights: Array, units: Factors, scale: Array) -> Factors:
    """The weights, in units of the scale, spread evenly over the factors."""
    size = weights.real / scale
    there = size > 0
    each = jnp.where(there, jnp.where(there, size, 1) ** (1 / len(units)), 0)
    return tuple(u * each.astype(u.dtype)[None, :] for u in units)


def normal_form(free: Factors, previous: Factors, scale: Array) -> tuple[Array, Factors]:
    """Weights in the units of the tensor, and unit columns; previous ones where one vanished."""
    pairs = [unit_columns(a, u) for a, u in zip(free, previous, strict=True)]
    weights = scale.astype(free[0].dtype)[None]
    for norms, _ in pairs:
        weights = weights * norms
    return weights, tuple(columns for _, columns in pairs)


def _movable(vs: Factors, free: Factors, held: Sequence[bool]) -> Factors:
    """The part of a change that moves: orthogonal to the gauge, and nothing where zeros are held.

    The gauge is (cₙ aₙ) with Σ cₙ = 0, component by component; all ‖aₙ‖ are equal, so that what
    is orthogonal to it has equal coefficients aₙᴴvₙ/‖aₙ‖².
    """
    vs = tuple(jnp.where(a == 0, 0, v) if h else v for v, a, h in zip(vs, free, held, strict=True))
    along = []
    for a, v in zip(free, vs, strict=True):
        square = jnp.sum((a * a.conj()).real, axis=0)
        square = jnp.where(square > 0, square, 1).astype(a.dtype)
        along.append(jnp.sum(a.conj() * v, axis=0) / square)
    mean = sum(along[1:], start=along[0]) / len(along)
    return tuple(v - a * (c - mean)[None, :] for a, v, c in zip(free, vs, along, strict=True))


def _flattened(vs: Factors) -> tuple[Array, Callable[[Array], Factors]]:
    """All entries in one real vector, and the way back.

    Real and imaginary parts apart: for complex factors H is linear over the reals only.
    """
    if not jnp.iscomplexobj(vs[0]):
        return ravel_pytree(vs)
    v, back = ravel_pytree([(a.real, a.imag) for a in vs])
    return v, lambda v: tuple(lax.complex(*parts) for parts in back(v))


def pushed(f: Callable, arguments: tuple, tangents: tuple) -> Any:
    """Tangent of f, where tangents that are known to be zero cost nothing."""
    leaves, tree = jax.tree.flatten(arguments)
    moves = jax.tree.leaves(tangents, is_leaf=_check.is_zero)
    moving = [k for k, d in enumerate(moves) if not _check.is_zero(d)]
    if not moving:
        return jax.tree.map(jnp.zeros_like, jax.eval_shape(f, *arguments))

    def of_moving(*values):
        replaced = dict(zip(moving, values, strict=True))
        return f(*jax.tree.unflatten(tree, [replaced.get(k, a) for k, a in enumerate(leaves)]))

    primals = tuple(leaves[k] for k in moving)
    return jax.jvp(of_moving, primals, tuple(moves[k] for k in moving))[1]
