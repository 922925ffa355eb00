"""Losses of a CP model, Σ W∘f(M, T), least squares first, and their gradients (R4, R5).

With D = W∘∂f/∂M (for least squares W∘(M − T)), dloss = Re Σ conj(dM)∘D, so every derivative with
respect to the model is an MTTKRP of D (J5): dloss = Re Σₙ Σ conj(dAₙ)∘Dₙ with the gradient matrices
Dₙ = D₍ₙ₎ K̄ₙ diag(λ̄). (`jax.grad` returns their conjugates, as always.) For least squares without
weights D is never formed, because M₍ₙ₎ K̄ₙ comes from Grams (J6); else D exists one block at a time.
Either way value and gradient come from the same pass.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import Precision, accumulator, promoted
from jkr._linalg._norms import squared_distance, times
from jkr._linalg._small import gram, matmul, product_of_others
from jkr._linalg._tangents import is_zero, tangent_of, with_derivative
from jkr._mesh import any_mesh, is_sharded
from jkr._products._hadamard import hadamard
from jkr.cp import losses
from jkr.cp._model._cptensor import CPTensor, checked, in_units, wide_inner
from jkr.cp._objective import _zeros
from jkr.tensors._as_tensor import as_tensor, is_tensor
from jkr.tensors._dense import Dense
from jkr.tensors._mttkrp import tensor_mttkrps
from jkr.tensors._tensor import AtZero, Tensor

Elementwise = Callable[..., Array]


@any_mesh
def loss(
    cp: CPTensor,
    tensor: ArrayLike | Tensor,
    *,
    loss: losses.Loss | Callable[..., Array] = losses.gaussian,
    entry_weights: ArrayLike | None = None,
    entry_constants: ArrayLike | tuple[ArrayLike, ...] | None = None,
    precision: Precision = None,
) -> Array:
    """Loss of a CP model M = ⟦λ; A_1, …, A_N⟧: ½‖W½∘(T − M)‖², or Σ W∘f(M, T, C).

    Least squares without entry weights never form the model: ½(‖T‖² − 2 Re⟨M, T⟩ + ‖M‖²), with
    ⟨M, T⟩ an MTTKRP and ‖M‖² from Grams (J6). The terms cancel near an exact fit: at a relative
    residual ρ the value has a relative error of about 10·eps/ρ² (float32: 1e-4 at ρ = 1e-1, 1e-2 at
    1e-2, none of its digits below 1e-3; float64: to ρ = 1e-7), and its gradient one of about
    30·eps/ρ. Where that is too much, call it with `entry_weights=jnp.ones(tensor.shape)`: with
    entry weights, and for every other loss, entries are summed one by one, in blocks.

    Args:
        cp: the model, a CPTensor (I_1, …, I_N) of any rank.
        tensor: T (I_1, …, I_N), an array, a CPTensor, or any of `jkr.tensors`.
        loss: one of `cp.losses`, or any elementwise f(model, data) with real values. It is
            evaluated as it stands, whatever the sign of the model and the range of the data.
        entry_weights: nonnegative weights W (I_1, …, I_N), or such as broadcast to that, booleans
            included; what lies under a zero, NaN included, is never read into the value or a
            derivative. (So the derivative with respect to a weight that is zero is zero.)
        entry_constants: C, real arrays that broadcast to (I_1, …, I_N), one or a tuple, for a loss
            `f(model, data, *constants)`: exposures, trials, standard deviations.
        precision: of the matrix products with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Real scalar, of the operands' (promoted) precision.

    Raises:
        ValueError: no CP model, a tensor of another shape than the model, entry_weights or
            entry_constants of another shape than the tensor, or complex; a loss that is no function
            of (model, data), and of the constants, with real values of their shape.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> cp = jkr.cp.CPTensor(jnp.ones(1), (jnp.ones((2, 1)), jnp.ones((3, 1))))
        >>> jkr.cp.loss(cp, jnp.zeros((2, 3)))
        Array(3., dtype=float32)
        >>> jax.grad(jkr.cp.loss)(cp, jnp.zeros((2, 3))).weights
        Array([6.], dtype=float32)
        >>> jkr.cp.loss(cp, jnp.zeros((2, 3)), loss=jkr.cp.losses.poisson)
        Array(6., dtype=float32)

    Derivative (R4, least squares without entry weights): the gradient matrices
    Aₙ diag(λ)Γₙᵀ − T₍ₙ₎K̄ₙ, times λ̄, where Γₙ is the Hadamard product of the other Grams, computed
    once with the value; saved are they alone, of the factors' size. Two passes over T for all
    modes. Plain autodiff of the dense residual forms M, D and their unfoldings. (R5, all else): the
    same matrices from D = W∘∂f/∂M, block by block (on one device; with several, on the whole of T,
    so that a sharded T stays where it is); plain autodiff keeps several tensors of T's size.

    Source: laws J5, J6; [ADK11]; with entry weights [ADKM11]; any loss [HKD20].
    """
    name = "cp.loss"
    weights, factors = checked(name, cp)
    if is_tensor(tensor):
        made = as_tensor(name, tensor, entry_weights, entry_constants)
    else:
        tensor, entry_weights = _check.data_and_weights(name, tensor, entry_weights)
        with np.errstate(over="ignore"):  # `in_range` says it
            x = _check.inexact(name, tensor, "a tensor of numbers")
        w = _check.weights_if_any(name, entry_weights, x.shape)
        _check.in_range(name, tensor, x, w)
        constants = _check.entry_constants(name, entry_constants, x.shape)
        made = Dense(x, w, entry_constants=constants, sharded=is_sharded(x))
    _check.same_shape(name, tuple(a.shape[0] for a in factors), made.shape)
    weights, like, *factors = promoted(weights, jnp.zeros((), made.dtype), *factors)
    known = losses.checked_loss(name, loss, accumulator(like.dtype), len(made.entry_constants))
    if known.at_zero is None:
        made.check_zeros(name, known.name)
    if 0 in made.shape:
        return jnp.zeros((), like.real.dtype)
    return _loss(CPTensor(weights, tuple(factors)), made, known, precision)


@partial(jax.jit, static_argnums=(2, 3))
def _loss(cp: CPTensor, tensor: Tensor, f: losses.Loss, precision: Precision) -> Array:
    """The loss of checked arguments, one program."""
    dtype, wide = cp.weights.real.dtype, accumulator(cp.weights.dtype)
    cp, tensor = jax.tree.map(lambda a: a.astype(wide), cp), tensor.astype(wide)
    if tensor.ndim == 1:  # as a matrix of one row
        ones = jnp.ones((1, cp.rank), wide)
        tensor = jax.tree.map(lambda a: a[None, :], tensor)
        cp = CPTensor(cp.weights, (ones, *cp.factors))
    if f == losses.gaussian and tensor.uniform:
        return half_squares(cp, tensor, precision).astype(dtype)
    return entry_loss(f, precision, cp, tensor, None).astype(dtype)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def half_squares(cp: CPTensor, tensor: Tensor, precision: Precision) -> Array:
    """½‖T − M‖² of a tensor without weights, from Grams (R4).

    In units of the model, so that squares are in range where the loss is. Small numbers stay as
    they are: their squares are small, too.
    """
    # The value alone needs one MTTKRP.
    unit, _, cp = in_units(cp, least=1.0)
    inner = _inner(cp, tensor, precision) / unit
    value = _value(tensor.squared_norm(unit), inner, wide_inner(cp, cp))
    return times(value, unit, unit)


@partial(half_squares.defjvp, symbolic_zeros=True)
def _half_squares_jvp(precision, primals, tangents):
    # With D = M − T, dloss = Re Σ conj(dM)∘D − Re Σ conj(dT)∘D.
    cp, tensor = primals
    dcp, dtensor = tangents
    value, tangent = _value_and_tangent(
        dcp,
        lambda: half_squares(cp, tensor, precision),
        lambda: _half_squares_gradient(cp, tensor, precision),
    )
    of_tensor = tangent_of(
        lambda tensor: tensor.squared_norm() / 2 - _inner(cp, tensor, precision),
        (tensor,),
        (dtensor,),
    )
    tangent = tangent if of_tensor is None else tangent + of_tensor
    return value, tangent.astype(value.dtype)


def _half_squares_gradient(
    cp: CPTensor, tensor: Tensor, precision: Precision
) -> tuple[Array, CPTensor]:
    """Loss and its gradient ∂/∂conj(λ), ∂/∂conj(Aₙ)."""
    unit, sizes, cp = in_units(cp, least=1.0)
    weights, factors = cp
    ys = [times(y, 1 / unit) for y in tensor_mttkrps(tensor, _conj(factors), precision)]
    of_model, of_data, matrices = by_grams(cp, ys)
    inner = jnp.sum((weights.conj() * of_data).real)
    value = _value(tensor.squared_norm(unit), inner, jnp.sum(weights.conj() * of_model))
    # Back to the units of the arguments.
    of_weights = times(of_model - of_data, unit, *sizes)
    of_factors = (
        times(d * weights.conj()[None, :], unit, 1 / size[None, :], unit)
        for d, size in zip(matrices, sizes, strict=True)
    )
    return times(value, unit, unit), CPTensor(of_weights, tuple(of_factors))


def by_grams(cp: CPTensor, ys: Sequence[Array]) -> tuple[Array, Array, tuple[Array, ...]]:
    """KᴴM and KᴴT as vectors, and (M − T)₍ₙ₎K̄ₙ of every mode, from the MTTKRPs Yₙ = T₍ₙ₎K̄ₙ.

    The last is Aₙ diag(λ) Γₙᵀ − Yₙ, Γₙ the Hadamard product of the Grams of the other factors.
    """
    weights, factors = cp
    grams = [gram(a, a) for a in factors]
    matrices = tuple(
        matmul(a * weights[None, :], product_of_others(grams, n).T) - y
        for n, (a, y) in enumerate(zip(factors, ys, strict=True))
    )
    of_data = jnp.sum(factors[0].conj() * ys[0], axis=0)
    return matmul(hadamard(*grams), weights), of_data, matrices


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def entry_loss(
    loss: losses.Loss, precision: Precision, cp: CPTensor, tensor: Tensor, unit: Array | None
) -> Array:
    """Σ W∘f(M, T/u), entry by entry (R5)."""
    return _entry_loss(loss, precision, cp, tensor, unit)


@partial(entry_loss.defjvp, symbolic_zeros=True)
def _entry_loss_jvp(loss, precision, primals, tangents):
    cp, tensor, unit = primals
    dcp, dtensor, _ = tangents
    value, tangent = _value_and_tangent(
        dcp,
        lambda: entry_loss(loss, precision, cp, tensor, unit),
        lambda: _entry_gradient(loss, precision, cp, tensor, unit),
    )
    # With respect to the data it is that of the same pass, a block of it at a time.
    of_tensor = tangent_of(
        lambda tensor: _entry_loss(loss, precision, cp, tensor, unit),
        (tensor,),
        (dtensor,),
    )
    tangent = tangent if of_tensor is None else tangent + of_tensor
    return value, tangent.astype(value.dtype)


def _entry_loss(
    loss: losses.Loss, precision: Precision, cp: CPTensor, tensor: Tensor, unit: Array | None
) -> Array:
    f = of_scaled(loss.function, unit)
    value = lambda m, *data: (f(m, *data), None)  # noqa: E731
    zero = _zeros.derivative(loss)
    return tensor.entrywise(value, cp, precision=precision, at_zero=zero)[0]


def _entry_gradient(
    loss: losses.Loss, precision: Precision, cp: CPTensor, tensor: Tensor, unit: Array | None
) -> tuple[Array, CPTensor]:
    """Loss and its gradient ∂/∂conj(λ), ∂/∂conj(Aₙ), from the MTTKRPs of D."""
    weights, factors = cp
    both = partial(with_derivative, of_scaled(loss.function, unit))
    zero = _zeros.derivative(loss)
    value, ys = tensor.entrywise(both, cp, _conj(factors), precision=precision, at_zero=zero)
    matrices = tuple(y * weights.conj()[None, :] for y in ys)
    return value, CPTensor(jnp.sum(factors[0].conj() * ys[0], axis=0), matrices)


def squared_residual(
    loss: losses.Loss,
    tensor: Tensor,
    cp: CPTensor,
    unit: Array,
    read: Callable[[Array], Array] = lambda t: t,
) -> Array:
    """Σ W|E − T|²/u², E the data that the model stands for, entry by entry.

    Of a sparse tensor of zeros Σ W|T|² − 2⟨E, T⟩ + |E|² in effect, so good to √eps of ‖T‖.
    """
    by_unit = lambda a: a / unit.astype(a.dtype)  # noqa: E731
    if loss.expects_model:  # a model in that unit: its squares are in range
        cp, zero = cp._replace(weights=by_unit(cp.weights)), AtZero((0, 0, 1))
        f = lambda m, t, *_: (squared_distance(m, by_unit(read(t))), None)  # noqa: E731
    else:
        zero = None
        f = lambda m, t, *c: (  # noqa: E731
            squared_distance(by_unit(loss.expected(m, *c)), by_unit(read(t))),
            None,
        )
    return tensor.entrywise(f, cp, precision="highest", at_zero=zero)[0]


def of_scaled(f: Elementwise, unit: Array | None) -> Elementwise:
    """(m, t) to f(m, t/u); u is a constant for derivatives."""
    if unit is None:
        return f
    return lambda m, t, *c: f(m, t / lax.stop_gradient(unit).astype(t.dtype), *c)


def _value_and_tangent(
    dcp: CPTensor,
    of_value: Callable[[], Array],
    of_both: Callable[[], tuple[Array, CPTensor]],
) -> tuple[Array, Array]:
    """The value, with the part of its tangent that comes from the model, if that moves."""
    if all(is_zero(d) for d in jax.tree.leaves(dcp)):
        value = of_value()
        return value, jnp.zeros_like(value)
    value, gradient = of_both()
    return value, _real_inner(dcp, gradient)


def _value(squared_data: Array, inner: Array, squared_model: Array) -> Array:
    """½(‖T‖² − 2 Re⟨M, T⟩ + ‖M‖²), not below zero; the derivative is that of the sum."""
    total = squared_data - 2 * inner + squared_model.real
    return (total + lax.stop_gradient(jnp.maximum(total, 0) - total)) / 2


def _inner(cp: CPTensor, tensor: Tensor, precision: Precision) -> Array:
    """Re Σ conj(M)∘T, from one MTTKRP with the conjugate factors."""
    (y,) = tensor_mttkrps(tensor, _conj(cp.factors), precision, (0,))
    return jnp.sum((cp.weights.conj()[None, :] * cp.factors[0].conj() * y).real)


def _real_inner(tangents, gradients) -> Array:
    """Re Σ conj(tangent)∘gradient over the leaves whose tangent is not known to be zero."""
    pairs = zip(jax.tree.leaves(tangents), jax.tree.leaves(gradients), strict=True)
    terms = [jnp.sum((d.conj() * g).real) for d, g in pairs if not is_zero(d)]
    return sum(terms[1:], start=terms[0])


def _conj(factors: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(a.conj() for a in factors)
