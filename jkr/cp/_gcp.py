"""Generalised CP by gradient: the calls that users make, and what they check.

The algorithm is `_descent`, what it minimises `_objective`; repeating it, compiled, `_fit`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import Precision, accumulator
from jkr.cp import _fit, losses
from jkr.cp._arguments import (
    checked_arguments,
    checked_l2,
    driving,
    refuse_bad_data,
    refuse_unheld,
)
from jkr.cp._data import Options
from jkr.cp._descent import GCP, GCPState
from jkr.cp._fit import Problem
from jkr.cp._model import CPTensor
from jkr.cp._objective import Objective, Penalty
from jkr.cp._result import CPResult
from jkr.cp._start import checked_start

if TYPE_CHECKING:
    import optax


def gcp(
    tensor: ArrayLike,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    loss: losses.Loss | Callable[[Array, Array], Array] = losses.gaussian,
    optimizer: "optax.GradientTransformation | None" = None,
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    penalty: Penalty | None = None,
    restarts: int = 1,
    tol: ArrayLike = 1e-10,
    max_iters: int = 1000,
    precision: Precision = None,
    progress: bool = False,
    callback: Callable[[GCPState], object] | None = None,
) -> CPResult:
    """Fit a CP model by gradient: min Σ W∘f(M, T) + ½ l2 Σₙ‖Aₙ‖² + g(A), f any elementwise loss.

    Works under `jit` (what is no array is static) and `vmap`; compiles once for each shape and set
    of static options (make a loss, penalty or optimiser of your own once, and pass the same one
    again). Value and gradient come from one pass over the tensor, in blocks: the model never
    exists as a whole. float16 and bfloat16 data are fitted in float32, and only the model is
    rounded back. Unlike in `als`, the loss is taken of the data as they are, so it has to be in the
    range of their dtype (in float32, squares of 1e-20 or 1e20 are not; the status tells).

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2, finite where it is observed, and in the range that the loss
            is for; integers become the default float.
        rank: R, the number of components.
        key: as in `als`.
        init: as in `als`. A start that is not given is made as large as suits the loss.
        loss: one of `cp.losses`, or any elementwise f(model, data) with real values; for a complex
            tensor, of complex arguments. What else it depends on are constants.
        optimizer: any optax optimiser, line searches included; `optax.lbfgs()`, if not given. It
            sees parameters and an objective of the size of one at the start, so that learning rates
            do not depend on the scale of the data.
        entry_weights: as in `als`; a row with nothing observed starts at zero, near which it stays
            unless a penalty moves it.
        nonnegative: whether factors are kept nonnegative, or for which modes. All are, where the
            loss needs a nonnegative model; the optimiser then sees their square roots.
        fixed_modes: as in `als`; nonnegative where the loss needs a nonnegative model.
        l2: as in `als`.
        penalty: g, a function of the tuple of all factors to a number, component weights spread
            evenly over the free factors.
        restarts: as in `als`; the result with the least objective is returned.
        tol: stop when the objective changes by less than this in a step, strictly, relative to
            itself: `tol=0` runs exactly max_iters steps.
        max_iters: largest number of steps.
        precision: as in `als`.
        progress: as in `als`.
        callback: called with the GCPState after each step.

    Returns:
        CPResult. Its `history` holds the objective after each step, so that `history[-1]` is what
        was reached; its `fit` is that of the data that the model stands for, which for a loss of
        the logarithm or of odds is not the model itself (`losses.Loss.expected`).

    Raises:
        ValueError: as in `als`, and a loss that is no function of (model, data) with one real
            value an entry, data out of its range, an optimiser or penalty that is none. Negative
            fixed factors where the loss needs a nonnegative model (both outside `jit` only).

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (8, 9, 10), 2)
        >>> mean = jkr.cp.CPTensor(truth.weights, tuple(map(jnp.abs, truth.factors))).full()
        >>> counts = jax.random.poisson(jax.random.key(1), mean)
        >>> result = jkr.cp.gcp(
        ...     counts, 2, key=jax.random.key(2), loss=jkr.cp.losses.poisson, tol=1e-6
        ... )
        >>> bool(result.converged), all(bool((a >= 0).all()) for a in result.cp.factors)
        (True, True)

    Bounds: a nonnegative factor is the square of what the optimiser moves (Royer, Thirion-Moreau &
    Comon 2011), so that every optimiser keeps them, at every point it looks at. At the end, entries
    that one Newton step for each alone would take to their bound are set to zero, if the objective
    does not grow by that.

    Derivative (R7): as that of `als`, of the solution, with respect to the tensor, the entry
    weights, l2 and the factors of fixed modes; preconditioned by the Grams that the second
    derivative of the loss weighs. Those of the objective itself: `cp.loss` of the result's model.

    Source: Hong, Kolda & Duersch, SIAM Review 62 (2020) 133–163, doi:10.1137/18M1203626; law J5;
    bounds: Royer, Thirion-Moreau & Comon, Signal Processing 91 (2011) 2159–2171,
    doi:10.1016/j.sigpro.2011.03.006; derivatives: as `als`.
    """
    name = "cp.gcp"
    rank = _check.rank(name, rank)
    x, w, objective = _checked(
        name, tensor, rank, loss, penalty, entry_weights, nonnegative, fixed_modes, precision
    )
    max_iters = _check.at_least(name, "max_iters", max_iters)
    restarts = _check.at_least(name, "restarts", restarts)
    kind, given, key = checked_start(name, init, key, x, rank, restarts)
    _check_held(name, kind, given, objective, x.ndim)
    real = jnp.finfo(accumulator(x.dtype)).dtype
    l2, tol = checked_l2(name, l2, real), _check.scalar(name, "tol", tol, real)
    algorithm = GCP(kind, rank, objective, _optimizer(name, optimizer))
    arguments = algorithm, Problem(x, w, given, l2), key, tol, restarts, max_iters
    show = driving(name, arguments[1:4], progress, callback)
    result = _fit.fit(*arguments) if show is None else _fit.driven(*arguments, **show)
    refuse_bad_data(name, result.status, objective.loss)
    return result


def gcp_init(
    tensor: ArrayLike,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    loss: losses.Loss | Callable[[Array, Array], Array] = losses.gaussian,
    optimizer: "optax.GradientTransformation | None" = None,
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    penalty: Penalty | None = None,
) -> GCPState:
    """The state before the first step of `gcp`, to be advanced by `gcp_step`.

    Args:
        tensor: T (I_1, …, I_N), as in `gcp`, and so are all others.
        rank: R, the number of components.
        key: of a random start.
        init: the start: a word, or a CPTensor (I_1, …, I_N) of rank R.
        loss: f.
        optimizer: that is to take the steps.
        entry_weights: W (I_1, …, I_N).
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stay.
        l2: weight of the penalty on the free factors, a scalar.
        penalty: g.

    Returns:
        GCPState, a pytree. Save it, resume from it, pass it through `jit`, `vmap` and `scan`.

    Raises:
        ValueError: as in `gcp`, but for the arguments that are not there.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.gcp_init(x, 2, key=jax.random.key(1))
        >>> for _ in range(3):
        ...     state = jkr.cp.gcp_step(x, state)
        >>> int(state.iteration)
        3

    Plain autodiff is already best: the implicit derivative (R7) is that of whole fits.

    Source: as `gcp`; Hong, Kolda & Duersch, SIAM Review 62 (2020) 133–163, doi:10.1137/18M1203626.
    """
    name = "cp.gcp_init"
    rank = _check.rank(name, rank)
    x, w, objective = _checked(
        name, tensor, rank, loss, penalty, entry_weights, nonnegative, fixed_modes, None
    )
    kind, given, key = checked_start(name, init, key, x, rank, 1)
    _check_held(name, kind, given, objective, x.ndim)
    l2 = checked_l2(name, l2, jnp.finfo(accumulator(x.dtype)).dtype)
    algorithm = GCP(kind, rank, objective, _optimizer(name, optimizer))
    state, status = _fit.first(algorithm, Problem(x, w, given, l2), key)
    refuse_bad_data(name, status, objective.loss)
    return state


def gcp_step(
    tensor: ArrayLike,
    state: GCPState,
    *,
    loss: losses.Loss | Callable[[Array, Array], Array] = losses.gaussian,
    optimizer: "optax.GradientTransformation | None" = None,
    entry_weights: ArrayLike | None = None,
    nonnegative: bool | Sequence[int] = False,
    fixed_modes: int | Sequence[int] = (),
    l2: ArrayLike = 0.0,
    penalty: Penalty | None = None,
    precision: Precision = None,
) -> GCPState:
    """One step of `gcp`.

    Args:
        tensor: T (I_1, …, I_N) that the state was made for; the options, too, are to be the same.
        state: from `gcp_init` or from the step before.
        loss: f.
        optimizer: the one that the state was made with, or its equal.
        entry_weights: W (I_1, …, I_N).
        nonnegative: modes whose factors are nonnegative.
        fixed_modes: modes whose factors stay.
        l2: weight of the penalty on the free factors, a scalar.
        penalty: g.
        precision: of the products with the tensor.

    Returns:
        GCPState. Where the step does not lead to something finite, `objective` is NaN and the model
        is the one before.

    Raises:
        ValueError: a state that is none, or of another shape than the tensor, and as in `gcp`. Data
            out of the loss's range are not looked for.

    Example:
        >>> import jax, jkr, optax
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> adam = optax.adam(0.1)
        >>> start = jkr.cp.gcp_init(x, 2, key=jax.random.key(1), optimizer=adam)
        >>> step = lambda state, _: (jkr.cp.gcp_step(x, state, optimizer=adam),) * 2
        >>> last, every = jax.lax.scan(step, start, length=20)
        >>> bool(last.objective < start.objective)
        True

    Plain autodiff is already best, of the step as it stands: through many steps it stores them all,
    where `gcp` differentiates the solution (R7).

    Source: as `gcp`; Hong, Kolda & Duersch, SIAM Review 62 (2020) 133–163, doi:10.1137/18M1203626;
    law J5.
    """
    name = "cp.gcp_step"
    if not isinstance(state, GCPState):
        raise ValueError(f"{name}: state needs to be a GCPState, got {type(state).__name__}")
    rank = state.cp.rank
    x, w, objective = _checked(
        name, tensor, rank, loss, penalty, entry_weights, nonnegative, fixed_modes, precision
    )
    _check.factors(name, state.cp.factors, x.shape)
    algorithm = GCP("given", rank, objective, _optimizer(name, optimizer))
    problem = Problem(x, w, state.cp, checked_l2(name, l2, state.objective.dtype))
    return _fit.step(algorithm, _fit.prepare(algorithm, problem, state), state)


def _checked(
    name: str,
    tensor: ArrayLike,
    rank: int,
    loss: losses.Loss | Callable[[Array, Array], Array],
    penalty: Penalty | None,
    entry_weights: ArrayLike | None,
    nonnegative: bool | Sequence[int],
    fixed_modes: int | Sequence[int],
    precision: Precision,
) -> tuple[Array, Array | None, Objective]:
    """The tensor, the entry weights if there are any, and what is minimised."""
    x, w, options = checked_arguments(
        name, tensor, entry_weights, nonnegative, fixed_modes, precision
    )
    if isinstance(loss, losses.Loss) and loss.nonnegative:
        options = Options(tuple(range(x.ndim)), options.free, precision)
        _check.real(name, f"the tensor of {loss.name}", x)
    wide = accumulator(x.dtype)
    known = losses.checked_loss(name, loss, jnp.zeros((), wide))
    if penalty is not None:
        factors = tuple(jax.ShapeDtypeStruct((n, rank), wide) for n in x.shape)
        added = jax.eval_shape(_check.function(name, "penalty", penalty), factors)
        _check.one_number(name, "penalty", added)
    return x, w, Objective(known, penalty, options)


def _check_held(
    name: str, kind: str, given: CPTensor | None, objective: Objective, order: int
) -> None:
    refuse_unheld(name, kind, objective.options, order)
    if given is not None and objective.loss.nonnegative:
        fixed = [a for n, a in enumerate(given.factors) if n not in objective.options.free]
        _check.not_negative(name, f"fixed factors of {objective.loss.name}", fixed)


def _optimizer(name: str, optimizer: Any) -> "optax.GradientTransformation":
    if optimizer is None:
        return _lbfgs()
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(f"{name}: optimizer needs to be an optax optimiser, got {optimizer!r}")
    return optimizer


@cache
def _lbfgs() -> "optax.GradientTransformation":
    import optax  # here, because it costs import time

    return optax.lbfgs()
