"""CP by alternating least squares: one factor at a time, by its normal equations.

With the other factors fixed, min ‖T₍ₙ₎ − Aₙ Kᵀ‖, K = ∗_{m≠n} A_m, is solved by
G Aₙᵀ = Yᵀ with G = KᴴK = ∘_{m≠n} A_mᴴA_m (I10ᴴ) and Y = T₍ₙ₎K̄ an MTTKRP: nothing of K's size
is formed. Columns are normalised after every update, their norms are the weights.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._mttkrp import mttkrp
from jkr._contractions._precise import accumulator, gram, matmul
from jkr._contractions._solve import psd_solve
from jkr._products._hadamard import hadamard
from jkr.cp._model import CPTensor, column_norms, square_root
from jkr.cp._result import CONVERGED, MAX_ITERS, NOT_FINITE, CPResult
from jkr.cp._start import start


class _State(NamedTuple):
    """Between two sweeps.

    Attributes:
        cp: the model, columns normalised.
        fit: its fit, −inf before the first sweep.
        change: |Δfit| of the last sweep.
        iteration: sweeps done.
        history: fit after each sweep, zero where none was done yet.
    """

    cp: CPTensor
    fit: Array
    change: Array
    iteration: Array
    history: Array


def als(
    tensor: ArrayLike,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    tol: ArrayLike = 1e-6,
    max_iters: int = 500,
) -> CPResult:
    """Fit a CP model by alternating least squares: min ‖T − ⟦λ; A_1, …, A_N⟧‖.

    Works under `jit` (rank and max_iters static) and `vmap` (each lane stops by itself);
    compiles once for each shape, rank and max_iters. Complex tensors are fitted as they are.
    A singular Gram gives the minimum-norm update. float16 and bfloat16 data are fitted in float32,
    and only the model is rounded back.

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2, finite; integers become the default float.
        rank: R, the number of components.
        key: a `jax.random.key`, needed by a random start.
        init: "random" (standard normal factors), or a CPTensor of that shape and rank; its
            weights are absorbed into its last mode.
        tol: stop when the fit changes by less than this in a sweep, strictly: `tol=0` runs
            exactly max_iters sweeps.
        max_iters: largest number of sweeps.

    Returns:
        CPResult.

    Raises:
        ValueError: a tensor of order below 2 or with an empty mode, rank or max_iters below 1, a
            random start without a key, an init of another shape or rank.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> result = jkr.cp.als(truth.full(), 2, key=jax.random.key(1))
        >>> bool(result.converged), bool(result.fit > 0.99)
        (True, True)

    Source: Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, figure 3.3;
    law I10ᴴ.
    """
    x = _check.data("cp.als", tensor)
    rank = _check.rank("cp.als", rank)
    max_iters = _check.at_least_one("cp.als", "max_iters", max_iters)
    cp = start("cp.als", init, key, x, rank)
    tol = _check.scalar("cp.als", "tol", tol)
    wide, cp = jax.tree.map(lambda a: a.astype(accumulator(x.dtype)), (x, cp))
    result = _fit(wide, cp, tol.astype(wide.real.dtype), max_iters)
    return result._replace(cp=jax.tree.map(lambda a: a.astype(x.dtype), result.cp))


@partial(jax.jit, static_argnums=3)
def _fit(tensor: Array, cp: CPTensor, tol: Array, max_iters: int) -> CPResult:
    norm = jnp.sqrt(jnp.sum((tensor * tensor.conj()).real))
    infinity = jnp.asarray(jnp.inf, norm.dtype)
    first = _State(
        cp=cp.normalize(),
        fit=-infinity,
        change=infinity,
        iteration=jnp.zeros((), int),
        history=jnp.zeros(max_iters, norm.dtype),
    )

    def unfinished(state: _State) -> Array:
        settled = (state.change < tol) | ~jnp.isfinite(state.fit)
        return (state.iteration == 0) | ((state.iteration < max_iters) & ~settled)

    def step(state: _State) -> _State:
        cp, residual = _sweep(tensor, state.cp, norm)
        fit = 1 - residual / jnp.where(norm == 0, 1, norm)
        return _State(
            cp,
            fit,
            jnp.abs(fit - state.fit),
            state.iteration + 1,
            state.history.at[state.iteration].set(fit),
        )

    last = lax.while_loop(unfinished, step, first)
    converged = last.change < tol
    status = jnp.where(converged, CONVERGED, MAX_ITERS)
    return CPResult(
        cp=last.cp,
        fit=last.fit,
        relative_error=1 - last.fit,
        iterations=last.iteration,
        converged=converged,
        status=jnp.where(jnp.isfinite(last.fit), status, NOT_FINITE),
        history=jnp.where(jnp.arange(max_iters) < last.iteration, last.history, last.fit),
    )


def _sweep(tensor: Array, cp: CPTensor, norm: Array) -> tuple[CPTensor, Array]:
    """One update of every factor in turn; the new model and ‖T − M‖."""
    weights, factors = cp.weights, list(cp.factors)
    grams = [gram(a, a) for a in factors]
    for n in range(len(factors)):
        others = hadamard(*grams[:n], *grams[n + 1 :])
        y = mttkrp(tensor, [a.conj() for a in factors], n)
        solution = psd_solve(others, y.T).T
        weights, factors[n] = _unit_columns(solution, factors[n])
        grams[n] = gram(factors[n], factors[n])
    # The last update leaves T·M and ‖M‖² at hand: no other pass over the tensor.
    inner = jnp.sum(solution.conj() * y).real
    squared = matmul(weights, matmul(hadamard(*grams), weights)).real
    residual = square_root(norm**2 - 2 * inner + squared)
    return CPTensor(weights, tuple(factors)), residual


def _unit_columns(solution: Array, previous: Array) -> tuple[Array, Array]:
    """Column norms, and unit columns; where a column vanished the previous direction stays."""
    norms = column_norms(solution)
    safe = jnp.where(norms == 0, 1, norms)[None, :].astype(solution.dtype)
    columns = jnp.where(norms[None, :] == 0, previous, solution / safe)
    return norms.astype(solution.dtype), columns
