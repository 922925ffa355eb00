"""Scores of new samples: the factor of one mode, all others being those of a fitted model."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import accumulator
from jkr._linalg._norms import times
from jkr._mesh import any_mesh
from jkr.cp._fit._als import ALS
from jkr.cp._fit._solver import refuse_bad_data
from jkr.cp._model._cptensor import CPTensor, checked, in_units
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import Tensor


@any_mesh
def project(
    cp: CPTensor,
    tensor: ArrayLike | Tensor,
    mode: int,
    *,
    nonnegative: bool = False,
    entry_weights: ArrayLike | None = None,
) -> Array:
    """The factor of a mode that fits a tensor best, the weights and other factors of a model held.

    What a model of some samples makes of new ones: their scores, one row a sample, each by itself.
    Samples with nothing observed score zero; so do components that the model does not weigh.

    Args:
        cp: the model, a CPTensor (I_1, …, I_N) of rank R.
        tensor: new data, of the same shape but for the mode, (…, J, …).
        mode: of the samples.
        nonnegative: whether scores are kept nonnegative.
        entry_weights: those of the new data; zeros are unobserved.

    Returns:
        Array (J, R), of the dtype of the tensor, the factor in place of that of the mode.

    Raises:
        ValueError: no CP model, or a complex one beside real data; a mode out of range; a tensor of
            another shape; and as `als`.

    Example:
        >>> import jax, jkr
        >>> cp = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> new = jkr.cp.CPTensor(cp.weights, (2 * cp.factors[0][:3], *cp.factors[1:]))
        >>> scores = jkr.cp.project(cp, new.full(), 0)
        >>> scores.shape, bool(abs(scores - new.factors[0]).max() < 1e-4)
        ((3, 2), True)

    Derivative (R7): that of a least-squares solution.

    Source: [KB09], section 3.4; nonnegative: [CP09].
    """
    name = "cp.project"
    made = as_tensor(name, tensor, entry_weights)
    weights, factors = checked(name, cp)
    n = _check.mode(name, mode, len(factors))
    _check.all_but(name, n, tuple(a.shape[0] for a in factors), made.shape)
    _check.goes_with(name, "model", (weights,), made.dtype)
    scores, status = _scores(CPTensor(weights, tuple(factors)), made, n, bool(nonnegative))
    refuse_bad_data(name, status)
    return scores


@partial(jax.jit, static_argnums=(2, 3))
def _scores(model: CPTensor, made: Tensor, n: int, nonnegative: bool) -> tuple[Array, Array]:
    """The scores, and the status of the fit that found them: one program."""
    weights, factors = model
    first, *_ = others = tuple(m for m in range(len(factors)) if m != n)
    # The weights go to a factor that stays, so that it is the scores that ALS finds: in one sweep,
    # or, nonnegative ones, in as many as change the fit. What stays is divided by powers of two, so
    # that its Grams do not overflow.
    wide = accumulator(weights.dtype)
    rest = CPTensor(weights.astype(wide), tuple(factors[m].astype(wide) for m in others))
    unit, _, (share, columns) = in_units(rest)
    held = dict(zip(others, columns, strict=True))
    held[first] = held[first] * share[None, :]
    nothing = jnp.zeros((made.shape[n], weights.shape[0]), wide)
    start = tuple(held.get(m, nothing) for m in range(len(factors)))
    solver = ALS(
        fixed_modes=others,
        nonnegative=(n,) if nonnegative else (),
        tol=float(jnp.finfo(accumulator(made.dtype)).eps),
        max_iters=500 if nonnegative else 1,
    )
    init = CPTensor(jnp.ones_like(share), start)
    found = solver._fit("cp.project", made, weights.shape[0], None, init)
    scores = found.cp.factors[n] * found.cp.weights[None, :]
    return times(scores.astype(wide), 1 / unit).astype(made.dtype), found.status
