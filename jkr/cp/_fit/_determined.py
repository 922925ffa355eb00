"""Whether the entries that are observed determine the model that was fitted to them.

Where entries are missing a fit may be perfect and its model one of many. What tells is JᴴWJ, the
Gauss–Newton matrix with the entry weights, J being the derivative of the model: the covariance of
balanced factors is σ²(JᴴWJ)⁻¹ off the gauge, and a component is not determined through a mode if
the standard error of its column there, in the weakest direction, exceeds the column. Along a
direction in which no observed entry changes it is infinite. The penalty l2 brings S to
(S + l2)²/S, S being JᴴWJ: along such directions it alone decides, and they do not count.

Up to 300 entries of factors the matrix is written out: if a Cholesky factorisation tells that all
its eigenvalues are large enough, as those of most fits are, that is all; else all its directions
are looked at. Beyond 300 the weakest is sought by products with it, at no more than the cost of the
fit; if that does not find it, the status says so. A direction v is judged by the change Jv of the
model itself: JᴴWJ, written out, has lost half of the digits.

What does not move is left out: entries held at zero, and rows with nothing observed, which are
zero.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jkr._linalg._lobpcg import weakest
from jkr._linalg._loops import cond
from jkr._linalg._order import after, in_turn
from jkr._linalg._psd import inverse_roots, rows_by_roots
from jkr._linalg._small import framed, gram, inner, matmul
from jkr._linalg._tangent_space import off_gauge, tangent_matrix
from jkr.cp import losses
from jkr.cp._fit._result import ROUGH, UNDETERMINED, UNSETTLED, CPResult
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Factors, Objective
from jkr.cp.losses import Loss
from jkr.tensors._tensor import Scale, Tensor

_WRITTEN_OUT = 300  # entries of factors
_LOOKED_AT = 4  # weakest directions that are measured once more
# Whatever constants entries have.
_SQUARES = Loss(lambda m, t, *_: losses.gaussian(m, t), at_zero=losses.gaussian.at_zero)
_SHARE = 1e-4  # of the squared relative change along a null direction: more than its rounding


def judged(result: CPResult, objective: Objective, scale: Scale, products: int) -> CPResult:
    """The same result, with what of it the data leave open.

    Args:
        result: of an objective of one tensor, in the units of the data.
        objective: in the accumulator's dtype.
        scale: of its tensor.
        products: with JᴴWJ, that cost about an iteration of the fit.
    """
    (term,) = objective.terms
    if term.tensor.uniform or not objective.free:
        return result
    fit = result.cp._replace(
        weights=result.cp.weights / objective.unit(scale).astype(objective.dtype)
    )
    point = _Point.at(objective.in_units(scale), fit, scale)
    noise = jnp.zeros_like(result.relative_error)
    if term.loss == losses.gaussian:
        count = jnp.asarray(term.tensor.observations(), noise.dtype)
        spare = jnp.maximum(count - point.parameters().astype(noise.dtype), 1)
        noise = result.relative_error * scale.norm / jnp.sqrt(spare)
    written_out = sum(a.size for a in point.free) <= _WRITTEN_OUT
    if written_out and type(term.tensor).cross_gram is not Tensor.cross_gram:
        errors, found = _all_directions(point, noise), jnp.ones((), bool)
    else:
        steps = jnp.clip(products * result.iterations, 10, 100)
        errors, found = _weakest_direction(point, noise, steps)
    # Of a component beyond 1/√eps of the data nothing that is observed says anything.
    endless = jnp.abs(fit.weights) > float(jnp.finfo(noise.dtype).eps) ** -0.5 * objective.norm(
        scale
    )
    open_ended = (errors > 1) | (endless[None, :] & bool(objective.bearers))
    undetermined = result.undetermined.at[objective.free, :].set(open_ended)
    verdict = jnp.where(undetermined.any(), UNDETERMINED, UNSETTLED)
    settled = found & ~undetermined.any()
    status = jnp.where((result.status <= ROUGH) & ~settled, verdict, result.status)
    return result._replace(undetermined=undetermined, status=status.astype(result.status.dtype))


def _as_squares(problem: Objective, scale: Scale) -> Objective:
    """½ΣW|M − T|², W relative to the largest, and nothing else: its JᴴHJ is JᴴWJ."""
    (term,) = problem.terms
    term = replace(term, loss=_SQUARES, weight=1 / scale.weight)
    return replace(problem, terms=(term,), l2=0.0, penalty=None, precision="highest")


class _Point(NamedTuple):
    """A model with balanced factors, as its observed entries see it.

    Attributes:
        problem: the objective, in units of the data.
        squares: least squares with its entry weights alone.
        weights: (R,), ones where factors can bear them.
        free: factors that move.
        masks: of their entries that do.
        size: of the columns, (F, R), 1 where one is zero.
        scale: of the components, (R,), such that no entry of JᴴWJ is above one.
        weight: the largest entry weight.

    Vectors y are changes in units of those scales, flat.
    """

    problem: Objective
    squares: Objective
    weights: Array
    free: Factors
    masks: Factors
    size: Array
    scale: Array
    weight: Array

    @classmethod
    def at(cls, problem: Objective, cp: CPTensor, scale: Scale) -> "_Point":
        weights, free = problem.balanced(cp)
        seen = problem.terms[0].tensor.rows()
        masks = []
        for n, a, moving in zip(problem.free, free, problem.moves(free), strict=True):
            held = (a == 0) & (problem.constraints[n].kind != "free")
            masks.append(moving & ~held & seen[n][:, None])
        size = jnp.stack([jnp.linalg.norm(a, axis=0) for a in free])
        size = jnp.where(size > 0, size, 1)
        squares = _as_squares(problem, scale)
        steepest = [jnp.max(d, axis=0) for d in squares.diagonal(weights, free)]
        steep = jnp.max(jnp.stack(steepest), axis=0)
        of_components = 1 / jnp.sqrt(jnp.where(steep > 0, steep, 1))
        return cls(problem, squares, weights, free, tuple(masks), size, of_components, scale.weight)

    def parameters(self) -> Array:
        """How many numbers describe the model."""
        moving = jnp.sum(jnp.stack([jnp.sum(mask) for mask in self.masks]))
        return moving - (len(self.free) - 1) * self.weights.shape[0]

    def project(self, vs: Factors) -> Factors:
        """The part of a change that moves, off the gauge."""
        within = lambda vs: tuple(  # noqa: E731
            jnp.where(mask, v, 0) for v, mask in zip(vs, self.masks, strict=True)
        )
        return off_gauge(within(vs), within(self.free))

    def gauss_newton(self, vs: Factors) -> Factors:
        """JᴴWJ v, without the projections, by one pass over the entries.

        For a weak direction it is small because Jv is, and loses no digits by that.
        """
        curved = self.squares.gauss_newton(self.weights, self.free)
        return jax.jvp(curved, (self.free,), (vs,))[1]

    def multiply(self, y: Array) -> Array:
        """The same on what moves, in the units of the vectors."""
        changed = self.gauss_newton(self.project(self.factors(y)))
        return ravel_pytree(self.scaled(self.project(changed)))[0]

    def matrix(self) -> Array:
        """JᴴWJ written out, (p, p), without the projections."""
        factors, tensor = self.problem.factors(self.free), self.problem.terms[0].tensor
        free = self.problem.free
        cross = {(n, m): tensor.cross_gram(factors, n, m) for n in free for m in free if n < m}

        def of_rows(n: int) -> Array:
            """A row's Gram is the sum of its Grams with the rows of another mode."""
            m = next((m for m in free if m != n), None)
            if m is None:
                return tensor.cross_gram(factors, n, n)
            G = cross[n, m] if n < m else cross[m, n].swapaxes(0, 1)
            pairs = factors[m].conj()[:, :, None] * factors[m][:, None, :]
            return jnp.sum(G * pairs[None], axis=1)

        def relative(n: int, m: int) -> Array:
            G = framed(of_rows(n) if n == m else cross[n, m], self.weights)
            return G / self.weight.astype(G.dtype)

        return tangent_matrix(factors, free, relative)

    def scaled(self, vs: Factors) -> Factors:
        """A change times the scales of components."""
        return tuple(v * self.scale.astype(v.dtype)[None, :] for v in vs)

    def factors(self, y: Array) -> Factors:
        """The change of factors that a vector says."""
        return self.scaled(ravel_pytree(self.free)[1](y))

    def sizes(self, y: Array) -> Array:
        """Norms of a change, column by column, relative to the columns, (F, R)."""
        return jnp.stack([jnp.linalg.norm(v, axis=0) for v in self.factors(y)]) / self.size

    def variance(self, y: Array, value: Array, null: Array) -> Array:
        """Along a unit eigenvector, s its eigenvalue, in units of σ²: s/(s + l2)², null: 0."""
        squares = jnp.sum(jnp.stack([jnp.sum(jnp.abs(v) ** 2) for v in self.factors(y)]))
        l2 = jnp.asarray(self.problem.l2, value.dtype) * squares.astype(value.dtype)
        root = jnp.sqrt(jnp.where(null, 1, value))
        return jnp.where(null, 0, 1 / (root + l2 / root) ** 2)

    def endless(self, y: Array, null: Array) -> Array:
        """Which columns a null direction leaves open, if nothing else holds them, (F, R)."""
        shares = self.sizes(y) ** 2
        free = jnp.asarray(self.problem.l2) == 0
        return (shares > _SHARE * jnp.sum(shares)) & null & free

    @property
    def largest(self) -> int:
        """A bound for the eigenvalues of JᴴWJ in these units."""
        return len(self.free) * self.weights.shape[0]

    @property
    def rounding(self) -> float:
        """Of a squared change."""
        return (16 * float(jnp.finfo(self.size.dtype).eps)) ** 2 * self.largest**3


