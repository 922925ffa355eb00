"""Reasons to trust a CP model, or not: core consistency, and components that oppose each other."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._cg import as_vector, solve_symmetric
from jkr._linalg._dtypes import accumulator, promoted
from jkr._linalg._norms import power_of_two, times
from jkr._linalg._psd import inverse_root, psd_solve, rows_by_roots
from jkr._linalg._small import gram
from jkr._mesh import any_mesh
from jkr._products._hadamard import hadamard
from jkr.cp._fit._result import BAD_DATA, CONVERGED, unless_bad
from jkr.cp._fit._solver import refuse_bad_data
from jkr.cp._model._cptensor import CPTensor, checked, phase
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import GOOD, Scale, Tensor

_STEPS = 500  # of conjugate gradients, for a core with entry weights


@any_mesh
def core_consistency(
    cp: CPTensor, tensor: ArrayLike | Tensor, *, entry_weights: ArrayLike | None = None
) -> Array:
    """Core consistency (CORCONDIA) of a CP model, 100·(1 − Σ|G − I|²/R): at most 100.

    G, T ×₁ A_1⁺ … ×_N A_N⁺ of complete data, is the Tucker core that fits best with the factors
    (weights spread evenly over them), I the superdiagonal core that a CP model stands for. Near 100
    the components describe what is there; well below, or negative, some of them describe what
    others do, too: the rank is too large. The pseudo-inverses are applied mode by mode, and their
    Kronecker product is never formed.

    Args:
        cp: a model, a CPTensor (I_1, …, I_N) of rank R.
        tensor: T (I_1, …, I_N), N ≥ 2, that it is a model of.
        entry_weights: W (I_1, …, I_N), zero where an entry is unobserved: the core is fitted to the
            observed entries, as they are weighed, by conjugate gradients that form a tensor a step.

    Returns:
        Real scalar; 100 where the model is exact and its components independent, 100·(1 − k/R)
        where k of R components of an exact model vanish.

    Raises:
        ValueError: no CP model; a tensor of another shape than the model, of order below 2 or with
            an empty mode; NaN or inf in it; entry weights that are complex, of another shape,
            negative, not finite or all zero. Where these are traced, NaN.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> round(float(jkr.cp.core_consistency(truth, truth.full())), 2)
        100.0

    Source: [BK03]; mode by mode: [PF15]; law J1.
    """
    name = "cp.core_consistency"
    weights, factors = checked(name, cp)
    made = as_tensor(name, tensor, entry_weights)
    _check.same_shape(name, tuple(a.shape[0] for a in factors), made.shape)
    found, status = _core_consistency(CPTensor(weights, factors), made)
    refuse_bad_data(name, status)
    return found


@jax.jit
def _core_consistency(model: CPTensor, tensor: Tensor) -> tuple[Array, Array]:
    """Core consistency, and the status of data and entry weights."""
    like, *leaves = promoted(jnp.zeros((), tensor.dtype), model.weights, *model.factors)
    dtype, wide = like.real.dtype, accumulator(like.dtype)
    weights, *factors = (a.astype(wide) for a in leaves)
    model = CPTensor(weights, tuple(factors))
    tensor = tensor.astype(wide)
    weights, units = model.normalize()
    # In units of the model: its core is that of the data divided by them.
    unit = power_of_two(weights)
    size, order = jnp.abs(weights) / unit, len(units)
    share = jnp.where(size > 0, jnp.where(size > 0, size, 1) ** (1 / order), 0).astype(wide)
    shares = (share * phase(weights), *(share,) * (order - 1))
    evens = [unit * s[None, :] for unit, s in zip(units, shares, strict=True)]
    projected = times(tensor.project(evens), 1 / unit)
    if tensor.uniform:
        # A model that is not finite gives NaN; data that are not are refused.
        known = [jnp.all(jnp.isfinite(a)) for a in evens]
        bad = jnp.all(jnp.stack(known)) & ~jnp.all(jnp.isfinite(projected))
        status = jnp.where(bad, BAD_DATA, CONVERGED)
        solves = [lambda rows, a=a: psd_solve(gram(a, a), rows.T).T for a in evens]
        core = _mode_by_mode(solves, projected)
    else:
        scale = tensor.scale()
        core = _core_of_observed(tensor, scale, evens, projected)
        core = jnp.where(scale.status == GOOD, core, jnp.nan)
        status = unless_bad(scale, CONVERGED)
    rank = weights.shape[0]
    diagonal = core[(jnp.arange(rank),) * order]
    total = jnp.sum((core * core.conj()).real) - 2 * jnp.sum(diagonal.real) + rank
    return (100 * (1 - total / rank)).astype(dtype), status


def _mode_by_mode(solves: Sequence[Callable[[Array], Array]], core: Array) -> Array:
    """A core with each mode's rows (·, R) solved for.

    The mode in front goes last, so that after all of them the modes are in order again.
    """
    for solve in solves:
        rows = jnp.moveaxis(core, 0, -1).reshape(-1, core.shape[0])
        core = solve(rows).reshape(*core.shape[1:], core.shape[0])
    return core


def _core_of_observed(
    tensor: Tensor, scale: Scale, evens: Sequence[Array], projected: Array
) -> Array:
    """The core that fits weighted entries best: conjugate gradients on its normal equations.

    Those of complete data precondition them; in their norm no eigenvalue exceeds the largest
    entry weight.
    """
    largest = scale.weight.astype(projected.dtype)
    b, back = as_vector((projected / largest,))
    # Once, outside of the loop.
    of_complete = [partial(rows_by_roots, inverse_root(gram(a, a))) for a in evens]

    def multiply(v: Array) -> Array:
        (core,) = back(v)
        return as_vector((tensor.project_back(core, evens) / largest,))[0]

    def precondition(v: Array) -> Array:
        return as_vector((_mode_by_mode(of_complete, *back(v)),))[0]

    (core,) = back(solve_symmetric(multiply, precondition, b, steps=_STEPS))
    return core


@any_mesh
def degeneracy(cp: CPTensor) -> Array:
    """Cosine between the two most opposed components of a model, in [−1, 1].

    The components are rank-one tensors λᵣ aᵣ⁽¹⁾∘…∘aᵣ⁽ᴺ⁾. Near −1 two of them all but cancel, both
    with large weights: a sign of a degenerate model, whose fit improves for ever as they grow. Try
    a lower rank, l2 > 0, or nonnegative factors.

    Args:
        cp: CPTensor (I_1, …, I_N) of rank R.

    Returns:
        Real scalar, the least Re cos between two components; 1 for a single one.

    Raises:
        ValueError: no CP model.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> a = jnp.array([[1.0, 1.0], [0.0, 0.0]])
        >>> float(jkr.cp.degeneracy(jkr.cp.CPTensor(jnp.array([5.0, -4.0]), (a, a, a))))
        -1.0

    Source: law I10ᴴ; [MB94]; [KDS08].
    """
    return _degeneracy(CPTensor(*checked("cp.degeneracy", cp)))


@jax.jit
def _degeneracy(cp: CPTensor) -> Array:
    weights, factors = cp.normalize()
    turn = jnp.where(weights == 0, 0, phase(weights))
    cosines = hadamard(*(gram(a, a) for a in factors))
    cosines = (turn.conj()[:, None] * cosines * turn[None, :]).real
    pairs = cosines[np.triu_indices(weights.shape[0], 1)]
    if pairs.size == 0:
        return jnp.ones((), weights.real.dtype)
    # By its index: compilers may compute the values anew, and would find no equal one.
    return jnp.clip(pairs[jnp.argmin(pairs)], -1, 1).astype(weights.real.dtype)
