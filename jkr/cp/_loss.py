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
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._elementwise import (
    Entrywise,
    entry_derivative,
    entry_gradient,
    entry_sum,
    readable,
)
from jkr._contractions._mttkrp import mttkrp, mttkrps
from jkr._linalg._dtypes import Precision, accumulator, promoted
from jkr._linalg._small import gram, matmul, product_of_others
from jkr._linalg._tangents import is_zero
from jkr._products._hadamard import hadamard
from jkr.cp import losses
from jkr.cp._model import CPTensor, checked, dense, wide_inner


def loss(
    cp: CPTensor,
    tensor: ArrayLike,
    *,
    loss: losses.Loss | Callable[[Array, Array], Array] = losses.gaussian,
    entry_weights: ArrayLike | None = None,
    precision: Precision = None,
) -> Array:
    """Loss of a CP model M = ⟦λ; A_1, …, A_N⟧: ½‖W½∘(T − M)‖², or Σ W∘f(M, T).

    Least squares without entry weights never form the model: ½(‖T‖² − 2 Re⟨M, T⟩ + ‖M‖²), with
    ⟨M, T⟩ an MTTKRP and ‖M‖² from Grams (J6). The terms cancel near an exact fit: at a relative
    residual ρ the value has a relative error of about 10·eps/ρ² (float32: 1e-4 at ρ = 1e-1, 1e-2 at
    1e-2, none of its digits below 1e-3; float64: to ρ = 1e-7), and its gradient one of about
    30·eps/ρ. Where that is too much, call it with `entry_weights=jnp.ones(tensor.shape)`: with
    entry weights, and for every other loss, entries are summed one by one, in blocks.

    Args:
        cp: the model, a CPTensor (I_1, …, I_N) of any rank.
        tensor: T (I_1, …, I_N).
        loss: one of `cp.losses`, or any elementwise f(model, data) with real values. It is
            evaluated as it stands, whatever the sign of the model and the range of the data.
        entry_weights: nonnegative weights W (I_1, …, I_N), booleans included; what lies under a
            zero, NaN included, is never read into the value or a derivative. (So the derivative
            with respect to a weight that is zero is zero.)
        precision: of the matrix products with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Real scalar, of the operands' (promoted) precision.

    Raises:
        ValueError: no CP model, a tensor of another shape than the model, entry_weights of another
            shape than the tensor, complex entry_weights; a loss that is no function of (model,
            data) with real values of their shape.

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

    Source: laws J5, J6; Acar, Dunlavy & Kolda, J. Chemometrics 25 (2011) 67–86,
    doi:10.1002/cem.1335 (CP-OPT; with entry weights CP-WOPT, doi:10.1016/j.chemolab.2010.08.004);
    Hong, Kolda & Duersch, SIAM Review 62 (2020) 133–163, doi:10.1137/18M1203626 (any loss).
    """
    weights, factors = checked("cp.loss", cp)
    x = _check.inexact("cp.loss", tensor, "a tensor of numbers")
    _check.same_shape("cp.loss", tuple(a.shape[0] for a in factors), x.shape)
    weights, x, *factors = promoted(weights, x, *factors)
    dtype, wide = x.real.dtype, accumulator(x.dtype)
    model = CPTensor(weights.astype(wide), tuple(a.astype(wide) for a in factors))
    x, known = x.astype(wide), losses.checked_loss("cp.loss", loss, x.astype(wide))
    w = None
    if entry_weights is not None:
        w = _check.entry_weights("cp.loss", entry_weights, x.shape).astype(x.real.dtype)
    if x.size == 0:
        return jnp.zeros((), dtype)
    if known == losses.gaussian:
        return half_squares(model, x, w, precision).astype(dtype)
    return entry_loss(known, model, x, w, precision).astype(dtype)


def half_squares(cp: CPTensor, x: Array, w: Array | None, precision: Precision) -> Array:
    """The least-squares `loss` of checked arguments."""
    if w is None:
        return _gaussian(cp, x, precision)
    return entry_loss(losses.gaussian, cp, x, w, precision)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _gaussian(cp: CPTensor, x: Array, precision: Precision) -> Array:
    # The value alone needs one MTTKRP.
    y = mttkrp(x, _conj(cp.factors), 0, precision=precision)
    return _value(x, _inner(cp, y, 0), wide_inner(cp, cp))


