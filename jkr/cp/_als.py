"""CP by alternating least squares: the calls that users make, and what they check.

The algorithm is `_alternating`, a sweep of it `_sweep`; repeating it, compiled, `_fit`.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import Precision, accumulator
from jkr.cp import _fit
from jkr.cp._alternating import ALS
from jkr.cp._arguments import (
    checked_arguments,
    checked_l2,
    driving,
    refuse_bad_data,
    refuse_unheld,
)
from jkr.cp._fit import Problem
from jkr.cp._model import CPTensor
from jkr.cp._result import CPResult
from jkr.cp._start import checked_start
from jkr.cp._sweep import ALSState


def als(
    tensor: ArrayLike,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    restarts: int = 1,
    tol: ArrayLike = 1e-6,
    max_iters: int = 500,
    precision: Precision = None,
    progress: bool = False,
    callback: Callable[[ALSState], object] | None = None,
) -> CPResult:
    """Fit a CP model by alternating least squares: min ½‖W½∘(T − M)‖² + ½ l2 Σₙ‖Aₙ‖².

    Works under `jit` (what is no array is static) and `vmap` (over tensors, keys, starts, entry
    weights, l2, tol; each lane stops by itself); compiles once for each shape and set of static
    options, whatever the number of sweeps. Complex tensors are fitted as they are. Where a Gram is
    singular, components that depend on others get weight zero in that update (under entry weights,
    a row gets its minimum-norm solution). float16 and bfloat16 data are fitted in float32, and only
    the model is rounded back.

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2, finite where it is observed; integers become the default
            float.
        rank: R, the number of components.
        key: a `jax.random.key`, needed by a random start.
        init: "random" (standard normal factors), "uniform" (on [0, 1)), "svd" (leading singular
            vectors of each unfolding, unobserved entries as zeros; columns beyond its rank are
            random), or a CPTensor of that shape and rank, whose weights are absorbed into a free
            mode.
        entry_weights: real W ≥ 0 of T's shape, booleans included: 0 = unobserved, 1 = observed.
            What lies under a zero, NaN or inf, is never read. Solved exactly, row by row. A row
            with nothing observed is zero; from a start that is given it keeps what that has, up
            to the scale of the columns (with l2 > 0 it becomes zero).
        nonnegative: whether factors are kept nonnegative (HALS), or for which modes. Of a random
            start the absolute values are taken, of a given one the positive part.
        fixed_modes: modes whose factors stay as `init`, a CPTensor, has them.
        l2: weight of the penalty ½ l2 Σₙ‖Aₙ‖² on the free factors, with component weights spread
            evenly over them; in the units of the data.
        restarts: number of random starts, fitted side by side; the best fit is returned. Start k
            is that of `key=jax.random.split(key, restarts)[k]`.
        tol: stop when the fit changes by less than this in a sweep, strictly: `tol=0` runs
            exactly max_iters sweeps. The change is that of `CPResult.history`, which in float32
            does not resolve relative errors below 1e-3.
        max_iters: largest number of sweeps.
        precision: of the products with the tensor, as in `jax.lax.dot_general`.
        progress: show a bar (tqdm). With it or a callback, sweeps are driven from Python, and
            Ctrl-C returns the model so far.
        callback: called with the ALSState after each sweep.

    Returns:
        CPResult.

    Raises:
        ValueError: a tensor of order below 2 or with an empty mode; rank, restarts or max_iters
            below 1 or no int; an l2 or tol that is no real scalar, a negative l2; a random start
            without a key, a key that is not one; an init that is neither a known word nor a
            CPTensor of that shape and rank, that is complex where the tensor is real, or that is a
            model and to be restarted; entry weights that are complex or of another shape;
            nonnegative or fixed modes that are no modes of the tensor, nonnegative factors of a
            complex tensor, fixed modes without a CPTensor, or no free mode; a callback that is no
            function; progress or callback under a transform; a NumPy array whose entries are beyond
            the range of the dtype that JAX gives it. Outside `jit`, NaN or inf in observed
            data, and entry weights that are negative, not finite or all zero (inside, `status` says
            so).

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> result = jkr.cp.als(truth.full(), 2, key=jax.random.key(1))
        >>> bool(result.converged), bool(result.fit > 0.99)
        (True, True)

    Derivative (R7): that of the solution, by the implicit function theorem, with respect to the
    tensor, the entry weights, l2 and the factors of fixed modes; both modes, any order. With g the
    gradient of the objective and H its Hessian at the solution, Ȧ = −H⁻¹ ∂g·ḋ, and its transpose
    d̄ = −(∂g)ᵀH⁻¹Ā: one linear system (at most 500 steps of conjugate gradients, preconditioned by
    the block Grams), whatever the number of sweeps; what is saved does not depend on it either: the
    solution, the data, and what one product with H needs. The start, tol, `history` and
    `stationarity` have derivative zero, and so has a weight of zero. It is as good as the fit is
    stationary: see `CPResult.stationarity`, and use a small tol. Scales are shared evenly by the
    factors while they move, signs (phases of complex columns) stay: functions of `full()`, the fit,
    the weights, and of normalised columns up to sign do not depend on that choice. Zeros of
    nonnegative factors stay zero, and rows with nothing observed stay (l2 = 0). Where a solution is
    not isolated (rank too large for exact data, l2 = 0), no derivative exists; the answer is
    finite, of directions along which the objective is not flat, and zero in the worst case.
    `cp.pullback` tells how well the system was solved.

    Source: Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, figure 3.3; laws
    I10ᴴ, J3ᴴ; entry weights: Tomasi & Bro, Chemom. Intell. Lab. Syst. 75 (2005) 163–180,
    doi:10.1016/j.chemolab.2004.07.003; sharing passes: Phan, Tichavský & Cichocki (2013),
    doi:10.1109/TSP.2013.2269903; derivatives: Blondel et al., NeurIPS 2022, arXiv:2105.15183.
    """
    name = "cp.als"
    x, w, options = checked_arguments(
        name, tensor, entry_weights, nonnegative, fixed_modes, precision
    )
    rank = _check.rank(name, rank)
    max_iters = _check.at_least(name, "max_iters", max_iters)
    restarts = _check.at_least(name, "restarts", restarts)
    kind, given, key = checked_start(name, init, key, x, rank, restarts)
    refuse_unheld(name, kind, options, x.ndim)
    real = jnp.finfo(accumulator(x.dtype)).dtype
    l2, tol = checked_l2(name, l2, real), _check.scalar(name, "tol", tol, real)
    arguments = ALS(kind, rank, options), Problem(x, w, given, l2), key, tol, restarts, max_iters
    show = driving(name, arguments[1:4], progress, callback)
    result = _fit.fit(*arguments) if show is None else _fit.driven(*arguments, **show)
    refuse_bad_data(name, result.status)
    return result


def als_init(
    tensor: ArrayLike,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
) -> ALSState:
    """The state before the first sweep of `als`, to be advanced by `als_step`.

    Args:
        tensor: T (I_1, …, I_N), as in `als`, and so are all others.
        rank: R, the number of components.
        key: of a random start.
        init: the start: a word, or a CPTensor (I_1, …, I_N) of rank R.
        entry_weights: W (I_1, …, I_N).
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stay.

    Returns:
        ALSState, a pytree. Save it, resume from it, pass it through `jit`, `vmap` and `scan`.

    Raises:
        ValueError: as in `als`, but for the arguments that are not there.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.als_init(x, 2, key=jax.random.key(1))
        >>> for _ in range(3):
        ...     state = jkr.cp.als_step(x, state)
        >>> int(state.iteration)
        3

    Plain autodiff is already best: the implicit derivative (R7) is that of whole fits.

    Source: as `als`; Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, figure
    3.3.
    """
    name = "cp.als_init"
    x, w, options = checked_arguments(name, tensor, entry_weights, nonnegative, fixed_modes, None)
    kind, given, key = checked_start(name, init, key, x, _check.rank(name, rank), 1)
    refuse_unheld(name, kind, options, x.ndim)
    algorithm = ALS(kind, _check.rank(name, rank), options)
    state, status = _fit.first(algorithm, Problem(x, w, given, 0.0), key)
    refuse_bad_data(name, status)
    return state


def als_step(
    tensor: ArrayLike,
    state: ALSState,
    *,
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    precision: Precision = None,
) -> ALSState:
    """One sweep of `als`: every free factor updated once, in the order of the modes.

    Args:
        tensor: T (I_1, …, I_N) that the state was made for; the options, too, are to be the same.
        state: from `als_init` or from the step before.
        entry_weights: W (I_1, …, I_N).
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stay.
        l2: weight of the penalty, a scalar.
        precision: of the products with the tensor.

    Returns:
        ALSState. Where the sweep is not finite, `fit` is NaN and the model is the one before.

    Raises:
        ValueError: a state that is none, or of another shape than the tensor, and as in `als`. NaN
            or inf in the data are not looked for: the fit is NaN then.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> start = jkr.cp.als_init(x, 2, key=jax.random.key(1))
        >>> sweep = lambda state, _: (jkr.cp.als_step(x, state),) * 2
        >>> last, every = jax.lax.scan(sweep, start, length=5)
        >>> every.fit.shape
        (5,)

    Plain autodiff is already best, of the sweep as it stands: through many sweeps it stores them
    all, where `als` differentiates the solution (R7).

    Source: as `als`; Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, figure
    3.3; laws I10ᴴ, J3ᴴ.
    """
    name = "cp.als_step"
    x, w, options = checked_arguments(
        name, tensor, entry_weights, nonnegative, fixed_modes, precision
    )
    if not isinstance(state, ALSState):
        raise ValueError(f"{name}: state needs to be an ALSState, got {type(state).__name__}")
    _check.factors(name, state.cp.factors, x.shape)
    algorithm = ALS("given", state.cp.rank, options)
    problem = Problem(x, w, None, checked_l2(name, l2, state.fit.dtype))
    return _fit.step(algorithm, _fit.prepare(algorithm, problem, state), state)