def _all_directions(point: _Point, noise: Array) -> Array:
    """Relative standard errors of columns in their weakest directions, (F, R).

    Zeros where a bound says that all are below one: the vectors cost more than most short fits.
    """
    S, eye = _matrix_off_gauge(point)
    eps = float(jnp.finfo(noise.dtype).eps)
    largest = jnp.max(point.scale[None, :] / point.size)
    enough = jnp.maximum((noise * largest) ** 2, 64 * eps * eye.shape[0] * point.largest)
    root = jnp.linalg.cholesky(S - enough.astype(S.dtype) * eye)
    sure = jnp.all(jnp.isfinite(root))
    S = after(S, root)  # under `vmap` both are done
    return cond(
        sure, lambda *_: jnp.zeros_like(point.size), partial(_errors_of_all, point), S, noise
    )


def _matrix_off_gauge(point: _Point) -> tuple[Array, Array]:
    """JᴴWJ in the units of the vectors; what does not move is beyond its eigenvalues. And I."""
    flat, back = ravel_pytree(point.free)
    eye = jnp.eye(flat.size, dtype=flat.dtype)
    P = jax.vmap(lambda y: ravel_pytree(point.project(back(y)))[0])(eye).T
    scale = ravel_pytree(point.scaled(back(jnp.ones_like(flat))))[0]
    scale = jnp.where(ravel_pytree(point.masks)[0], scale, 0)
    # Along the gauge JᴴWJ is zero already.
    S = scale.conj()[:, None] * point.matrix() * scale[None, :]
    return (S + S.conj().T) / 2 + 2 * point.largest * (eye - P), eye


