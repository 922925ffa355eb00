"""Derivatives of a fit, by the implicit function theorem (R7).

A fit ends where the gradient of its objective, g(A; data), is zero on the factors that are free to
move. So g(A + Ȧ; data + ḋ) = 0 too: H Ȧ = −∂g/∂data · ḋ, one linear system with the Hessian H,
whatever the number of sweeps; the start does not enter. Its transpose, which JAX makes, is
d̄ = −(∂g/∂data)ᵀ H⁻¹ Ā.

Gauge. Multiplying the columns of a component by c_1, …, c_N with ∏ cₙ = 1 changes nothing, so H is
singular along such changes (for complex factors along phases, too). The system is solved for
factors of equal column norms, orthogonally to the gauge: that is where balanced factors stay
balanced. Unit columns and weights are made of them afterwards, by plain code.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jkr import _check
from jkr._contractions._cg import solve_symmetric
from jkr._contractions._gram import pair_columns, square
from jkr._contractions._groups import all_modes
from jkr._contractions._partial import reconstruct
from jkr._contractions._precise import gram, matmul
from jkr._contractions._solve import inverse_root
from jkr._products._hadamard import hadamard
from jkr.cp._loss import half_squares
from jkr.cp._model import CPTensor, column_norms, square_root
from jkr.cp._result import CPResult
from jkr.cp._sweep import Data, Options, measured, observed, prepared, unit_columns, unit_weights

_STEPS = 500

Factors = tuple[Array, ...]


def differentiable(
    result: CPResult, x: Array, w: Array | None, l2: Array, fixed: Factors, options: Options
) -> CPResult:
    """The same result, with derivatives with respect to the data, l2 and the fixed factors.

    Args:
        result: of the fit, in the accumulator's dtype.
        x: the tensor.
        w: the entry weights.
        l2: the penalty.
        fixed: factors of the fixed modes, as given.
        options: of the fit.
    """
    result = lax.stop_gradient(result)
    scale, norm, _ = measured(*lax.stop_gradient((x, w)))
    data = prepared(x, w, l2, scale, norm, options)
    weights, free = _solution(result.cp, data, fixed, options)
    cp = merged(weights, free, fixed, options)
    error = _error(result.relative_error, cp, x, w, scale, options)
    return result._replace(cp=cp, relative_error=error, fit=1 - error)


def merged(weights: Array, free: Factors, fixed: Factors, options: Options) -> CPTensor:
    """The model of its free and its fixed factors."""
    movable, others = iter(free), iter(fixed)
    order = len(free) + len(fixed)
    return CPTensor(
        weights, tuple(next(movable if n in options.free else others) for n in range(order))
    )


def stationarity(cp: CPTensor, data: Data, options: Options) -> Array:
    """The relative gradient of `CPResult` at a model, in the units of the data."""
    fixed = tuple(a for n, a in enumerate(cp.factors) if n not in options.free)
    free = _balanced(cp.weights, tuple(cp.factors[n] for n in options.free), data.scale)
    norms = [column_norms(a)[None, :] for a in merged(cp.weights, free, fixed, options).factors]
    worst = jnp.zeros_like(data.norm)
    for n, a, g in zip(options.free, free, gradient(free, data, fixed, options), strict=True):
        if n in options.nonnegative:
            g = jnp.where(a == 0, jnp.minimum(g, 0), g)
        size = data.norm * jnp.max(hadamard(*norms[:n], *norms[n + 1 :]))
        steepness = jnp.sqrt(jnp.sum((g * g.conj()).real)) / jnp.where(size > 0, size, 1)
        worst = jnp.maximum(worst, steepness)
    return jnp.where(jnp.isfinite(worst), worst, jnp.inf)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _solution(cp: CPTensor, data: Data, fixed: Factors, options: Options) -> tuple[Array, Factors]:
    """Weights and unit columns of the free modes at a stationary point."""
    return cp.weights, tuple(cp.factors[n] for n in options.free)


@partial(_solution.defjvp, symbolic_zeros=True)
def _solution_jvp(options, primals, tangents):
    weights, units = _solution(*primals, options)
    _, data, fixed = primals
    system = linearised(weights, units, data, fixed, options)
    forced = _pushed(
        lambda data, fixed: gradient(system.free, data, fixed, options),
        (data, fixed),
        tangents[1:],
    )
    moved = system.solve(jax.tree.map(jnp.negative, forced))
    return jax.jvp(system.normal, (system.free,), (moved,))


def _pushed(f: Callable, arguments: Any, tangents: Any) -> Any:
    """Tangent of f where some tangents are known to be zero."""
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


def gradient(free: Factors, data: Data, fixed: Factors, options: Options) -> Factors:
    """∂/∂conj(Aₙ) of ½Σ W∘|M − T|² + ½ l2 Σ‖Aₙ‖² for the free modes, in the units of `Data`."""
    x, w, l2, scale, _ = data
    factors = merged(l2, free, fixed, options).factors
    conjugate = tuple(a.conj() for a in factors)
    if w is None:
        ys = all_modes(x, conjugate, options.precision)
        grams = [gram(a, a) for a in factors]
        matrices = (
            matmul(a, hadamard(*grams[:n], *grams[n + 1 :]).T) - y / scale.astype(x.dtype)
            for n, (a, y) in enumerate(zip(factors, ys, strict=True))
        )
    else:
        residual = w * reconstruct(factors, options.precision) - x / scale.astype(x.dtype)
        matrices = all_modes(residual, conjugate, options.precision)
    penalty = l2.astype(x.dtype)
    return tuple(g + penalty * factors[n] for n, g in enumerate(matrices) if n in options.free)


class System(NamedTuple):
    """The Hessian of a fit at its solution.

    Attributes:
        free: balanced factors of the free modes.
        multiply: Hessian-vector product on flat real vectors, the identity along what does not
            move: the gauge, and entries held at zero.
        solve: factors-like right-hand side to factors-like solution, where both are moved parts.
        project: flat vector to its part that moves.
        flat: factors-like to flat.
        normal: balanced factors to weights and unit columns.
    """

    free: Factors
    multiply: Callable[[Array], Array]
    solve: Callable[[Factors], Factors]
    project: Callable[[Array], Array]
    flat: Callable[[Factors], Array]
    normal: Callable[[Factors], tuple[Array, Factors]]


def linearised(
    weights: Array, units: Factors, data: Data, fixed: Factors, options: Options
) -> System:
    """The system of R7 at a solution."""
    free = _balanced(weights, units, data.scale)
    _, hessian = jax.linearize(lambda free: gradient(free, data, fixed, options), free)
    blocks = list(_inverse_blocks(free, data, fixed, options))
    _, back = _flattened(free)
    flat = lambda vs: _flattened(vs)[0]  # noqa: E731

    def movable(vs: Factors) -> Factors:
        held = (n in options.nonnegative for n in options.free)
        vs = tuple(
            jnp.where(a == 0, 0, v) if h else v for v, a, h in zip(vs, free, held, strict=True)
        )
        squares = [jnp.sum((a * a.conj()).real, axis=0) for a in free]
        along = [
            jnp.sum(a.conj() * v, axis=0) / jnp.where(s > 0, s, 1).astype(a.dtype)
            for a, v, s in zip(free, vs, squares, strict=True)
        ]
        mean = sum(along[1:], start=along[0]) / len(along)
        return tuple(v - a * (c - mean)[None, :] for a, v, c in zip(free, vs, along, strict=True))

    def project(v: Array) -> Array:
        return flat(movable(back(v)))

    def restricted(f: Callable[[Factors], Factors], v: Array) -> Array:
        inside = project(v)
        return project(flat(f(back(inside)))) + (v - inside)

    def precondition(vs: Factors) -> Factors:
        return tuple(block(v) for block, v in zip(blocks, vs, strict=True))

    multiply = partial(restricted, hessian)

    def solve(b: Factors) -> Factors:
        x = solve_symmetric(
            multiply, partial(restricted, precondition), project(flat(b)), steps=_STEPS
        )
        return movable(back(x))

    def normal(free: Factors) -> tuple[Array, Factors]:
        norms, columns = zip(*(unit_columns(a, u) for a, u in zip(free, units, strict=True)))
        return hadamard(*(n[None, :] for n in norms))[0] * data.scale.astype(
            norms[0].dtype
        ), columns

    return System(free, multiply, solve, project, flat, normal)


def _balanced(weights: Array, units: Factors, scale: Array) -> Factors:
    """The weights, in units of the scale, spread evenly over the factors."""
    size = weights.real / scale
    there = size > 0
    each = jnp.where(there, jnp.where(there, size, 1) ** (1 / len(units)), 0)
    return tuple(u * each.astype(u.dtype)[None, :] for u in units)


def _flattened(vs: Factors) -> tuple[Array, Callable[[Array], Factors]]:
    """One real vector of all entries, real and imaginary parts apart, and the way back.

    (For complex factors H is linear over the reals only.)
    """
    if not jnp.iscomplexobj(vs[0]):
        return ravel_pytree(vs)
    v, back = ravel_pytree([(a.real, a.imag) for a in vs])
    return v, lambda v: tuple(lax.complex(*parts) for parts in back(v))


def _inverse_blocks(free: Factors, data: Data, fixed: Factors, options: Options):
    """Inverses of the diagonal blocks of JᴴJ + l2, one a mode or (under entry weights) one a row."""
    factors = merged(data.l2, free, fixed, options).factors
    rank = factors[0].shape[1]
    penalty = data.l2.astype(factors[0].dtype) * jnp.eye(rank, dtype=factors[0].dtype)
    if data.w is None:
        grams = [gram(a, a) for a in factors]
        for n in options.free:
            F = inverse_root(hadamard(*grams[:n], *grams[n + 1 :]) + penalty)
            yield lambda v, F=F: matmul(matmul(v, F.T), F.conj())
    else:
        rows = all_modes(data.w, [pair_columns(a) for a in factors], options.precision)
        for n in options.free:
            F = jax.vmap(inverse_root)(square(rows[n], rank) + penalty[None, :, :])
            yield lambda v, F=F: jnp.einsum("isr,isq,iq->ir", F.conj(), F, v, precision="highest")


@partial(jax.custom_jvp, nondiff_argnums=(5,))
def _error(
    value: Array, cp: CPTensor, x: Array, w: Array | None, scale: Array, options: Options
) -> Array:
    """The relative error, known already."""
    return value


@partial(_error.defjvp, symbolic_zeros=True)
def _error_jvp(options, primals, tangents):
    def error(cp, x, w, scale):
        seen = observed(x, w) / scale.astype(x.dtype)
        unit = None if w is None else unit_weights(w)
        model = CPTensor(cp.weights / scale.astype(x.dtype), cp.factors)
        squares = (seen * seen.conj()).real
        norm = jnp.sqrt(jnp.sum(squares if unit is None else unit * squares))
        squared = 2 * half_squares(model, seen, unit, options.precision)
        return square_root(squared) / jnp.where(norm > 0, norm, 1)

    return _error(*primals, options), _pushed(error, primals[1:], tangents[1:])
