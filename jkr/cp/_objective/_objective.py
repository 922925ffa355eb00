"""What a fit minimises, and what follows from it at a model: gradient, curvature, stationarity.

F(A) = Σ_terms w·Σ W∘f(M, T/u) + ½ l2 Σ‖Aₙ‖² + g(A) + Σ cₙ(Aₙ) over the free factors A, where M is
the model, f the loss of the term, u its unit, g the user's penalty and cₙ the penalty of a
constraint, which is known by its prox and has no part in gradients. The scale of a component is
shared evenly by the factors that may bear it, all column norms of a component equal: there the
penalties are least, and no scale is better than another.

Least squares of a tensor whose entries weigh the same goes by Grams, without a residual (R4); all
else visits the entries, a block of the model at a time (R5). Nothing forms a model as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial
from jax.typing import DTypeLike

from jkr._contractions import _elementwise
from jkr._linalg._dtypes import Precision, accumulator
from jkr._linalg._norms import column_norms, squared_distance, times, unit_columns
from jkr._linalg._small import by_pairs, framed, gram, product_of_others
from jkr._linalg._tangent_space import cross_gram, tangent_matrix
from jkr._linalg._tangents import curvature, with_derivative
from jkr.cp import losses
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective import _zeros
from jkr.cp._objective._loss import by_grams, entry_loss, of_scaled, squared_residual
from jkr.cp.constraints import Constraint, Fixed
from jkr.cp.losses import Loss
from jkr.tensors._model import Modelled
from jkr.tensors._mttkrp import tensor_mttkrps
from jkr.tensors._tensor import AtZero, Scale, Tensor

Factors = tuple[Array, ...]
Penalty = Callable[[Factors], Array]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("tensor", "unit", "weight"),
    meta_fields=("loss",),
)
@dataclass(frozen=True)
class Term:
    """One tensor in an objective.

    Attributes:
        tensor: T; None in the objective that a result carries.
        loss: f.
        unit: that T is divided by, a real scalar; None for one.
        weight: of the term, a real scalar; None for one.
    """

    tensor: Tensor
    loss: Loss
    unit: Array | None = None
    weight: Array | None = None

    @property
    def function(self) -> Callable[..., Array]:
        """f(m, t/u, …) as a function of the data as they are."""
        return of_scaled(self.loss.function, self.unit)

    def times_weight(self, amount: Array) -> Array:
        """An amount of this term, times its weight."""
        return amount if self.weight is None else amount * self.weight.astype(amount.dtype)

    @property
    def by_grams(self) -> bool:
        """Whether normal equations serve whole modes: least squares, entries weighing the same."""
        return self.loss == losses.gaussian and self.tensor.uniform


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("terms", "constraints", "l2", "penalty"),
    meta_fields=("precision",),
)
@dataclass(frozen=True)
class Objective:
    """F, a pytree: what it depends on are leaves, and derivatives of a fit go to all of them.

    Attributes:
        terms: one a tensor.
        constraints: one a factor.
        l2: weight of the penalty on the free factors, a real scalar.
        penalty: g, a function of all factors to a real number, or None.
        precision: of the products with a tensor.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1))
        >>> objective = result.objective.on(jkr.tensors.Dense(x))  # what was minimised
        >>> bool(objective.value(*objective.balanced(result.cp)) < 1e-3)
        True
    """

    terms: tuple[Term, ...]
    constraints: tuple[Constraint, ...]
    l2: Array | float = 0.0
    penalty: Partial | None = None
    precision: Precision = None

    # Which factors there are

    @property
    def free(self) -> tuple[int, ...]:
        """The modes whose factors move."""
        return tuple(n for n, c in enumerate(self.constraints) if c.kind != "fixed")

    @property
    def bearers(self) -> tuple[int, ...]:
        """The modes that share the scale of a component; of literal factors none does."""
        kinds = () if self.literal else ("free", "cone")
        return tuple(n for n, c in enumerate(self.constraints) if c.kind in kinds)

    @property
    def literal(self) -> bool:
        """Whether the factors hold all scale, component weights being one, as with a penalty."""
        return any(c.kind == "penalty" for c in self.constraints)

    @property
    def dtype(self) -> DTypeLike:
        """That of the factors."""
        return self.terms[0].tensor.dtype

    def factors(self, free: Factors) -> Factors:
        """All factors, the fixed ones in their places."""
        moving = dict(zip(self.free, free, strict=True))
        return tuple(
            c.factor if isinstance(c, Fixed) else moving[n] for n, c in enumerate(self.constraints)
        )

    def movable(self, factors: Factors) -> Factors:
        """The free ones of all factors."""
        return tuple(factors[n] for n in self.free)

    def balanced(self, cp: CPTensor) -> tuple[Array, Factors]:
        """Weights spread evenly over the bearers: what is left of them, and the free factors."""
        if not self.bearers:
            return cp.weights, self.movable(cp.factors)
        size = cp.weights.real
        there = size > 0
        each = jnp.where(there, jnp.where(there, size, 1) ** (1 / len(self.bearers)), 0)
        each = each.astype(cp.weights.dtype)[None, :]
        spread = tuple(
            cp.factors[n] * each if n in self.bearers else cp.factors[n] for n in self.free
        )
        return jnp.ones_like(cp.weights), spread

    def normal_form(self, weights: Array, free: Factors, previous: Factors) -> CPTensor:
        """Unit columns of the bearers, with weights; previous columns where one vanished."""
        placed = dict(zip(self.free, free, strict=True))
        before = dict(zip(self.free, previous, strict=True))
        for n in self.bearers:
            norms, placed[n] = unit_columns(placed[n], before[n])
            weights = weights * norms
        return CPTensor(weights, self.factors(tuple(placed.values())))

    # Its parts replaced

    def on(self, *tensors: Tensor | None) -> Self:
        """The same objective of other tensors."""
        pairs = zip(self.terms, tensors, strict=True)
        return replace(self, terms=tuple(replace(term, tensor=t) for term, t in pairs))

    def astype(self, dtype: DTypeLike) -> Self:
        """The same objective in another precision: tensors, constraints and what they hold."""
        real = jnp.zeros((), dtype).real.dtype

        def cast(a: Array) -> Array:
            a = jnp.asarray(a)
            if not jnp.issubdtype(a.dtype, jnp.inexact):
                return a
            return a.astype(dtype if jnp.iscomplexobj(a) else real)

        constraints = tuple(
            Fixed(c.factor.astype(dtype)) if isinstance(c, Fixed) else jax.tree.map(cast, c)
            for c in self.constraints
        )
        tensors = (term.tensor.astype(dtype) for term in self.terms)
        return replace(self, constraints=constraints).on(*tensors)

    def wide(self) -> Self:
        """The same objective in the precision in which it is minimised."""
        return self.astype(accumulator(self.dtype))

    def prepared(self) -> Self:
        """The same objective of tensors that hold what every pass would compute anew."""
        return self.on(*(term.tensor.prepared() for term in self.terms))

    def scales(self) -> tuple[Scale, ...]:
        """How large each tensor is, and whether its loss is for it."""
        return tuple(term.tensor.scale(term.loss.low, term.loss.high) for term in self.terms)

    def norm(self, scale: Scale) -> Array:
        """‖W½∘T‖ in the units of `in_units`."""
        return scale.norm if self._has_units else scale.norm * scale.unit * scale.weight**0.5

    def unit(self, scale: Scale) -> Array:
        """That of the models of `in_units`."""
        return scale.unit if self._has_units else jnp.ones_like(scale.unit)

    def from_units(self, value: Array, scale: Scale) -> Array:
        """What a value of the objective of `in_units` is of this one."""
        return value * scale.unit**2 * scale.weight if self._has_units else value

    def in_units(self, scale: Scale) -> Self:
        """The same problem in units of the data, where the loss has them.

        T = u·T' has factors u^{1/F}·A', F the bearers, and the loss is divided by u² and by the
        largest entry weight. Other losses than least squares have no units, and the user's
        penalties say what they say of the factors as they are.
        """
        if not self._has_units:
            return self
        (term,) = self.terms
        power = 2 / max(len(self.bearers), 1) - 2
        factor, most = scale.unit**power / scale.weight, float(jnp.finfo(scale.unit.dtype).max)
        # A penalty beyond the dtype is as good as infinite.
        l2 = jnp.asarray(self.l2, scale.unit.dtype) * jnp.minimum(factor, most)
        term = replace(term, unit=scale.unit, weight=1 / scale.weight)
        return replace(self, terms=(term,), l2=jnp.minimum(l2, most**0.5))

    def at(self, cp: CPTensor, scale: Scale) -> tuple[Self, Array, Factors]:
        """The problem of `in_units`, and a model there, balanced: weights and free factors."""
        problem, unit = self.in_units(scale), self.unit(scale).astype(cp.weights.dtype)
        return problem, *problem.balanced(cp._replace(weights=cp.weights / unit))

    @property
    def _has_units(self) -> bool:
        return not self.has_functions and len(self.terms) == 1 and not self.literal

    @property
    def near_least_squares(self) -> bool:
        """Whether `least_squares` leads near: where a nonnegative model is the mean of the data.

        Of logarithms and odds it is not, and Huber's loss is for data that mislead least squares.
        """
        losses_of = [term.loss for term in self.terms]
        mean = all(f == losses.gaussian or f.nonnegative and f.expects_model for f in losses_of)
        return mean and not any(term.tensor.entry_constants for term in self.terms)

    def least_squares(self) -> Self:
        """Itself, if it is least squares; else those of the same data, without l2 and penalty."""
        if not self.has_functions:
            return self
        terms = tuple(replace(term, loss=losses.gaussian) for term in self.terms)
        return replace(self, terms=terms, l2=jnp.zeros_like(jnp.asarray(self.l2)), penalty=None)

    # What it is at a model: weights (ones, where there are bearers), and free factors

    def value(self, weights: Array, free: Factors) -> Array:
        """F, entry by entry."""
        model, total = CPTensor(weights, self.factors(free)), self._penalties(weights, free)
        for term in self.terms:
            value = entry_loss(term.loss, self.precision, model, term.tensor, term.unit)
            total += term.times_weight(value)
        return total

    def gradient(self, weights: Array, free: Factors) -> Factors:
        """The Sₙ with dF = Re Σ conj(dAₙ)∘Sₙ, of the free factors; without what is only a prox."""
        model = CPTensor(weights, self.factors(free))
        slopes = [self._data_value_and_gradient(term, model)[1] for term in self.terms]
        return self._whole_gradient(weights, free, slopes)

    def value_and_gradient(
        self, weights: Array, free: Factors, scale: Scale
    ) -> tuple[Array, Factors]:
        """Both, from the readings that the gradient takes; the value is good to `rounding`."""
        model, total = CPTensor(weights, self.factors(free)), self._penalties(weights, free)
        slopes = []
        for term in self.terms:
            value, slope = self._data_value_and_gradient(term, model)
            if term.by_grams:
                value = jnp.maximum(value + self.norm(scale) ** 2 / 2, 0)
            total += term.times_weight(value)
            slopes.append(slope)
        return total, self._whole_gradient(weights, free, slopes)

    def of_residual(self, squares: Array, cp: CPTensor, scale: Scale) -> Array:
        """F of a model from its squared residual, in units of the data, if `only_squares`."""
        half = squares / 2 if self._has_units else squares / 2 * scale.unit**2 * scale.weight
        problem, weights, free = self.at(cp, scale)
        return self.from_units(half + problem._penalties(weights, free), scale)

    def rounding(self, value: Array, weights: Array, free: Factors, scale: Scale) -> Array:
        """How far off a value of `value_and_gradient` may be; of values that cancel, their size."""
        size = jnp.sqrt(jnp.abs(value))
        if self.by_grams or any(term.tensor.cancels for term in self.terms):
            components = prod(column_norms(a) for a in self.factors(free)) * jnp.abs(weights)
            size += self.norm(scale) + jnp.sum(components)
        return float(jnp.finfo(value.dtype).eps) * size**2

    def _whole_gradient(self, weights: Array, free: Factors, slopes: list[Factors]) -> Factors:
        """That of penalties and of all terms, from the gradients of their data."""
        total = self._slopes_of_penalties(weights, free)
        for term, of_term in zip(self.terms, slopes, strict=True):
            parts = (term.times_weight(s * weights.conj()[None, :]) for s in self.movable(of_term))
            total = [t + s for t, s in zip(total, parts, strict=True)]
        return tuple(total)

    def _data_value_and_gradient(self, term: Term, model: CPTensor) -> tuple[Array, Factors]:
        """Σ W∘f and (W∘∂f/∂M)₍ₙ₎K̄ₙ of every mode; by Grams the first without ½‖T/u‖²."""
        weights, factors = model
        conjugate = tuple(a.conj() for a in factors)
        if not term.by_grams:
            both = partial(with_derivative, term.function)
            options = {"precision": self.precision, "at_zero": _zeros.derivative(term.loss)}
            return term.tensor.entrywise(both, model, conjugate, **options)
        ys = tensor_mttkrps(term.tensor, conjugate, self.precision)
        if term.unit is not None:
            ys = [times(y, 1 / term.unit) for y in ys]
        of_model, of_data, matrices = by_grams(model, ys)
        value = jnp.sum((weights.conj() * (of_model / 2 - of_data)).real)
        return value, matrices

    def _penalties(self, weights: Array, free: Factors) -> Array:
        """What is added to the losses: l2, the user's penalty, those of constraints."""
        held = [a for n, a in zip(self.free, free, strict=True) if self._bears_l2(n)]
        squares = sum(jnp.sum((a * a.conj()).real) for a in held)
        total = jnp.asarray(self.l2, weights.real.dtype) / 2 * squares
        for n, a in zip(self.free, free, strict=True):
            if self.constraints[n].kind == "penalty":
                total += jnp.asarray(self.constraints[n].value(a)).astype(total.dtype)
        return total + self._users_penalty(weights, free)

    def _slopes_of_penalties(self, weights: Array, free: Factors) -> Sequence[Array]:
        """The gradient of that, without what is only a prox."""
        l2 = jnp.asarray(self.l2, weights.real.dtype)
        slopes = [
            l2.astype(a.dtype) * a if self._bears_l2(n) else jnp.zeros_like(a)
            for n, a in zip(self.free, free, strict=True)
        ]
        if self.penalty is None:
            return slopes
        added = jax.grad(lambda free: self._users_penalty(weights, free))(free)
        return [s + a.conj() for s, a in zip(slopes, added, strict=True)]

    def _users_penalty(self, weights: Array, free: Factors) -> Array:
        """Of factors of equal size."""
        if self.penalty is None:
            return jnp.zeros((), weights.real.dtype)
        _, even = self.balanced(self.normal_form(weights, free, lax.stop_gradient(free)))
        return jnp.asarray(self.penalty(self.factors(even))).astype(weights.real.dtype)

    @property
    def has_functions(self) -> bool:
        """Whether anything but least squares is minimised."""
        return self.penalty is not None or not self.only_squares

    @property
    def only_squares(self) -> bool:
        """Whether every loss is least squares."""
        return all(term.loss == losses.gaussian for term in self.terms)

    def _bears_l2(self, n: int) -> bool:
        return self.literal or n in self.bearers

    def magnitude(self, weights: Array, free: Factors) -> Array:
        """Σ W∘|f(M, T)| of all terms, 1 where that is zero or not finite."""
        model, total = CPTensor(weights, self.factors(free)), jnp.zeros((), weights.real.dtype)
        for term in self.terms:
            size = lambda *entries, f=term.function: (jnp.abs(f(*entries)), None)  # noqa: E731
            zero = _zeros.magnitude(term.loss)
            total += term.times_weight(term.tensor.entrywise(size, model, at_zero=zero)[0])
        return jnp.where(jnp.isfinite(total) & (total > 0), total, 1)

    def curvature(self, weights: Array, free: Factors) -> Factors:
        """Diagonal blocks of JᴴHJ + l2, of the free factors, H the losses' second derivatives.

        One matrix a mode, (R, R), where normal equations serve whole modes; one a row, (I, R, R),
        where H, a tensor of nonnegative entries, weighs them (J3ᴴ).
        """
        factors = self.factors(free)
        total: list[Any] = [0.0] * len(free)
        for term in self.terms:
            if term.by_grams:
                grams = [gram(a, a) for a in factors]
                blocks = [product_of_others(grams, n) for n in range(len(factors))]
            else:
                blocks = row_grams(term, CPTensor(weights, factors))
            blocks = (term.times_weight(framed(G, weights)) for G in self.movable(tuple(blocks)))
            total = [t + G for t, G in zip(total, blocks, strict=True)]
        return tuple(self.with_l2(n, G) for n, G in zip(self.free, total, strict=True))

    @property
    def by_grams(self) -> bool:
        """Whether products with JᴴHJ read no tensor."""
        return all(term.by_grams for term in self.terms)

    @property
    def by_columns(self) -> bool:
        """Whether directions orthogonal to all columns of a factor are apart from the others."""
        turns = all(self.constraints[n].kind == "free" for n in self.free)
        return self.by_grams and self.penalty is None and turns

    def gauss_newton(self, weights: Array, free: Factors) -> Callable[[Factors], Factors]:
        """A function of free factors whose derivative at `free`, along v, is (JᴴHJ + l2) v.

        It is the gradient of ½ΣH|M|² as if J and H stayed as they are at `free`; its second
        derivative along v is JᴴH times that of the model. A user's penalty adds its gradient.
        """
        fixed = self.factors(lax.stop_gradient(free))
        columns = tuple(a.conj() for a in fixed)

        def of_model(moved: Factors) -> Factors:
            model = CPTensor(weights, self.factors(moved))
            total = self._slopes_of_penalties(weights, moved)
            for term in self.terms:
                ys = self.movable(_model_mttkrps(term, model, columns, self.precision))
                ys = (term.times_weight(y * weights.conj()[None, :]) for y in ys)
                total = [t + y for t, y in zip(total, ys, strict=True)]
            return tuple(total)

        return of_model

    def gauss_newton_matrix(self, weights: Array, free: Factors) -> Array:
        """JᴴHJ + l2 written out, for the free factors one below the other, where it is of Grams."""
        factors = self.factors(free)
        cross = lambda n, m: framed(cross_gram(factors, n, m), weights)  # noqa: E731
        matrix = tangent_matrix(factors, self.free, cross)
        l2 = jnp.asarray(self.l2, weights.real.dtype).astype(weights.dtype)
        pairs = zip(self.free, free, strict=True)
        held = [jnp.full(a.size, l2 if self._bears_l2(n) else 0, a.dtype) for n, a in pairs]
        total = sum(term.times_weight(matrix) for term in self.terms)
        return total + jnp.diag(jnp.concatenate(held))

    def with_l2(self, n: int, G: Array) -> Array:
        """G + l2 I, for one G (R, R) or one a row, if the factor of that mode bears the penalty."""
        if not self._bears_l2(n):
            return G
        l2 = jnp.asarray(self.l2, G.real.dtype).astype(G.dtype)
        return G + l2 * jnp.eye(G.shape[-1], dtype=G.dtype).reshape(
            (1,) * (G.ndim - 2) + G.shape[-2:]
        )

    def diagonal(self, weights: Array, free: Factors) -> Factors:
        """The diagonal of the Hessian's positive part, (I_n, R) of each free factor."""
        factors = self.factors(free)
        squares = [(a * a.conj()) for a in factors]
        total = [jnp.asarray(self.l2, weights.real.dtype)] * len(free)
        for term in self.terms:
            entry = partial(_second_derivative, term.function)
            options = {"precision": self.precision, "at_zero": _zeros.curvature(term.loss)}
            ys = term.tensor.entrywise(entry, CPTensor(weights, factors), squares, **options)[1]
            size = (weights * weights.conj()).real[None, :]
            ys = (term.times_weight(y.real * size) for y in self.movable(ys))
            total = [t + y for t, y in zip(total, ys, strict=True)]
        return tuple(total)

    def moves(self, free: Factors) -> Factors:
        """Which entries of a solution move with the data: masks of the free factors.

        Not what a constraint holds, nor, without a penalty, rows with nothing observed.
        """
        rows = [term.tensor.rows() for term in self.terms]
        seen = [jnp.stack(of_mode).any(axis=0) for of_mode in zip(*rows, strict=True)]
        return tuple(
            self.constraints[n].moves(a) & (seen[n] | (jnp.asarray(self.l2) > 0))[:, None]
            for n, a in zip(self.free, free, strict=True)
        )

    def stationarity(self, weights: Array, free: Factors, slopes: Factors, scale: Scale) -> Array:
        """`CPResult.stationarity`: the largest of all free modes' gradients, the slopes, relative.

        Relative to what the gradient is made of, ‖W½∘T‖ for least squares, else ‖W½∘f'‖ and
        ‖W½∘f''∘M‖, and to the largest column that multiplies it.
        """
        factors, size = self.factors(free), self._size(weights, free, scale)
        norms = [column_norms(a)[None, :] for a in factors]
        worst = jnp.zeros_like(size)
        for n, a, slope in zip(self.free, free, slopes, strict=True):
            steepest = jnp.max(product_of_others(norms, n) * jnp.abs(weights)[None, :])
            whole = size * steepest
            step = 1 / jnp.where(steepest > 0, steepest, 1) ** 2
            off = self.constraints[n].residual(a, slope, step)
            off = column_norms(off.reshape(-1, 1))[0] / jnp.where(whole > 0, whole, 1)
            worst = jnp.maximum(worst, off)
        return jnp.where(jnp.isfinite(worst), worst, jnp.inf)

    def _size(self, weights: Array, free: Factors, scale: Scale) -> Array:
        if self._has_units:
            return self.norm(scale)
        model, total = CPTensor(weights, self.factors(free)), jnp.zeros((), weights.real.dtype)
        for term in self.terms:

            def sizes(m: Array, *data: Array, f: Callable = term.function) -> tuple[Array, None]:
                slope = lambda m: with_derivative(f, m, *data)[1]  # noqa: E731
                first, second = jax.jvp(slope, (m,), (m,))
                return squared_distance(first, 0) + squared_distance(second, 0), None

            zero = _zeros.slopes(term.loss)
            options = {"precision": self.precision, "at_zero": zero}
            total += term.tensor.entrywise(sizes, model, **options)[0]
        return jnp.sqrt(total * scale.weight.astype(total.dtype))


