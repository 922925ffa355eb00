"""Derivatives of a fit, by the implicit function theorem (R7).

A fit ends where the gradient of its objective, g(A; data), is zero on the factors that are free to
move. So g(A + Ȧ; data + ḋ) = 0 too: H Ȧ = −∂g/∂data · ḋ, one linear system with the Hessian H,
whatever the number of sweeps; the start does not enter. Its transpose, which JAX makes, is
d̄ = −(∂g/∂data)ᵀ H⁻¹ Ā.

Gauge. Multiplying the columns of a component by c_1, …, c_N with ∏ cₙ = 1 changes nothing, so H is
singular along such changes (for complex factors along phases, too). The system is solved for
factors of equal column norms, orthogonally to the gauge: that is where balanced factors stay
balanced. Unit columns and weights are made of them afterwards, by plain code.

Entries that a constraint holds at zero, or that nothing is known of, do not move either.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jkr._linalg._cg import solve_symmetric
from jkr._linalg._norms import unit_columns
from jkr._linalg._tangents import is_zero
from jkr._products._hadamard import hadamard

_STEPS = 500  # of conjugate gradients

Factors = tuple[Array, ...]
Linear = Callable[[Array], Array]


class Equations(NamedTuple):
    """The stationarity equations of a fit.

    Attributes:
        gradient: (balanced free factors, data) to the D with df = Re Σ conj(dAₙ)∘Dₙ of the
            objective f, one a factor.
        preconditioners: (the same) to one linear map a factor, about the inverse of the diagonal
            block of the Hessian, symmetric positive semi-definite.
        moving: (the same) to one mask a factor of the entries that move, True for all.
    """

    gradient: Callable[[Factors, Any], Factors]
    preconditioners: Callable[[Factors, Any], Sequence[Linear]]
    moving: Callable[[Factors, Any], Sequence[Array]]


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


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def stationary_point(
    equations: Equations, weights: Array, units: Factors, data: Any
) -> tuple[Array, Factors]:
    """The weights and unit columns themselves, where the equations hold: functions of the data.

    Args:
        equations: of the fit.
        weights: λ, (R,), nonnegative. What tangent they have does not count.
        units: the columns of the free factors; nor theirs.
        data: what the equations depend on, a pytree.
    """
    return weights, units


@partial(stationary_point.defjvp, symbolic_zeros=True)
def _stationary_point_jvp(equations, primals, tangents):
    weights, units = point = stationary_point(equations, *primals)
    data = primals[2]
    system = linearised(equations, weights, units, data)
    forced = pushed(lambda data: equations.gradient(system.free, data), (data,), (tangents[2],))
    moved = system.solve(jax.tree.map(jnp.negative, forced))
    return point, jax.jvp(partial(normal_form, previous=units), (system.free,), (moved,))[1]


def linearised(equations: Equations, weights: Array, units: Factors, data: Any) -> System:
    """The system at a stationary point."""
    free = balanced(weights, units)
    hessian = jax.linearize(lambda free: equations.gradient(free, data), free)[1]
    preconditioners, masks = equations.preconditioners(free, data), equations.moving(free, data)
    back = _flattened(free)[1]

    def flat(vs: Factors) -> Array:
        return _flattened(vs)[0]

    def project(v: Array) -> Array:
        return flat(_movable(back(v), free, masks))

    def restricted(f: Callable[[Factors], Factors], v: Array) -> Array:
        return project(flat(f(back(project(v)))))

    def by_blocks(vs: Factors) -> Factors:
        return tuple(f(v) for f, v in zip(preconditioners, vs, strict=True))

    multiply, precondition = partial(restricted, hessian), partial(restricted, by_blocks)
    return System(free, flat, back, project, multiply, precondition)


def balanced(weights: Array, units: Factors) -> Factors:
    """The weights spread evenly over the free factors."""
    size = weights.real
    there = size > 0
    each = jnp.where(there, jnp.where(there, size, 1) ** (1 / len(units)), 0)
    return tuple(u * each.astype(u.dtype)[None, :] for u in units)


def normal_form(free: Factors, previous: Factors) -> tuple[Array, Factors]:
    """Weights and unit columns of balanced factors; previous columns where one vanished."""
    pairs = [unit_columns(a, u) for a, u in zip(free, previous, strict=True)]
    weights = hadamard(*(norms[None, :] for norms, _ in pairs))[0]
    return weights, tuple(columns for _, columns in pairs)


def _movable(vs: Factors, free: Factors, masks: Sequence[Array]) -> Factors:
    """The orthogonal projection of a change on what moves: entries of the masks, off the gauge.

    The gauge is (cₙ aₙ) with Σ cₙ = 0, component by component; orthogonal to it are coefficients
    aₙᴴvₙ that do not depend on n.
    """
    vs = tuple(jnp.where(mask, v, 0) for v, mask in zip(vs, masks, strict=True))
    free = tuple(jnp.where(mask, a, 0) for a, mask in zip(free, masks, strict=True))
    squares = jnp.stack([jnp.sum((a * a.conj()).real, axis=0) for a in free])
    products = jnp.stack([jnp.sum(a.conj() * v, axis=0) for a, v in zip(free, vs, strict=True)])
    there = squares > 0
    inverse = jnp.where(there, 1 / jnp.where(there, squares, 1), 0).astype(free[0].dtype)
    # Where a column is zero, any change of the others' scales is of the gauge.
    sums = jnp.sum(inverse, axis=0)
    common = jnp.sum(products * inverse, axis=0) / jnp.where(sums == 0, 1, sums)
    common = jnp.where(there.all(axis=0), common, 0)
    along = (products - common[None, :]) * inverse
    return tuple(v - a * c[None, :] for a, v, c in zip(free, vs, along, strict=True))


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
    moves = jax.tree.leaves(tangents, is_leaf=is_zero)
    moving = [k for k, d in enumerate(moves) if not is_zero(d)]
    if not moving:
        return jax.tree.map(jnp.zeros_like, jax.eval_shape(f, *arguments))

    def of_moving(*values):
        replaced = dict(zip(moving, values, strict=True))
        return f(*jax.tree.unflatten(tree, [replaced.get(k, a) for k, a in enumerate(leaves)]))

    primals = tuple(leaves[k] for k in moving)
    return jax.jvp(of_moving, primals, tuple(moves[k] for k in moving))[1]
