"""`cp.GCP` and `cp.gcp`: generalised CP as users call it. The algorithm is in `_solvers`."""

from typing import TYPE_CHECKING, Any, ClassVar

from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh
from jkr.cp._fit._result import CPResult
from jkr.cp._fit._solver import Solver
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._solvers._gcp import Descent, lbfgs
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import Tensor

if TYPE_CHECKING:
    import optax


class GCP(Solver):
    """Generalised CP with its options bound; call it as `solver(tensor, rank, key=…)`.

    A pytree: l2, tol and what a penalty binds are leaves. `init` and `step` are its two halves, of
    states `GCPState`.

    Args:
        optimizer: any of optax; its L-BFGS, the first step long enough to be seen, if not given.
        tol: smallest relative change of the objective, a scalar.
        max_iters: largest number of steps.
        **options: those of `Solver`.

    Raises:
        ValueError: an optimiser that is none; the rest when a tensor is there, as in `gcp`.

    Example:
        >>> import jax, jkr, optax
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> solver = jkr.cp.GCP(optimizer=optax.adam(0.1))
        >>> start = solver.init(x, 2, key=jax.random.key(1))
        >>> step = lambda state, _: (solver.step(x, state),) * 2
        >>> last, every = jax.lax.scan(step, start, length=20)
        >>> bool(last.objective < start.objective)
        True

    Source: [HKD20].
    """

    name: ClassVar[str] = "cp.GCP"

    def __init__(
        self,
        *,
        optimizer: "optax.GradientTransformation | None" = None,
        tol: ArrayLike = 1e-10,
        max_iters: int = 1000,
        **options: Any,
    ):
        chosen = lbfgs() if optimizer is None else _check.optimizer(self.name, optimizer)
        super().__init__(Descent(chosen), tol=tol, max_iters=max_iters, **options)


@any_mesh
def gcp(
    tensor: ArrayLike | Tensor,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    entry_constants: ArrayLike | tuple[ArrayLike, ...] | None = None,
    **options: Any,
) -> CPResult:
    """Fit a CP model by gradient: min Σ W∘f(M, T, C) + ½ l2 Σₙ‖Aₙ‖² + g(A), f any elementwise loss.

    Works under `jit`, `vmap` and every kind of derivative (R7). Value and gradient come from one
    pass over the tensor, in blocks: the model never exists as a whole.

    Args:
        tensor: T, as in `als`, in the range that the loss is for. The loss is taken of the data as
            they are, so it has to be in the range of their dtype; the status tells.
        rank: R, the number of components.
        key: as in `als`.
        init: as in `als`. A start that is drawn is made as large as suits the loss.
        entry_weights: as in `als`.
        entry_constants: C, as in `loss`; the derivative of a fit goes to them too.
        **options: those of `GCP`: loss (one of `cp.losses`, or any elementwise f(model, data) with
            real values; define yours once, outside loops: each new function is compiled anew),
            optimizer (any of optax, line searches included; L-BFGS if not given. It sees parameters
            and an objective of the size of one), constraints, nonnegative (all modes are where the
            loss needs it; the optimiser sees square roots), fixed_modes, l2, penalty (a function of
            the tuple of all factors, weights spread evenly over them; what it depends on goes into
            a `jax.tree_util.Partial`), restarts (the least objective is returned), tol (relative to
            the objective, strictly: 0 runs max_iters steps), max_iters, precision, progress,
            callback.

    Returns:
        CPResult. `history` holds the objective after each step; `fit` is that of the data that the
        model stands for (`losses.Loss.expected`). Entries that one Newton step would take to their
        bound are zero.

    Raises:
        ValueError: as `als`; a loss that is no function of (model, data) with one real value an
            entry, data out of its range, an optimiser or penalty that is none.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (8, 9, 10), 2)
        >>> mean = jkr.cp.CPTensor(truth.weights, tuple(map(jnp.abs, truth.factors))).full()
        >>> counts = jax.random.poisson(jax.random.key(1), mean)
        >>> poisson = {"loss": jkr.cp.losses.poisson, "tol": 1e-6}
        >>> bool(jkr.cp.gcp(counts, 2, key=jax.random.key(2), **poisson).converged)
        True

    Derivative (R7, `docs/rules.md`): that of the solution, as that of `als`.

    Source: [HKD20]; law J5.
    """
    made = as_tensor("cp.gcp", tensor, entry_weights, entry_constants)
    return GCP(**options)._fit("cp.gcp", made, rank, key, init)
