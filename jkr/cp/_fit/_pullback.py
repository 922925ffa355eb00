"""The backward pass of a fit, with what it tells of itself."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import accumulator
from jkr._mesh import any_mesh
from jkr.cp._fit._derivative import linearised, normal_form
from jkr.cp._fit._result import CPResult
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import GOOD, Tensor


class Pullback(NamedTuple):
    """Cotangents of what a fit was made of, in JAX's convention, as `jax.vjp` would give them.

    Attributes:
        tensor: of an array, (I_1, …, I_N), of its dtype; else a tensor of the same kind.
        entry_weights: (I_1, …, I_N), floating where a mask of booleans or integers was given; None
            where nothing was.
        entry_constants: a tuple of arrays (I_1, …, I_N).
        l2: a real scalar.
        fixed: for each fixed mode, in their order, that of its factor, (I_n, R).
        objective: of all that the objective holds beside those, its cotangents in their places.
        residual: ‖b − H z‖/‖b‖ of the linear system that was solved, a real scalar, 0 where b is
            zero. The cotangents are in error by about this times the condition of the system.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1), tol=0, max_iters=300)
        >>> back = jkr.cp.pullback(result, x, result.cp)
        >>> back.tensor.shape, back.entry_weights, back.l2.shape, back.fixed
        ((4, 5, 6), None, (), ())

    Source: rule R7; [BBC22].
    """

    tensor: Any
    entry_weights: Array | None
    entry_constants: tuple[Array, ...]
    l2: Array
    fixed: tuple[Array, ...]
    objective: Objective
    residual: Array


@partial(any_mesh, large=True)
def pullback(
    result: CPResult,
    tensor: ArrayLike | Tensor,
    cotangent: CPTensor,
    *,
    entry_weights: ArrayLike | None = None,
    entry_constants: ArrayLike | tuple[ArrayLike, ...] | None = None,
) -> Pullback:
    """The vector-Jacobian product of a fit at its result, and how well its system was solved.

    `jax.grad` through a fit gives the same cotangents (R7), but nothing can be said then: the
    result has been returned. A residual that is not small means that the system is nearly
    singular: the fit is not stationary, or its solution not isolated (too many components; try
    l2 > 0), or the precision too low for its condition. (Of float16 and bfloat16 data the result
    holds the rounded model, and derivatives are taken there.)

    Args:
        result: of any fit of this tensor; it knows its options.
        tensor: T (I_1, …, I_N), as it was fitted.
        cotangent: of `result.cp`, a CPTensor of its shape and rank, for instance
            `jax.grad(f)(result.cp)`.
        entry_weights: W (I_1, …, I_N), as it was fitted.
        entry_constants: likewise.

    Returns:
        Pullback.

    Raises:
        ValueError: a result that is none, a cotangent of another shape, rank or kind than the
            model, and as in the fit. Under `jit`, bad data are not refused; the residual is NaN.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1), tol=0, max_iters=300)
        >>> energy = lambda model: (model.full() ** 2).sum()
        >>> back = jkr.cp.pullback(result, x, jax.grad(energy)(result.cp))
        >>> bool(back.residual < 1e-3), back.tensor.shape
        (True, (4, 5, 6))

    Source: rule R7; [BBC22].
    """
    name = "cp.pullback"
    made = as_tensor(name, tensor, entry_weights, entry_constants)
    _check.result(name, result, CPResult)
    _check.differentiable([c for c in result.objective.constraints if not c.differentiable])
    rank = result.cp.rank
    model, direction = (
        CPTensor(weights, tuple(factors))
        for factors, weights in (
            _check.model(name, result.cp, made.shape, rank, made.dtype),
            _check.model(name, cotangent, made.shape, rank, made.dtype, what="cotangent"),
        )
    )
    back, status = _pulled(model, result.objective.on(made), direction)
    if not isinstance(status, Tracer) and int(status) != GOOD:
        _check.good_data(name, "the data are not those of a fit")
    return back


@jax.jit
def _pulled(cp: CPTensor, given: Objective, cotangent: CPTensor) -> tuple[Pullback, Array]:
    wide = accumulator(given.dtype)
    cp, cotangent = jax.tree.map(lambda a: a.astype(wide), (cp, cotangent))
    # Cotangents are those of the floating numbers in the objective: a mask is one from here on.
    floating = given.on(given.terms[0].tensor.astype(given.dtype))
    objective, to_given = jax.vjp(lambda g: g.astype(wide), floating)
    scale, *_ = objective.scales()
    problem, to_objective = jax.vjp(lambda o: o.in_units(scale), objective)
    unit = objective.unit(scale).astype(wide)
    units = objective.movable(cp.factors)
    system, ones = linearised(problem, cp.weights / unit, units)
    _, to_free = jax.vjp(partial(normal_form, problem, units), system.free)
    # Where JAX pairs a cotangent c with a vector v as Re Σ c v, the system has Re Σ conj(c) v.
    b = to_free((cotangent.weights * unit, objective.movable(cotangent.factors)))[0]
    b = jax.tree.map(jnp.conj, b)
    z = system.solve(b)
    flat = system.project(system.flat(b))
    size = jnp.linalg.norm(flat)
    residual = jnp.linalg.norm(flat - system.multiply(system.flat(z)))
    _, to_problem = jax.vjp(lambda problem: problem.gradient(ones, system.free), problem)
    (of_problem,) = to_problem(jax.tree.map(lambda v: -v.conj(), z))
    (of_objective,) = to_objective(of_problem)
    (back,) = to_given(of_objective)
    fixed = tuple(
        c.factor + cotangent.factors[n].astype(c.factor.dtype)
        for n, c in enumerate(back.constraints)
        if c.kind == "fixed"
    )
    tensor = back.terms[0].tensor
    return (
        Pullback(
            tensor=getattr(tensor, "array", tensor),
            entry_weights=getattr(tensor, "entry_weights", None),
            entry_constants=tensor.entry_constants,
            l2=back.l2,
            fixed=fixed,
            objective=back.on(None),
            residual=residual / jnp.where(size > 0, size, 1),
        ),
        scale.status,
    )
