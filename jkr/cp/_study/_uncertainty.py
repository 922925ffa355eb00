"""How well a CP model is determined: condition, and standard errors of its parts."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import accumulator, promoted
from jkr._linalg._norms import squared_distance
from jkr._linalg._order import in_turn
from jkr._linalg._small import gram, product_of_others
from jkr._linalg._tangent_space import (
    compressed,
    cross_gram,
    inverse_diagonal,
    tangent_gram,
    variances,
)
from jkr._mesh import any_mesh
from jkr.cp._fit._result import CONVERGED, CPResult, unless_bad
from jkr.cp._fit._solver import refuse_bad_data
from jkr.cp._model._cptensor import CPTensor, checked
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._dense import Dense
from jkr.tensors._sparse import Sparse
from jkr.tensors._tensor import GOOD, AtZero, Tensor


class Condition(NamedTuple):
    """How strongly the rank-one components of a model move when the tensor moves.

    Attributes:
        number: 1/√(smallest of the spectrum), a real scalar, at least 1: the largest change of the
            rank-one components over the change of the tensor that causes it, for small changes; inf
            where the model is not unique, or not determined by the entries that are observed, or
            cannot be told from such a one (numbers above about 500 in float32, 1e7 in float64; half
            of that with entry weights).
        spectrum: eigenvalues of the gauge-free Gauss–Newton matrix, decreasing,
            (R(1 + Σₙ(I_n − 1)),): the squared singular values of an orthonormal basis for each
            component's tangent space, side by side, each entry times the root of its weight.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> apart = jkr.cp.CPTensor(jnp.ones(2), (jnp.eye(3, 2),) * 3)
        >>> jkr.cp.condition(apart).spectrum.shape  # two components of 1 + 3·(3 − 1) parameters
        (14,)

    Source: [BV18].
    """

    number: Array
    spectrum: Array


@any_mesh
def condition(cp: CPTensor | CPResult, *, entry_weights: ArrayLike | None = None) -> Condition:
    """Condition of a CP model, from the spectrum of its gauge-free Gauss–Newton matrix.

    The model's weights and scales do not count; no tensor is formed. Where entries are missing a
    fit may be perfect and the model still not the only one: with `entry_weights` the number is inf
    there, as it is for a row with nothing observed.

    Args:
        cp: CPTensor (I_1, …, I_N) of rank R, or the result of a fit.
        entry_weights: those of the fit, W (I_1, …, I_N), relative to the largest; zeros are
            unobserved. A matrix of (R Σₙ I_n)² entries is formed.

    Returns:
        Condition.

    Raises:
        ValueError: no CP model, or one of order below 2; entry weights that are complex, of another
            shape, or bad (traced, they give NaN), or beside a model with R Σ I_n above 32768.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> apart = jkr.cp.CPTensor(jnp.ones(2), (jnp.eye(3, 2),) * 3)
        >>> round(float(jkr.cp.condition(apart).number), 4)
        1.0

    Derivative: that of the eigenvalues; none where they coincide.

    Source: [BV18]; law I10ᴴ.
    """
    name = "cp.condition"
    model = _model(name, cp)
    if entry_weights is None:
        return _condition(model)
    _check.few_parameters(name, model.shape, model.rank)
    w = _check.entry_weights(name, entry_weights, model.shape)
    found, status = _condition_of_observed(model, w)
    refuse_bad_data(name, status)
    return found


@jax.jit
def _condition(model: CPTensor) -> Condition:
    spectrum = _spectrum(_unit_model(model).factors)
    return Condition(_number(spectrum[-1], spectrum[0]), spectrum)


@jax.jit
def _condition_of_observed(model: CPTensor, w: Array) -> tuple[Condition, Array]:
    """The condition under entry weights, and the status of these."""
    units = _unit_model(model).factors
    order, rank = len(units), units[0].shape[1]
    w = w.astype(units[0].real.dtype)
    tensor = Dense(w, w)  # of which nothing but the weights is read
    scale = tensor.scale()
    cross = lambda n, m: tensor.cross_gram(units, n, m) / scale.weight.astype(units[0].dtype)  # noqa: E731
    # The gauge is above all else, and by its size the rest is rounded.
    of_gauge = (order - 1) * rank
    spectrum = jnp.linalg.eigvalsh(tangent_gram(units, cross))[:-of_gauge][::-1]
    number = _number(spectrum[-1], 2.0 * rank)
    number = jnp.where(scale.status == GOOD, number, jnp.nan)
    return Condition(number, spectrum), unless_bad(scale, CONVERGED)


def _number(smallest: Array, largest: Array | float) -> Array:
    """1/√(smallest eigenvalue), inf where that is rounding of the largest."""
    unique = smallest > 16 * float(jnp.finfo(smallest.dtype).eps) * largest
    return jnp.where(unique, 1 / jnp.sqrt(jnp.where(unique, smallest, 1)), jnp.inf)


def _spectrum(units: Sequence[Array]) -> Array:
    """Decreasing eigenvalues, of all entries alike."""
    order, rank = len(units), units[0].shape[1]
    small, _ = compressed(units)
    S = tangent_gram(small, partial(cross_gram, small))
    grams = [gram(a, a) for a in units]
    others = [product_of_others(grams, n) for n in range(order)]
    all_of, *of_rows = in_turn(jnp.linalg.eigvalsh, [S, *others])
    inside = all_of[: -(order - 1) * rank]
    outside = [
        jnp.tile(values, a.shape[0] - b.shape[0])
        for values, a, b in zip(of_rows, units, small, strict=True)
    ]
    return jnp.sort(jnp.concatenate([inside, *outside]))[::-1]


@any_mesh
def standard_errors(
    result: CPTensor | CPResult,
    tensor: ArrayLike | Tensor,
    *,
    entry_weights: ArrayLike | None = None,
) -> CPTensor:
    """Standard errors of unit columns and weights, for Gaussian noise of equal variance.

    The covariance is σ² times the inverse of the Gauss–Newton matrix (the Cramér–Rao bound, to
    first order in the noise), with σ² = ‖W½∘(T − M)‖²/(observed entries − R(1 + Σₙ(I_n − 1))).
    Complex data, noise being circular: of the weights, and of each column the root mean square of
    `|change|` once its phase is that of the truth.

    Args:
        result: of a fit without l2 and without constraints that bind, or its CPTensor; a model
            fitted to the tensor.
        tensor: T (I_1, …, I_N).
        entry_weights: W (I_1, …, I_N), inversely proportional to the variance of the noise; zeros
            are unobserved. With them a matrix of (R Σₙ I_n)² entries is formed.

    Returns:
        CPTensor of the standard errors of the weights λ, (R,), and of the unit columns, (I_n, R),
        all real. Very large where the model is not unique, inf where there are no more observations
        than parameters, and for rows with nothing observed.

    Raises:
        ValueError: no CP model, or one of order below 2; a tensor of another shape or with an empty
            mode; NaN or inf in it; entry weights that are complex, of another shape, negative, not
            finite or all zero; a model with R Σ I_n above 32768 where there are entry weights or
            missing entries. Where weights are traced, all is NaN.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (6, 7, 8), 2)
        >>> x = truth.full() + 0.01 * jax.random.normal(jax.random.key(1), truth.shape)
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(2))
        >>> weights, factors = jkr.cp.standard_errors(result, x)
        >>> weights.shape, bool((factors[0] < 0.01).all())
        ((2,), True)

    Derivative: that of eigenvectors; none where eigenvalues coincide.

    Source: [LS01] (the bound); law I10ᴴ.
    """
    name = "cp.standard_errors"
    model = _model(name, result)
    made = as_tensor(name, tensor, entry_weights)
    _check.same_shape(name, model.shape, made.shape)
    _check.weights_that_are_arrays(name, made.uniform or isinstance(made, Dense | Sparse))
    if not made.uniform:
        _check.few_parameters(name, model.shape, model.rank)
    errors, status = _standard_errors(model, made)
    refuse_bad_data(name, status)
    return errors


@jax.jit
def _standard_errors(model: CPTensor, tensor: Tensor) -> tuple[CPTensor, Array]:
    """The errors, and the status of data and entry weights."""
    weights, units = _unit_model(model)
    like = jnp.zeros((), accumulator(tensor.dtype))
    weights, like, *units = promoted(weights, like, *units)
    tensor = tensor.astype(like.dtype)
    scale = tensor.scale()
    unit = scale.unit.astype(like.dtype)
    weights = weights / unit

    def distance(m: Array, t: Array, *_: Array) -> tuple[Array, None]:
        return squared_distance(m, t / unit), None

    zero = AtZero((0, 0, 1))
    squared = tensor.entrywise(distance, (weights, units), precision="highest", at_zero=zero)[0]
    squared = squared / scale.weight
    seen = tensor.rows()
    parameters = weights.shape[0] * (1 + sum(jnp.sum(rows) - 1 for rows in seen))
    spare = jnp.asarray(tensor.observations(), squared.dtype) - jnp.asarray(
        parameters, squared.dtype
    )
    noise = jnp.sqrt(squared / jnp.maximum(spare, 1))
    noise = jnp.where(scale.status == GOOD, noise, jnp.nan)
    if not tensor.uniform:
        bases = [jnp.eye(a.shape[0], dtype=a.dtype) for a in units]
        cross = lambda n, m: tensor.cross_gram(units, n, m) / scale.weight.astype(like.dtype)  # noqa: E731
        of_weights, of_columns = variances(units, bases, cross)
    else:  # block diagonal outside the span of the columns
        small, bases = compressed(units)
        of_weights, of_columns = variances(small, bases, partial(cross_gram, small))
        grams = [gram(a, a) for a in units]
        outside = [inverse_diagonal(product_of_others(grams, n)) for n in range(tensor.ndim)]
        of_columns = [
            c + d[None, :] * jnp.maximum(1 - jnp.sum(jnp.abs(q) ** 2, axis=1), 0)[:, None]
            for c, d, q in zip(of_columns, outside, bases, strict=True)
        ]
    size = jnp.abs(weights)[None, :]
    known = (spare > 0) & (size > 0)
    columns = (
        jnp.where(
            known & rows[:, None],
            noise * jnp.sqrt(jnp.maximum(c, 0)) / jnp.where(size > 0, size, 1),
            jnp.inf,
        )
        for c, rows in zip(of_columns, seen, strict=True)
    )
    of_weights = jnp.where(spare > 0, scale.unit * noise * jnp.sqrt(of_weights), jnp.inf)
    return CPTensor(of_weights, tuple(columns)), unless_bad(scale, CONVERGED)


def _model(name: str, cp: CPTensor | CPResult) -> CPTensor:
    """The model, checked."""
    weights, factors = checked(name, cp.cp if isinstance(cp, CPResult) else cp)
    _check.several_modes(name, tuple(a.shape[0] for a in factors))
    return CPTensor(weights, factors)


def _unit_model(model: CPTensor) -> CPTensor:
    """Unit columns and their weights, in the accumulator's dtype."""
    wide = accumulator(model.weights.dtype)
    return jax.tree.map(lambda a: a.astype(wide), model).normalize()
