"""How many components: fits, core consistency and stability of several ranks.

All restarts of one rank are one vmapped call.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import accumulator
from jkr._mesh import any_mesh
from jkr.cp._fit._als import ALS
from jkr.cp._fit._solver import refuse_bad_data
from jkr.cp._model._compare import factor_match_score
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._study._diagnostics import core_consistency
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import Tensor

_CONSISTENT = 50.0  # out of 100: Bro & Kiers call less an invalid model
_STABLE = 0.9  # Lorenzo-Seva & ten Berge call 0.85 to 0.94 fair, more the same


class RankScan(NamedTuple):
    """What `rank_scan` found; a pytree of arrays. K ranks, S starts each, the best fit first.

    Attributes:
        ranks: (K,), as they were given, integers.
        fit: of each start, (K, S).
        core_consistency: of each start's model, (K, S), at most 100.
        stability: (K,), mean factor match score between all pairs of the models of the better half
            of the starts, in [0, 1]. (The others may be local minima; those say nothing of a rank.)
        status: of each start, (K, S), as in `CPResult`.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> scan = jkr.cp.RankScan(
        ...     ranks=jnp.array([1, 2, 3]),
        ...     fit=jnp.array([[0.6, 0.6], [0.9, 0.9], [0.91, 0.9]]),
        ...     core_consistency=jnp.array([[100.0, 100.0], [99.0, 99.0], [-7.0, 3.0]]),
        ...     stability=jnp.array([1.0, 0.99, 0.5]),
        ...     status=jnp.zeros((3, 2), int),
        ... )
        >>> scan.suggested
        2

    Source: core consistency: [BK03]; stability: [WKW18]; what counts as the same: [LT06].
    """

    ranks: Array
    fit: Array
    core_consistency: Array
    stability: Array
    status: Array

    @property
    def suggested(self) -> int | None:
        """The largest rank that its model and its starts speak for; None where there is none.

        Its best model has a core consistency of 50 or more, and its starts agree, with a stability
        of 0.9 or more. A rule of thumb: look at the whole scan (`jkr.plot.rank_scan`), and at the
        components. Core consistency can fall early where factors are nonnegative or entries are
        missing; then stability, and entries held back, say more.
        """
        good = (self.core_consistency[:, 0] >= _CONSISTENT) & (self.stability >= _STABLE)
        ranks = np.asarray(self.ranks)[np.asarray(good)]
        return int(ranks.max()) if ranks.size else None

    def table(self) -> str:
        """The scan as lines of text, a rank each: of its best start, and the stability.

        Returns:
            str, of K + 1 lines.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> fit, core = jnp.array([[0.6]]), jnp.array([[100.0]])
            >>> scan = jkr.cp.RankScan(jnp.array([1]), fit, core, jnp.ones(1), jnp.zeros((1, 1)))
            >>> print(scan.table())
             rank  best fit  core consistency  stability
                1    0.6000             100.0      1.000

        Source: as `rank_scan`; [BK03].
        """
        lines = [f"{'rank':>5}{'best fit':>10}{'core consistency':>18}{'stability':>11}"]
        columns = self.ranks, self.fit[:, 0], self.core_consistency[:, 0], self.stability
        for rank, fit, core, stable in zip(*(np.asarray(c).tolist() for c in columns), strict=True):
            consistency = f"{core:.1f}" if core > -1e4 else f"{core:.0e}"
            lines.append(f"{rank:5d}{fit:10.4f}{consistency:>18}{stable:11.3f}")
        return "\n".join(lines)


@any_mesh
def rank_scan(
    tensor: ArrayLike | Tensor,
    ranks: Sequence[int],
    *,
    key: Array,
    restarts: int = 10,
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    l2: ArrayLike = 0.0,
    tol: ArrayLike = 1e-6,
    max_iters: int = 500,
) -> RankScan:
    """Fit a tensor with several numbers of components, each from several random starts (`als`).

    The right number is where the fit has stopped to gain, core consistency is still near 100, and
    starts still find the same components; one more, and some or all of that is lost.

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2.
        ranks: numbers of components to try, a sequence of K ints.
        key: a `jax.random.key`; the starts of rank R are those of `jax.random.fold_in(key, R)`.
        restarts: random starts of each rank, at least 2; all of one rank are fitted in one vmapped
            call.
        entry_weights: W (I_1, …, I_N), as in `als`, and so are all others.
        nonnegative: modes whose factors are nonnegative.
        l2: weight of the penalty, a scalar.
        tol: smallest change of fit, a scalar.
        max_iters: largest number of sweeps.

    Returns:
        RankScan; `scan.table()` prints it, `jkr.plot.rank_scan(scan)` draws it.

    Raises:
        ValueError: no rank, one below 1 or no int, ranks that are no sequence, restarts below 2,
            and as in `als`.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (8, 9, 10), 2)
        >>> noise = 0.1 * jax.random.normal(jax.random.key(1), truth.shape)
        >>> scan = jkr.cp.rank_scan(truth.full() + noise, (1, 2, 3), key=jax.random.key(2))
        >>> scan.fit.shape, scan.suggested
        ((3, 10), 2)

    Source: core consistency: [BK03]; stability: [WKW18].
    """
    name = "cp.rank_scan"
    made = as_tensor(name, tensor, entry_weights)
    counts = _check.ranks(name, ranks)
    restarts = _check.at_least(name, "restarts", restarts, 2)
    key = _check.key(name, key)
    real = jnp.finfo(accumulator(made.dtype)).dtype
    tol, l2 = (_check.at_least_zero(name, *of, real) for of in (("tol", tol), ("l2", l2)))
    solver = ALS(nonnegative=nonnegative, l2=l2, tol=tol, max_iters=max_iters)
    found = [
        _scanned(made, jax.random.fold_in(key, rank), solver, rank, restarts) for rank in counts
    ]
    refuse_bad_data(name, jnp.stack([status for *_, status in found]))
    columns = zip(*found, strict=True)
    return RankScan(jnp.asarray(counts), *(jnp.stack(column) for column in columns))


@partial(jax.jit, static_argnums=(3, 4))
def _scanned(
    tensor: Tensor, key: Array, solver: ALS, rank: int, restarts: int
) -> tuple[Array, ...]:
    """Fits, core consistencies, stability and statuses of one rank."""

    def fitted(key: Array) -> tuple[CPTensor, Array, Array, Array]:
        result = solver._fit("cp.rank_scan", tensor, rank, key, "random")
        core = core_consistency(result.cp, tensor)
        return result.cp, result.fit, core, result.status

    cp, fit, core, status = jax.vmap(fitted)(jax.random.split(key, restarts))
    order = jnp.argsort(-fit)
    better = np.triu_indices(max(2, -(-restarts // 2)), 1)
    pairs = (jax.tree.map(lambda a, k=k: a[order[k]], cp) for k in better)
    stability = jnp.mean(jax.vmap(factor_match_score)(*pairs))
    return fit[order], core[order], stability, status[order]
