"""The backward pass of a fit, with what it tells of itself."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._partial import Precision
from jkr._contractions._precise import accumulator
from jkr.cp._arguments import arguments, penalty
from jkr.cp._implicit import linearised, normal_form
from jkr.cp._least_squares import equations, parted
from jkr.cp._model import CPTensor
from jkr.cp._result import CPResult
from jkr.cp._sweep import Options, measured, prepared


class Pullback(NamedTuple):
    """Cotangents of what a fit was made of, in JAX's convention, as `jax.vjp` would give them.

    Attributes:
        tensor: (I_1, …, I_N).
        entry_weights: of the tensor's shape, or None where none were given.
        l2: scalar.
        fixed: factors of the fixed modes, in their order.
        residual: ‖b − H z‖/‖b‖ of the linear system that was solved, 0 where b is zero. The
            cotangents are in error by about this times the condition of the system.
    """

    tensor: Array
    entry_weights: Array | None
    l2: Array
    fixed: tuple[Array, ...]
    residual: Array


def pullback(
    result: CPResult,
    tensor: ArrayLike,
    cotangent: CPTensor,
    *,
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    precision: Precision = None,
) -> Pullback:
    """The vector-Jacobian product of `als` at its result, and how well its system was solved.

    `jax.grad` through `als` gives the same cotangents (R7), but nothing can be said then: the
    result has been returned. A residual that is not small means that the system is nearly
    singular: the fit is not stationary, or its solution not isolated (too many components; try
    l2 > 0).

    Args:
        result: of `als` with this tensor and these options.
        tensor: T (I_1, …, I_N).
        cotangent: of `result.cp`, for instance `jax.grad(f)(result.cp)`.
        entry_weights: as in `als`, and so are all others.
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stayed.
        l2: weight of the penalty.
        precision: of the products with the tensor.

    Returns:
        Pullback.

    Raises:
        ValueError: a result that is none, a model or a cotangent of another shape than the
            tensor's, and as in `als`.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1), tol=0, max_iters=300)
        >>> energy = lambda model: (model.full() ** 2).sum()
        >>> back = jkr.cp.pullback(result, x, jax.grad(energy)(result.cp))
        >>> bool(back.residual < 1e-3), back.tensor.shape
        (True, (4, 5, 6))

    Source: as `als`, R7.
    """
    name = "cp.pullback"
    x, w, options = arguments(name, tensor, entry_weights, nonnegative, fixed_modes, precision)
    if not isinstance(result, CPResult):
        raise ValueError(f"{name}: result needs to be a CPResult, got {type(result).__name__}")
    l2 = penalty(name, l2, jnp.finfo(accumulator(x.dtype)).dtype)
    factors, weights = _check.model(name, result.cp, x.shape, result.cp.rank, x.dtype)
    toward, of_weights = _check.model(name, cotangent, x.shape, result.cp.rank, x.dtype)
    model, direction = CPTensor(weights, tuple(factors)), CPTensor(of_weights, tuple(toward))
    return _pulled(model, x, w, l2, direction, options)


@partial(jax.jit, static_argnames="options")
def _pulled(cp, x, w, l2, cotangent, options: Options) -> Pullback:
    dtypes = jax.tree.map(lambda a: a.dtype, (x, w, jnp.asarray(l2)))
    x, cp, cotangent = jax.tree.map(lambda a: a.astype(accumulator(x.dtype)), (x, cp, cotangent))
    w = None if w is None else w.astype(x.real.dtype)
    scale, norm, _ = measured(x, w)
    units, fixed = parted(cp.factors, options)
    by_units, by_fixed = parted(cotangent.factors, options)

    def forced(x, w, l2, fixed):
        data = prepared(x, w, l2, scale, norm, options)
        return equations(options).gradient(system.free, (data, fixed))

    data = prepared(x, w, l2, scale, norm, options)
    system = linearised(equations(options), cp.weights, units, (data, fixed), scale)
    _, to_free = jax.vjp(lambda free: normal_form(free, units, scale), system.free)
    # Where JAX pairs a cotangent c with a vector v as Re Σ c v, the system has Re Σ conj(c) v.
    b = jax.tree.map(jnp.conj, to_free((cotangent.weights, by_units))[0])
    z = system.solve(b)
    flat = system.project(system.flat(b))
    size = jnp.linalg.norm(flat)
    residual = jnp.linalg.norm(flat - system.multiply(system.flat(z)))
    _, to_data = jax.vjp(forced, x, w, l2, fixed)
    *parts, to_fixed = to_data(jax.tree.map(lambda v: -v.conj(), z))
    of_x, of_w, of_l2 = jax.tree.map(lambda a, dtype: a.astype(dtype), tuple(parts), dtypes)
    every = tuple(a + c for a, c in zip(to_fixed, by_fixed, strict=True))
    return Pullback(of_x, of_w, of_l2, every, residual / jnp.where(size > 0, size, 1))
