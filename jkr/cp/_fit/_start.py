"""Where a fit begins: random factors, leading singular vectors, or a model that the user gives."""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jkr._linalg._norms import unit_columns
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._model._random import random, uniform
from jkr.cp._objective._objective import Objective
from jkr.cp._solvers._algorithm import SMALL, Start
from jkr.tensors._tensor import GOOD, Scale, Tensor


def initial(
    objective: Objective,
    scale: Scale,
    given: CPTensor | None,
    key: Array | None,
    kind: str,
    rank: int,
) -> Start:
    """A start in normal form, as large as the data, fixed factors as they were given.

    Args:
        objective: of tensors in the dtype of the fit.
        scale: how large its data are.
        given: the model of the user, or None.
        key: of a random one.
        kind: "random", "uniform", "svd" or "given".
        rank: R.
    """
    if given is not None:
        model: CPTensor = jax.tree.map(lambda a: a.astype(objective.dtype), given)
        return Start(_from_model(objective, model, scale), scale, drawn=False)
    tensor = objective.terms[0].tensor
    cp = _random_start(tensor, key, kind, rank)
    # Of rows with nothing observed the data say nothing.
    rows = zip(cp.factors, tensor.rows(), objective.constraints, strict=True)
    factors = [c.start(jnp.where(seen[:, None], a, 0), drawn=True) for a, seen, c in rows]
    for n in objective.bearers:
        factors[n] = unit_columns(factors[n], cp.factors[n])[1]
    # As large as the data, so that a penalty has something to weigh.
    known = (scale.status == GOOD) & (scale.norm > 0)
    size = jnp.where(known, scale.norm * scale.unit, 1) / rank**0.5
    weights = cp.weights if objective.literal else size.astype(objective.dtype) * cp.weights
    return Start(CPTensor(weights, tuple(factors)), scale, drawn=True)


def _from_model(objective: Objective, given: CPTensor, scale: Scale) -> CPTensor:
    """A given start: unit columns and nonnegative weights, fixed factors as they are.

    Weights above a million times the size of the data say no more than that they are large. Where
    one is zero nothing would ever bring the component back: it is taken for a small one.
    """
    factors, signed = list(given.factors), _signed_mode(objective)
    total = jnp.ones_like(given.weights.real)
    for n in objective.free:
        a = factors[n]
        start = partial(objective.constraints[n].start, drawn=False)
        factors[n] = start(a * given.weights[None, :] if n == signed else a)
        if n in objective.bearers:
            # Without weight, or all outside its cone, a column is as given, or one of ones.
            spare = start(jnp.full_like(a, a.shape[0] ** -0.5))
            norms, factors[n] = unit_columns(factors[n], unit_columns(start(a), spare)[1])
            total = total * norms.real
    size = scale.norm * scale.unit
    size = jnp.where(size > 0, size, 1)
    weights = jnp.where(total > 0, jnp.minimum(total, 1e6 * size), SMALL * size)
    if objective.literal:
        weights = total
    elif signed not in objective.free:
        weights = jnp.maximum(given.weights.real, 0)
    return CPTensor(weights.astype(given.weights.dtype), tuple(factors))


def _signed_mode(objective: Objective) -> int:
    """The mode that takes the weights of a given start: if it can, one that takes any sign."""
    free = [n for n in objective.free if objective.constraints[n].kind in ("free", "penalty")]
    modes = free or objective.bearers or (-1,)
    return modes[-1]


def _random_start(tensor: Tensor, key: Any, kind: str, rank: int) -> CPTensor:
    """A start of that kind, of the tensor's shape and dtype, weights of one."""
    if kind == "svd":
        return _leading_vectors(tensor, rank, key)
    draw = random if kind == "random" else uniform
    return draw(key, tensor.shape, rank, dtype=tensor.dtype)


def _leading_vectors(tensor: Tensor, rank: int, key: Array | None) -> CPTensor:
    """Leading left singular vectors of every unfolding (the factors of an HOSVD).

    Columns beyond the rank of an unfolding are random.
    """
    size, factors = prod(tensor.shape), []
    extra = None if key is None else random(key, tensor.shape, rank, dtype=tensor.dtype).factors
    for n, dim in enumerate(tensor.shape):
        count = min(rank, dim, size // dim)
        columns = tensor.leading(n, count, factors[-1] if factors else None)
        if extra is not None and count < rank:
            columns = jnp.concatenate([columns, extra[n][:, count:] / dim**0.5], axis=1)
        factors.append(columns)
    return CPTensor(jnp.ones(rank, tensor.dtype), tuple(factors))