def _model_mttkrps(term: Term, model: CPTensor, columns: Factors, precision: Precision) -> Factors:
    """(H∘M)₍ₙ₎Kₙ of every mode, K of the columns, H = W∘∂²f/∂M², its positive part, held."""
    if term.by_grams:
        (part,) = Modelled(*model).passes()
        return tuple(part.mttkrp(None, columns, n) for n in part.modes)

    def entry(m: Array, *data: Array) -> tuple[Array, Array]:
        here = lax.stop_gradient(m)
        return jnp.zeros_like(m.real), _second_derivative(term.function, here, *data)[1] * m

    zero = _zeros.curved_model(term.loss)
    return term.tensor.entrywise(entry, model, columns, precision=precision, at_zero=zero)[1]


def row_grams(term: Term, model: CPTensor) -> Factors:
    """KᴴHK of every row of every mode, (I, R, R), H = W∘∂²f/∂M² where it is positive (J3ᴴ)."""
    entry = partial(_second_derivative, term.function)

    def of_pairs(pairs: list[Array]) -> Factors:
        # Together, or what does not depend on the pairs, such as the second derivatives of all
        # entries, would be moved out of the loop over them.
        tensor, m, pairs = lax.optimization_barrier((term.tensor, model, pairs))
        return tensor.entrywise(entry, m, pairs, at_zero=_zeros.curvature(term.loss))[1]

    at_once = term.tensor.visited <= _elementwise.FEW
    return by_pairs(of_pairs, model.factors, at_once=at_once)


def _second_derivative(f: Callable[..., Array], m: Array, *data: Array):
    """Of the real values nothing is asked; entries are ∂²f/∂M², the positive part."""
    return jnp.zeros_like(m.real), jnp.maximum(curvature(f, m, *data), 0).astype(m.dtype)


def squared_error(objective: Objective, cp: CPTensor) -> Array:
    """‖W½∘(T − E)‖²/‖W½∘T‖², E the data that the model stands for; of all terms."""
    above = below = jnp.zeros((), cp.weights.real.dtype)
    # Bad data have a status; their derivatives are to be finite all the same.
    finite = lambda t: jnp.where(jnp.isfinite(t), t, 0)  # noqa: E731
    for term, scale in zip(objective.terms, objective.scales(), strict=True):

        def size(m: Array, t: Array, *_: Array, unit: Array = scale.unit):
            return squared_distance(finite(t) / unit.astype(t.dtype), 0), None

        distance = squared_residual(term.loss, term.tensor, cp, scale.unit, finite)
        above += distance / scale.weight
        below += term.tensor.entrywise(size, cp, at_zero=AtZero())[0] / scale.weight
    return above / jnp.where(below > 0, below, 1)
