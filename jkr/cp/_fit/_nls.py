"""`cp.NLS` and `cp.nls`: damped Gauss–Newton as users call it. The algorithm is in `_solvers`."""

from typing import Any, ClassVar

from jax import Array
from jax.typing import ArrayLike

from jkr._mesh import any_mesh
from jkr.cp._fit._result import CPResult
from jkr.cp._fit._solver import Solver
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._solvers._nls import GaussNewton
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import Tensor


class NLS(Solver):
    """Damped Gauss–Newton with its options bound; call it as `solver(tensor, rank, key=…)`.

    A pytree: l2, tol and what a penalty binds are leaves. `init` and `step` are its two halves, of
    states `NLSState`.

    Args:
        tol: largest stationarity of a fit that has settled, a scalar.
        max_iters: largest number of steps.
        **options: those of `Solver`.

    Raises:
        ValueError: constraints that are no dict; the rest when a tensor is there, as in `nls`.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> solver = jkr.cp.NLS(l2=1e-6)
        >>> state = solver.step(x, solver.init(x, 2, key=jax.random.key(1)))
        >>> int(state.iteration)
        1

    Source: [SVBD13].
    """

    name: ClassVar[str] = "cp.NLS"

    def __init__(self, *, tol: ArrayLike = 1e-9, max_iters: int = 200, **options: Any):
        super().__init__(GaussNewton(), tol=tol, max_iters=max_iters, **options)


@any_mesh
def nls(
    tensor: ArrayLike | Tensor,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    entry_constants: ArrayLike | tuple[ArrayLike, ...] | None = None,
    **options: Any,
) -> CPResult:
    """Fit a CP model to a stationary point by damped Gauss–Newton, for any elementwise loss.

    It minimises what `als` and `gcp` do, in tens of steps where they take hundreds, and ends where
    the gradient is zero to rounding, so that derivatives through it (R7) are as exact as the
    condition lets them be. Works under `jit`, `vmap` (each lane stops by itself) and every kind of
    derivative.

    Args:
        tensor: T, as in `als`; in the range that the loss is for.
        rank: R, the number of components.
        key: as in `als`.
        init: as in `als`.
        entry_weights: as in `als`.
        entry_constants: as in `gcp`.
        **options: those of `NLS`: loss, nonnegative, fixed_modes, l2, penalty, restarts (the least
            objective is returned), tol (stop when the stationarity is less, and, where tol > 0,
            when a step predicts less than rounding), max_iters, precision, progress, callback. Of
            `constraints` only nonnegative ones.

    Returns:
        CPResult. `history` holds the objective after each step.

    Raises:
        ValueError: as `gcp`; another constraint.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (8, 9, 10), 2)
        >>> x = truth.full() + 0.1 * jax.random.normal(jax.random.key(1), (8, 9, 10))
        >>> result = jkr.cp.nls(x, 2, key=jax.random.key(2))
        >>> bool(result.converged), bool(result.stationarity < 1e-4)
        (True, True)

    Derivative (R7, `docs/rules.md`): that of the solution, as that of `als`.

    Source: [SVBD13]; [TS12].
    """
    made = as_tensor("cp.nls", tensor, entry_weights, entry_constants)
    return NLS(**options)._fit("cp.nls", made, rank, key, init)
