"""`cp.ALS` and `cp.als`: alternating least squares as users call it (the algorithm: `_solvers`)."""

from typing import ClassVar, Unpack

from jax import Array
from jax.typing import ArrayLike

from jkr._mesh import any_mesh
from jkr.cp._fit._result import CPResult
from jkr.cp._fit._solver import Options, Solver
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._solvers._als import Alternating
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import Tensor


class ALS(Solver):
    """Alternating least squares with its options bound; call it as `solver(tensor, rank, key=…)`.

    A pytree: l2, tol and the numbers of constraints are leaves. `init` and `step` are its two
    halves, of states `ALSState`.

    Args:
        **options: those of `Solver` but loss and penalty.

    Raises:
        ValueError: constraints that are no dict; the rest when a tensor is there, as in `als`.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> solver = jkr.cp.ALS(l2=1e-6)
        >>> state = solver.init(x, 2, key=jax.random.key(1))
        >>> for _ in range(3):
        ...     state = solver.step(x, state)
        >>> int(state.iteration)
        3

    Source: [KB09], figure 3.3.
    """

    name: ClassVar[str] = "cp.ALS"

    def __init__(self, **options: Unpack[Options]):
        super().__init__(Alternating(accelerated=True), **options)


@any_mesh
def als(
    tensor: ArrayLike | Tensor,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    **options: Unpack[Options],
) -> CPResult:
    """Fit a CP model by alternating least squares: min ½‖W½∘(T − M)‖² + ½ l2 Σₙ‖Aₙ‖².

    Works under `jit`, `vmap` (each lane stops by itself) and every kind of derivative (R7).

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2, finite where observed: an array, a CPTensor (never formed),
            or any of `jkr.tensors`. Integers become the default float; float16 and bfloat16 are
            fitted in float32.
        rank: R, the number of components.
        key: a `jax.random.key`, needed by a random start.
        init: "random" (standard normal factors), "uniform" (on [0, 1)), "svd" (leading singular
            vectors of each unfolding), or a CPTensor of that shape and rank.
        entry_weights: real W ≥ 0 of T's shape, or such as broadcast to it, booleans included:
            0 = unobserved, 1 = observed; those of a NumPy masked array are its mask. What lies
            under a zero, NaN or inf, is never read. A row without any observed entry is set to
            zero; if you pass a model as `init`, it keeps its values, up to the scale of the
            columns.
        **options: those of `ALS`: constraints (a dict from modes to `cp.constraints`), nonnegative
            (all modes, or some), fixed_modes (as `init` has them), l2 (in the units of the data;
            weights spread evenly over the factors), restarts (fitted side by side, the best fit is
            returned), tol (stop when the fit changes by less, strictly: 0 runs max_iters sweeps),
            max_iters, precision, progress (a bar), callback (called with the ALSState after each
            sweep; with either, sweeps are driven from Python and Ctrl-C returns the model so far).

    Under constraints and entry weights sweeps begin ahead, by momentum. One after which the
    objective rose is not taken: it counts, and `history` has the fit before it once more.

    Returns:
        CPResult. Where a Gram is singular, components that depend on others get weight zero in that
        update.

    Raises:
        ValueError: arguments of the wrong kind, shape or range, by name; outside `jit` also NaN or
            inf in observed data, and bad entry weights (inside, `status` says so).

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> result = jkr.cp.als(truth.full(), 2, key=jax.random.key(1))
        >>> bool(result.converged), bool(result.fit > 0.99)
        (True, True)

    Derivative (R7, `docs/rules.md`): that of the solution, by one linear system, whatever the
    number of sweeps.

    Source: [KB09], figure 3.3.
    """
    made = as_tensor("cp.als", tensor, entry_weights)
    return ALS(**options)._fit("cp.als", made, rank, key, init)