@partial(_gaussian.defjvp, symbolic_zeros=True)
def _gaussian_jvp(precision, primals, tangents):
    # With D = M − T, dloss = Re Σ conj(dM)∘D − Re Σ conj(dT)∘D.
    cp, x = primals
    dcp, dx = tangents
    value, tangent = _value_and_tangent(
        dcp,
        lambda: _gaussian(cp, x, precision),
        lambda: _gaussian_gradient(cp, x, precision),
    )
    if not is_zero(dx):
        y = mttkrp(dx, _conj(cp.factors), 0, precision=precision)
        tangent = tangent + _real_inner(dx, x) - _inner(cp, y, 0)
    return value, tangent.astype(value.dtype)


def _gaussian_gradient(cp: CPTensor, x: Array, precision: Precision) -> tuple[Array, CPTensor]:
    """Loss and its gradient ∂/∂conj(λ), ∂/∂conj(Aₙ)."""
    weights, factors = cp
    ys = mttkrps(x, _conj(factors), precision=precision)
    grams = [gram(a, a) for a in factors]
    every = hadamard(*grams)
    model_sum = matmul(every, weights)
    matrices = []
    for n, (a, y) in enumerate(zip(factors, ys, strict=True)):
        fitted = matmul(a * weights[None, :], product_of_others(grams, n).T)
        matrices.append((fitted - y) * weights.conj()[None, :])
    data_sum = jnp.sum(factors[0].conj() * ys[0], axis=0)
    value = _value(x, _inner(cp, ys[0], 0), jnp.sum(weights.conj() * model_sum))
    return value, CPTensor(model_sum - data_sum, tuple(matrices))


@partial(jax.custom_jvp, nondiff_argnums=(0, 4))
def entry_loss(
    f: Entrywise, cp: CPTensor, x: Array, w: Array | None, precision: Precision
) -> Array:
    """Σ W∘f(M, T) of checked arguments, entry by entry (R5)."""
    return entry_sum(f, cp.weights, cp.factors, x, w, precision=precision)


@partial(entry_loss.defjvp, symbolic_zeros=True)
def _entry_loss_jvp(f, precision, primals, tangents):
    cp, x, w = primals
    dcp, dx, dw = tangents
    value, tangent = _value_and_tangent(
        dcp,
        lambda: entry_loss(f, cp, x, w, precision),
        lambda: _entry_gradient(f, cp, x, w, precision),
    )
    still_x, still_w = is_zero(dx), w is None or is_zero(dw)
    if not (still_x and still_w):
        # With respect to the data the derivative is of the data's size: no block would help.
        model, data = dense(cp, precision), readable(x, w)
        values, of_data = entry_derivative(lambda x, model: f(model, x), data, model)
        seen = jnp.ones((), bool) if w is None else w != 0
        if not still_x:
            weighed = of_data if w is None else w.astype(x.dtype) * of_data
            tangent += _real_inner(jnp.where(seen, dx, 0), jnp.where(seen, weighed, 0))
        if not still_w:
            tangent += jnp.sum(dw * jnp.where(seen, values, 0))
    return value, tangent.astype(value.dtype)


def _entry_gradient(
    f: Entrywise, cp: CPTensor, x: Array, w: Array | None, precision: Precision
) -> tuple[Array, CPTensor]:
    """Loss and its gradient ∂/∂conj(λ), ∂/∂conj(Aₙ), from the MTTKRPs of D."""
    weights, factors = cp
    value, ys = entry_gradient(f, weights, factors, x, w, precision=precision)
    matrices = tuple(y * weights.conj()[None, :] for y in ys)
    return value, CPTensor(jnp.sum(factors[0].conj() * ys[0], axis=0), matrices)


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


def _value(x: Array, inner: Array, squared: Array) -> Array:
    """½(‖T‖² − 2 Re⟨M, T⟩ + ‖M‖²), not below zero; the derivative is that of the sum."""
    total = jnp.sum((x * x.conj()).real) - 2 * inner + squared.real
    return (total + lax.stop_gradient(jnp.maximum(total, 0) - total)) / 2


def _inner(cp: CPTensor, y: Array, n: int) -> Array:
    """Re Σ conj(M)∘T from the mode-n MTTKRP of T with the conjugate factors."""
    return jnp.sum((cp.weights.conj()[None, :] * cp.factors[n].conj() * y).real)


def _real_inner(tangents, gradients) -> Array:
    """Re Σ conj(tangent)∘gradient over the leaves whose tangent is not known to be zero."""
    pairs = zip(jax.tree.leaves(tangents), jax.tree.leaves(gradients), strict=True)
    terms = [jnp.sum((d.conj() * g).real) for d, g in pairs if not is_zero(d)]
    return sum(terms[1:], start=terms[0])


def _conj(factors: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(a.conj() for a in factors)
