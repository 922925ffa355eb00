"""The CP model ⟦λ; A_1, …, A_N⟧ = Σ_r λ_r a_r⁽¹⁾ ∘ … ∘ a_r⁽ᴺ⁾ as a pytree.

A NamedTuple, so that it unpacks as `weights, factors = cp` and passes through every transform;
the data of a model are its leaves, and everything else is a method. Its + and * are those of
tensors, not of tuples.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._reconstruct import dense
from jkr._contractions._scattered import model_at
from jkr._linalg._dtypes import accumulator, promoted
from jkr._linalg._norms import column_norms, power_of_two, square_root, times
from jkr._linalg._small import gram, matmul
from jkr._mesh import any_mesh
from jkr._products._hadamard import hadamard


class CPTensor(NamedTuple):
    """CP (CANDECOMP/PARAFAC) tensor Σ_r λ_r a_r⁽¹⁾ ∘ … ∘ a_r⁽ᴺ⁾.

    Entry (i_1, …, i_N) is Σ_r λ_r ∏ₙ Aₙ[i_n, r].

    Attributes:
        weights: component weights λ, (R,); None stands for ones.
        factors: factor matrices Aₙ (I_n, R), one a mode, in a tuple or list.

    Nothing is checked when a model is made, so that transforms can put in it what they like; the
    methods and functions that read it check it.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> cp = jkr.cp.CPTensor(jnp.array([2.0]), (jnp.ones((2, 1)), jnp.ones((3, 1))))
        >>> weights, factors = cp
        >>> cp.shape, cp.rank
        ((2, 3), 1)

    Source: [KB09], section 3.
    """

    weights: Array
    factors: tuple[Array, ...]

    __array_ufunc__ = None  # NumPy's numbers leave `*` to this class, as JAX's do

    @property
    def shape(self) -> tuple[int, ...]:
        """(I_1, …, I_N), the shape of the tensor that this model stands for."""
        return tuple(jnp.shape(a)[-2] for a in self.factors)

    @property
    def rank(self) -> int:
        """R, the number of components."""
        return jnp.shape(self.factors[0] if self.weights is None else self.weights)[-1]

    @partial(any_mesh, large=True)
    def full(self) -> Array:
        """The dense tensor, T[i_1, …, i_N] = Σ_r λ_r ∏ₙ Aₙ[i_n, r] (J4).

        Returns:
            Array (I_1, …, I_N), of the promoted dtype of weights and factors; integers become the
            default float.

        Raises:
            ValueError: factors that are no sequence of matrices with equal column counts, or
                weights of another number than their columns.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> a, b = jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [10.0]])
            >>> jkr.cp.CPTensor(jnp.array([3.0]), (a, b)).full()
            Array([[ 3., 30.],
                   [ 6., 60.]], dtype=float32)

        Derivative (R2): MTTKRPs of the cotangent; saved are only weights and factors.

        Source: law J4; [KB09].
        """
        return dense(*checked("cp.CPTensor.full", self))

    @any_mesh
    def at(self, indices: ArrayLike) -> Array:
        """Entries at some indices, T[i_1, …, i_N] of each, never forming the tensor.

        Args:
            indices: integers (..., N), counted from 0; negative ones count from the end. Traced
                ones that are out of range give the nearest entry.

        Returns:
            Array (...), of the promoted dtype of weights and factors.

        Raises:
            ValueError: indices that are no integers, of another order, or out of range; what is no
                CP model.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> a, b = jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [10.0]])
            >>> jkr.cp.CPTensor(jnp.array([3.0]), (a, b)).at([[1, 0], [1, 1]])
            Array([ 6., 60.], dtype=float32)

        Source: [BK08].
        """
        name = "cp.CPTensor.at"
        weights, factors = checked(name, self)
        found = _check.indices_of_entries(name, indices, self.shape)
        return _at(CPTensor(weights, factors), found)

    @any_mesh
    def norm(self) -> Array:
        """Frobenius norm, from the Grams: ‖⟦λ; A…⟧‖² = λᴴ(∘ₙ AₙᴴAₙ)λ (J6).

        Returns:
            Real scalar, of the precision of weights and factors. Where components all but cancel,
            its error is about √eps of the largest of them.

        Raises:
            ValueError: as `full`.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> a, b = jnp.array([[3.0], [4.0]]), jnp.array([[1.0], [0.0]])
            >>> float(jkr.cp.CPTensor(jnp.array([2.0]), (a, b)).norm())
            10.0

        Derivative (R6): finite where columns, or the whole, are zero.

        Source: law J6; [KB09].
        """
        return _norm(CPTensor(*checked("cp.CPTensor.norm", self)))

    @any_mesh
    def inner(self, other: "CPTensor") -> Array:
        """Σ conj(self) ∘ other = λᴴ(∘ₙ AₙᴴBₙ)μ, never forming either tensor (J6).

        Args:
            other: a CP tensor (I_1, …, I_N) of the same shape; its rank may differ.

        Returns:
            Scalar, complex if either model is, of the operands' (promoted) dtype.

        Raises:
            ValueError: what is no CP model, or one of another shape.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> one = jkr.cp.CPTensor(jnp.ones(1), (jnp.ones((2, 1)), jnp.ones((3, 1))))
            >>> one.inner(jkr.cp.CPTensor(jnp.ones(2), (jnp.ones((2, 2)), jnp.ones((3, 2)))))
            Array(12., dtype=float32)

        Source: laws I9, J6; [KB09].
        """
        weights, factors = checked("cp.CPTensor.inner", self)
        other_weights, other_factors = checked("cp.CPTensor.inner", other)
        other_shape = tuple(b.shape[0] for b in other_factors)
        _check.same_shape("cp.CPTensor.inner", self.shape, other_shape)
        weights, other_weights, *both = promoted(weights, other_weights, *factors, *other_factors)
        one = CPTensor(weights, tuple(both[: len(factors)]))
        another = CPTensor(other_weights, tuple(both[len(factors) :]))
        return wide_inner(one, another).astype(weights.dtype)

    @any_mesh
    def normalize(self) -> "CPTensor":
        """The same tensor with unit-norm columns, their norms moved into the weights.

        A column of zeros stays, and its component's weight becomes 0. Weights keep their sign
        (phase).

        Returns:
            CPTensor of the same shape and rank.

        Raises:
            ValueError: as `full`.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> a, b = jnp.array([[3.0], [4.0]]), jnp.array([[0.0], [-2.0]])
            >>> weights, factors = jkr.cp.CPTensor(jnp.array([1.0]), (a, b)).normalize()
            >>> weights, factors[1].ravel()
            (Array([10.], dtype=float32), Array([ 0., -1.], dtype=float32))

        Derivative (R6): finite at a column of zeros, where plain autodiff is NaN.

        Source: law I4; [KB09], section 3.
        """
        return _normalized(CPTensor(*checked("cp.CPTensor.normalize", self)))

    @any_mesh
    def arrange(self) -> "CPTensor":
        """The same tensor in a normal form that can be read and compared.

        Unit-norm columns, nonnegative weights, components by decreasing weight; in every mode but
        the first, the entry of largest absolute value of each column is positive.

        Returns:
            CPTensor of the same shape and rank.

        Raises:
            ValueError: as `full`.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> a, b = jnp.array([[3.0, 1.0]]), jnp.array([[-2.0, 8.0]])
            >>> weights, factors = jkr.cp.CPTensor(jnp.ones(2), (a, b)).arrange()
            >>> weights, factors[0]  # of the second mode, where −2 was, the entry is 1
            (Array([8., 6.], dtype=float32), Array([[ 1., -1.]], dtype=float32))

        Derivative: that of `normalize`; the order has derivative zero.

        Source: law I4; [KB09], section 3.
        """
        return _arranged(CPTensor(*checked("cp.CPTensor.arrange", self)))

    @any_mesh
    def mode_dot(self, matrix: ArrayLike, mode: int) -> "CPTensor":
        """Product of the tensor with a matrix along a mode, T ×ₙ M; with a vector, T ×ₙ v.

        Args:
            matrix: M (J, I_n), or a vector (I_n,), with which the mode goes.
            mode: n.

        Returns:
            CPTensor of the same rank, with M Aₙ in place of Aₙ; with a vector one of a mode less,
            and weights λ∘(vᵀAₙ).

        Raises:
            ValueError: as `full`; a mode out of range; a matrix of another number of columns; a
                vector and a model of one mode.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> cp = jkr.cp.CPTensor(jnp.ones(1), (jnp.ones((2, 1)), jnp.ones((3, 1))))
            >>> cp.mode_dot(jnp.ones(3), 1).full()
            Array([3., 3.], dtype=float32)

        Source: [KB09], section 2.5.
        """
        name = "cp.CPTensor.mode_dot"
        weights, factors = checked(name, self)
        n = _check.mode(name, mode, len(factors))
        m = _check.along_mode(name, matrix, factors[n].shape[0])
        m, weights, *factors = promoted(m, weights, *factors)
        product = matmul(m, factors[n]).astype(weights.dtype)
        return _replaced(name, CPTensor(weights, tuple(factors)), n, product)

    @any_mesh
    def take(self, index: Any, mode: int | None = None) -> "CPTensor":
        """Some indices of a mode, as of an array; without a mode, some components.

        Args:
            index: an int, several, a slice, or a mask of booleans; negative ones count from the
                end. An int takes a slab: the mode goes. Traced ones are not looked at.
            mode: n, or None for components, of which one stays a model of rank one.

        Returns:
            CPTensor.

        Raises:
            ValueError: as `full`; an index or a mode out of range; an index that is none; a slab
                of a model of one mode.

        Example:
            >>> import jax, jkr
            >>> cp = jkr.cp.random(jax.random.key(0), (4, 5, 6), 3)
            >>> cp.take(2, 1).shape, cp.take([0, 3], 1).shape, cp.take([0, 2]).rank
            ((4, 6), (4, 2, 6), 2)

        Source: law J4; [KB09].
        """
        name = "cp.CPTensor.take"
        weights, factors = checked(name, self)
        if mode is None:
            picked = _check.indices(name, index, weights.shape[0])
            columns = (jnp.atleast_2d(a.T[picked]).T for a in factors)
            return CPTensor(jnp.atleast_1d(weights[picked]), tuple(columns))
        n = _check.mode(name, mode, len(factors))
        rows = factors[n][_check.indices(name, index, factors[n].shape[0])]
        return _replaced(name, CPTensor(weights, factors), n, rows)

    @any_mesh
    def __add__(self, other: Any) -> "CPTensor":
        """The sum of two tensors: the components of both, side by side.

        Args:
            other: CPTensor of the same shape.

        Returns:
            CPTensor, of the rank of both together.

        Raises:
            ValueError: what is no CP model, or one of another shape.
        """
        return _sum(self, other)

    def __radd__(self, other: Any) -> "CPTensor":
        """The sum; with 0 on the left, where `sum` begins, the model."""
        return self if isinstance(other, int) and other == 0 else _sum(other, self)

    @any_mesh
    def __mul__(self, other: ArrayLike) -> "CPTensor":
        """Times a scalar, which goes to the weights.

        Args:
            other: scalar.

        Returns:
            CPTensor of the same shape and rank.

        Raises:
            ValueError: no CP model, or what is no scalar.
        """
        name = "cp.CPTensor.*"
        weights, factors = checked(name, self)
        scalar, weights, *factors = promoted(_check.multiplier(name, other), weights, *factors)
        return CPTensor(scalar * weights, tuple(factors))

    def __rmul__(self, other: Any) -> "CPTensor":
        return self * other

    def __neg__(self) -> "CPTensor":
        return self * -1

    def __sub__(self, other: Any) -> "CPTensor":
        return self + -CPTensor(*_check.parts("cp.CPTensor.+", other))

    def __rsub__(self, other: Any) -> "CPTensor":
        return other + -self

    def __truediv__(self, other: ArrayLike) -> "CPTensor":
        return self * (1 / _check.multiplier("cp.CPTensor./", other))


# One program each, so that eager calls cost little.


@jax.jit
def _norm(cp: CPTensor) -> Array:
    # Of the normalised model, whose squares are in range wherever its weights are.
    weights, factors = _normalized(cp)
    largest = lax.stop_gradient(jnp.max(jnp.abs(weights), initial=0))
    scale = jnp.where(largest > 0, largest, 1).astype(weights.dtype)
    model = CPTensor(weights / scale, factors)
    norm = square_root(wide_inner(model, model).real)
    return (norm * scale.real.astype(norm.dtype)).astype(weights.real.dtype)


@jax.jit
def _normalized(cp: CPTensor) -> CPTensor:
    dtype, wide = cp.weights.dtype, accumulator(cp.weights.dtype)
    weights, columns = cp.weights.astype(wide), []
    for a in cp.factors:
        norms = column_norms(a).astype(wide)
        weights = weights * norms
        columns.append((a.astype(wide) / jnp.where(norms == 0, 1, norms)[None, :]).astype(dtype))
    return CPTensor(weights.astype(dtype), tuple(columns))


@jax.jit
def _arranged(cp: CPTensor) -> CPTensor:
    weights, factors = _normalized(cp)
    order = jnp.argsort(-jnp.abs(weights))
    first, *others = (a[:, order] for a in factors)
    turn = phase(weights[order])
    for n, a in enumerate(others):
        if a.shape[0] == 0:
            continue
        largest = jnp.argmax(jnp.abs(a), axis=0)
        sign = phase(jnp.take_along_axis(a, largest[None, :], axis=0)[0])
        others[n], turn = a * sign.conj()[None, :], turn * sign
    return CPTensor(jnp.abs(weights[order]).astype(weights.dtype), (first * turn[None, :], *others))


def _sum(a: Any, b: Any) -> CPTensor:
    name = "cp.CPTensor.+"
    one, two = (CPTensor(*checked(name, model)) for model in (a, b))
    _check.same_shape(name, one.shape, two.shape)
    w, v, *both = promoted(one.weights, two.weights, *one.factors, *two.factors)
    pairs = zip(both[: len(one.factors)], both[len(one.factors) :], strict=True)
    return CPTensor(jnp.concatenate([w, v]), tuple(jnp.concatenate(pair, axis=1) for pair in pairs))


def _replaced(name: str, cp: CPTensor, n: int, factor: Array) -> CPTensor:
    """The model with another factor of a mode, or, of a vector, without that mode."""
    before, after = cp.factors[:n], cp.factors[n + 1 :]
    if factor.ndim == 2:
        return CPTensor(cp.weights, (*before, factor, *after))
    _check.several_modes(name, cp.shape)
    return CPTensor(cp.weights * factor, (*before, *after))


def phase(z: Array) -> Array:
    """z/|z|, and 1 at zero."""
    safe = jnp.where(z == 0, jnp.ones_like(z), z)
    return safe / jnp.abs(safe).astype(z.dtype)


def in_units(cp: CPTensor, least: float = 0.0) -> tuple[Array, list[Array], CPTensor]:
    """u, the sizes cₙ (R,) of the columns, and M' with M = u M', Aₙ = Aₙ' diag(cₙ), λ' = λ ∏cₙ/u.

    All are powers of two, so that nothing is rounded. The largest entry of each column of M' is
    about 1, and so is its largest weight, or less where u would be below `least`: Grams of M' do
    not overflow.
    """
    sizes = [power_of_two(a, axis=0) for a in cp.factors]
    pairs = zip(cp.factors, sizes, strict=True)
    factors = tuple(times(a, 1 / size[None, :]) for a, size in pairs)
    weights = times(cp.weights, *sizes)
    unit = jnp.maximum(power_of_two(weights), least)
    return unit, sizes, CPTensor(times(weights, 1 / unit), factors)


def wide_inner(one: CPTensor, other: CPTensor) -> Array:
    """Σ conj(one) ∘ other by J6, for models of one dtype, in the accumulator's dtype."""
    grams = [gram(a, b) for a, b in zip(one.factors, other.factors, strict=True)]
    left, right = (w.astype(grams[0].dtype) for w in (one.weights.conj(), other.weights))
    return matmul(left, matmul(hadamard(*grams), right))


def checked(name: str, cp: CPTensor) -> tuple[Array, tuple[Array, ...]]:
    """Weights and factors in their common dtype, floating or complex."""
    weights, factors = _check.parts(name, cp)
    factors, rank = _check.factors(name, factors)
    weights = _check.weights(name, weights, rank, factors[0].dtype)
    weights, *factors = promoted(*(_check.inexact(name, array) for array in (weights, *factors)))
    return weights, tuple(factors)


@jax.jit
def _at(cp: CPTensor, indices: Array) -> Array:
    """One program."""
    flat = indices.reshape(-1, indices.shape[-1])
    found = model_at([flat[:, n] for n in range(flat.shape[1])], *cp)
    return found.reshape(indices.shape[:-1])