def _errors_of_all(point: _Point, S: Array, noise: Array) -> Array:
    """The same from all eigenvectors of S."""
    values, vectors, null = _measured(point, *jnp.linalg.eigh(S))
    values = jnp.where(values < 1.5 * point.largest, values, jnp.inf)
    rows = vectors.T
    endless = jnp.any(jax.vmap(point.endless)(rows, null), axis=0)
    spread = (
        rows * jnp.sqrt(jax.vmap(point.variance)(rows, values, null)).astype(rows.dtype)[:, None]
    )
    errors = jnp.stack(in_turn(_largest_singular_value, jax.vmap(point.factors)(spread)))
    return jnp.where(endless, jnp.inf, noise * errors / point.size)


def _largest_singular_value(vs: Array) -> Array:
    """Of the matrix (p, I) of every column, vs being (p, I, R)."""
    C = jnp.einsum("kir,kjr->rij", vs, vs.conj(), precision="highest")
    return jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(C)[:, -1], 0))


def _measured(point: _Point, values: Array, vectors: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues and vectors, the weakest of them measured anew, and which are null."""
    eps = float(jnp.finfo(values.dtype).eps)
    count = min(_LOOKED_AT, values.size)
    V, rest = vectors[:, :count], values[count:]
    apart = values[:count] < 1.5 * point.largest  # from what was put out of the way
    again = gram(V, lax.map(point.multiply, V.T).T)
    kept = jnp.diag(values[:count]).astype(V.dtype)
    measured, turn = jnp.linalg.eigh(
        jnp.where(apart[:, None] & apart[None, :], (again + again.conj().T) / 2, kept)
    )
    null = measured <= point.rounding
    # Of the others, null is what S cannot tell from it, if all that were measured are.
    below = jnp.all(null) & (rest <= 16 * eps * values.size * point.largest)
    return (
        jnp.concatenate([measured, jnp.maximum(rest, eps * point.largest)]),
        jnp.concatenate([matmul(V, turn), vectors[:, count:]], axis=1),
        jnp.concatenate([null, below]),
    )


def _weakest_direction(point: _Point, noise: Array, steps: Array) -> tuple[Array, Array]:
    """The same of the one direction in which the model is weakest, and whether that was found."""
    flat, back = ravel_pytree(point.free)
    roots = [inverse_roots(G) for G in point.problem.curvature(point.weights, point.free)]
    vector = lambda vs: ravel_pytree(vs)[0]  # noqa: E731
    unscaled = lambda vs: tuple(v / point.scale.astype(v.dtype)[None, :] for v in vs)  # noqa: E731

    def precondition(y: Array) -> Array:
        vs = point.project(unscaled(back(y)))
        vs = tuple(rows_by_roots(F, v) for F, v in zip(roots, vs, strict=True))
        return vector(unscaled(point.project(vs)))

    start = jax.random.normal(jax.random.key(0), flat.shape, flat.real.dtype).astype(flat.dtype)
    start = vector(point.project(back(start)))
    y, found = weakest(point.multiply, precondition, start, steps=steps)
    value = inner(y, point.multiply(y)).real
    null = value <= point.rounding
    error = noise * jnp.sqrt(point.variance(y, value, null))
    # With s/(s + l2)² at most 1/(4 l2), the penalty may hold all columns whatever s is.
    l2 = jnp.maximum(jnp.asarray(point.problem.l2, noise.dtype), 0)
    held = noise < 2 * jnp.sqrt(l2) * jnp.min(point.size)
    return jnp.where(point.endless(y, null), jnp.inf, error * point.sizes(y)), found | held
