"""The backward pass of a fit, with what it tells of itself."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import Precision, accumulator
from jkr.cp._arguments import checked_arguments, checked_l2, refuse_bad_data
from jkr.cp._data import Options, measured
from jkr.cp._equations import parted
from jkr.cp._implicit import linearised, normal_form
from jkr.cp._least_squares import equations
from jkr.cp._model import CPTensor
from jkr.cp._result import CPResult
from jkr.cp._sweep import prepared


class Pullback(NamedTuple):
    """Cotangents of what a fit was made of, in JAX's convention, as `jax.vjp` would give them.

    Attributes:
        tensor: (I_1, …, I_N), of the tensor's dtype.
        entry_weights: (I_1, …, I_N), floating where a mask of booleans or integers was given; None
            where nothing was.
        l2: a real scalar.
        fixed: for each fixed mode, in their order, that of its factor, (I_n, R).
        residual: ‖b − H z‖/‖b‖ of the linear system that was solved, a real scalar, 0 where b is
            zero. The cotangents are in error by about this times the condition of the system.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1), tol=0, max_iters=300)
        >>> back = jkr.cp.pullback(result, x, result.cp)
        >>> back.tensor.shape, back.entry_weights, back.l2.shape, back.fixed
        ((4, 5, 6), None, (), ())

    Source: rule R7; Blondel et al., NeurIPS 2022, arXiv:2105.15183.
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
    l2 > 0), or the precision too low for its condition. (Of float16 and bfloat16 data the result
    holds the rounded model, and derivatives are taken there.)

    Args:
        result: of `als` with this tensor and these options.
        tensor: T (I_1, …, I_N).
        cotangent: of `result.cp`, a CPTensor of its shape and rank, for instance
            `jax.grad(f)(result.cp)`.
        entry_weights: as in `als`, and so are all others.
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stayed.
        l2: weight of the penalty, a scalar.
        precision: of the products with the tensor.

    Returns:
        Pullback.

    Raises:
        ValueError: a result that is none, a cotangent of another shape, rank or kind than the
            model, and as in `als`. Under `jit`, bad data are not refused; the residual is NaN then.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1), tol=0, max_iters=300)
        >>> energy = lambda model: (model.full() ** 2).sum()
        >>> back = jkr.cp.pullback(result, x, jax.grad(energy)(result.cp))
        >>> bool(back.residual < 1e-3), back.tensor.shape
        (True, (4, 5, 6))

    Source: rule R7; Blondel et al., NeurIPS 2022, arXiv:2105.15183.
    """
    name = "cp.pullback"
    x, w, options = checked_arguments(
        name, tensor, entry_weights, nonnegative, fixed_modes, precision
    )
    if not isinstance(result, CPResult):
        raise ValueError(f"{name}: result needs to be a CPResult, got {type(result).__name__}")
    l2 = checked_l2(name, l2, jnp.finfo(accumulator(x.dtype)).dtype)
    factors, weights = _check.model(name, result.cp, x.shape, result.cp.rank, x.dtype)
    toward, of_weights = _check.model(
        name, cotangent, x.shape, result.cp.rank, x.dtype, what="cotangent"
    )
    model, direction = CPTensor(weights, tuple(factors)), CPTensor(of_weights, tuple(toward))
    back, status = _pulled(model, x, w, l2, direction, options)
    refuse_bad_data(name, status)
    return back


@partial(jax.jit, static_argnames="options")
def _pulled(cp, x, w, l2, cotangent, options: Options) -> tuple[Pullback, Array]:
    dtype, given = x.dtype, w
    x, cp, cotangent = jax.tree.map(lambda a: a.astype(accumulator(dtype)), (x, cp, cotangent))
    w = None if w is None else w.astype(x.real.dtype)
    scale, norm, status = measured(x, w)
    unit = scale.astype(x.dtype)
    units, fixed = parted(cp.factors, options)
    by_units, by_fixed = parted(cotangent.factors, options)
    known, to_arguments = jax.vjp(
        lambda x, w, l2, fixed: (prepared(x, w, l2, scale, norm, options), fixed), x, w, l2, fixed
    )
    conditions = equations(options)
    system = linearised(conditions, cp.weights / unit, units, known)
    _, to_free = jax.vjp(partial(normal_form, previous=units), system.free)
    # Where JAX pairs a cotangent c with a vector v as Re Σ c v, the system has Re Σ conj(c) v.
    b = jax.tree.map(jnp.conj, to_free((cotangent.weights * unit, by_units))[0])
    z = system.solve(b)
    flat = system.project(system.flat(b))
    size = jnp.linalg.norm(flat)
    residual = jnp.linalg.norm(flat - system.multiply(system.flat(z)))
    _, to_known = jax.vjp(lambda known: conditions.gradient(system.free, known), known)
    (towards,) = to_known(jax.tree.map(lambda v: -v.conj(), z))
    of_x, of_w, of_l2, of_fixed = to_arguments(towards)
    back = Pullback(
        of_x.astype(dtype),
        of_w
        if given is None or not jnp.isdtype(given.dtype, "real floating")
        else of_w.astype(given.dtype),
        of_l2,
        tuple((a + c).astype(dtype) for a, c in zip(of_fixed, by_fixed, strict=True)),
        residual / jnp.where(size > 0, size, 1),
    )
    return back, status
