"""`cp.fit`: the solver that suits a tensor and what is asked of it, and compression where it pays.

Least squares of a large tensor whose entries weigh the same, with no constraint, are solved in a
small core first (`_compress`): a start, however poor, costs next to nothing there, and a few steps
on the tensor itself end at its own stationary point, whatever compression has lost. All else is
for Gauss–Newton from the first step, with two exceptions: several starts, which ALS compares for
less, and other losses, or a penalty, unless the model is a nonnegative mean and the data are
float64: there gradients lead near first. Constraints that it does not take are for ALS.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh
from jkr.cp import losses
from jkr.cp._fit._als import ALS
from jkr.cp._fit._compress import core_and_bases
from jkr.cp._fit._gcp import GCP
from jkr.cp._fit._nls import NLS
from jkr.cp._fit._result import CPResult, Stage
from jkr.cp._fit._run import Plan
from jkr.cp._fit._solver import Solver
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.cp._solvers._nls import GaussNewton, in_core
from jkr.cp._solvers._warm_up import sweeps_for
from jkr.cp.constraints import Free, Nonnegative
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._dense import Dense
from jkr.tensors._tensor import Tensor

_OVERSAMPLED = 8  # columns of a basis beyond the rank
_PAYS = 8  # times that a core is smaller than the tensor
_LARGE = 1 << 15  # entries of a tensor whose readings take more time than all else
# Passes over an array whose entries weigh the same: its scale two, sketches two, a power pass two;
_COMPRESSION = 6
# of a sweep, or of a step of `nls`, two; before and after all its scale, a gradient, an error.
_STEP, _ENDS = 2, 5


@any_mesh
def fit(
    tensor: ArrayLike | Tensor,
    rank: int,
    *,
    key: Array | None = None,
    init: str | CPTensor = "random",
    entry_weights: ArrayLike | None = None,
    entry_constants: ArrayLike | tuple[ArrayLike, ...] | None = None,
    **options: Any,
) -> CPResult:
    """Fit a CP model, by whatever suits the tensor: the call to begin with.

    Least squares of a large tensor: `compress`, `nls` on the core, and `nls` on the tensor, to the
    end. With entry weights, nonnegative or fixed factors, and for small tensors: `nls`, after `als`
    where there are several starts. With another loss: `nls`, after `gcp` unless the model is a
    nonnegative mean, in float64. With other constraints: `als`. Works under `jit`, `vmap` and every
    kind of derivative.

    Args:
        tensor: T (I_1, …, I_N), an array, masked ones included, a CPTensor, or any of
            `jkr.tensors`; in the range that the loss is for.
        rank: R, the number of components.
        key: a `jax.random.key` of random starts.
        init: "random", "uniform", "svd", or a CPTensor to begin with.
        entry_weights: W of T's shape, or one that broadcasts: 0 = unobserved.
        entry_constants: as in `gcp`.
        **options: of all solvers: loss, constraints, nonnegative, fixed_modes, l2, penalty,
            precision, and restarts: so many random starts, of which the best goes on; those of a
            core cost next to nothing. Of the last stage: tol and max_iters, as that solver has
            them; progress, callback.

    Returns:
        CPResult, that of the last stage; `stages` and `message` say which stages there were.

    Raises:
        ValueError: as `als`, `gcp` and `nls`.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (30, 40, 50), 3)
        >>> noise = 0.1 * jax.random.normal(jax.random.key(1), truth.shape)
        >>> result = jkr.cp.fit(truth.full() + noise, 3, key=jax.random.key(2))
        >>> [stage.what.split(",")[0] for stage in result.stages]
        ['compressed to 11 × 11 × 11', 'nls on the core', 'nls on the tensor']

    Derivative (R7, `docs/rules.md`): that of the solution, as that of `als`; stages before the last
    have no part in it.

    Source: [SVBD13]; compression: [BA98], [HMT11].
    """
    name = "cp.fit"
    made = as_tensor(name, tensor, entry_weights, entry_constants)
    solver = _solver(name, options)
    plan, objective, given, key = solver._problem(name, made, rank, key, init)
    sizes = tuple(min(n, plan.rank + _OVERSAMPLED) for n in made.shape)
    if isinstance(solver, ALS):
        result = solver._fit(name, made, rank, key, init)
        stage = Stage(f"als, for constraints of the kinds {_kinds(options)}", result.iterations)
        return result._replace(stages=(stage,))
    if _compressible(objective, sizes):
        before, model = _by_core(name, objective, sizes, plan, given, key, solver)
    elif not _alone(objective, plan):
        before, model = _by_another(name, made, plan, key, init, objective, solver)
    else:
        # A start is taken for one from afar, whoever gave it.
        sweeps = sweeps_for(objective, drawn=True)
        alone = _with(solver, algorithm=GaussNewton(sweeps=sweeps))
        result = alone._fit(name, made, rank, key, init)
        return result._replace(stages=(_of_nls(result, objective, sweeps),))
    last = _with(solver, restarts=1, algorithm=GaussNewton(sweeps=0, near=True))
    # Fixed factors are the user's, to whom derivatives go.
    model = lax.stop_gradient(model)
    model = model._replace(factors=objective.factors(objective.movable(model.factors)))
    result = last._fit(name, made, plan.rank, None, model)
    return result._replace(stages=(*before, _of_nls(result, objective)))


def _solver(name: str, options: Mapping[str, Any]) -> Solver:
    """The solver of the last stage, its options bound."""
    constraints = options.get("constraints")
    constraints = {} if constraints is None else _check.mapping(name, constraints)
    others = any(type(c) is not Nonnegative for c in constraints.values())
    gaussian = options.get("loss", losses.gaussian) == losses.gaussian
    if others and gaussian and options.get("penalty") is None:
        return ALS(**{k: v for k, v in options.items() if k not in ("loss", "penalty")})
    return NLS(**options)


def _kinds(options: Mapping[str, Any]) -> str:
    found = {type(c).__name__ for c in options["constraints"].values()}
    return ", ".join(sorted(kind.lower() for kind in found - {Nonnegative.__name__}))


def _compressible(objective: Objective, sizes: tuple[int, ...]) -> bool:
    """Whether a fit in a core is one of the tensor, and saves readings of it."""
    (term,) = objective.terms
    entries = term.tensor.visited
    pays = entries >= _LARGE and _PAYS * prod(sizes) <= entries
    # A basis is made of T projected on the others, which is to take no more room than T.
    room = sum(leaf.size for leaf in jax.tree.leaves(term.tensor))
    pairs = zip(term.tensor.shape, sizes, strict=True)
    pays = pays and max(n * prod(sizes) // size for n, size in pairs) <= room
    turns = all(type(c) is Free for c in objective.constraints) and objective.penalty is None
    return pays and turns and term.by_grams


def _alone(objective: Objective, plan: Plan) -> bool:
    """Whether Gauss–Newton needs no other solver before it."""
    if not objective.has_functions:
        return plan.restarts == 1
    # In float32 the gradients of counts are rounding before steps from afar have settled.
    return objective.near_least_squares and float(jnp.finfo(objective.dtype).eps) < 1e-10


def _by_core(
    name: str,
    objective: Objective,
    sizes: tuple[int, ...],
    plan: Plan,
    given: CPTensor | None,
    key: Array | None,
    solver: Solver,
) -> tuple[tuple[Stage, ...], CPTensor]:
    """The best of several fits in a core, as a model of the tensor, and how it was found."""
    of_bases, of_starts = jax.random.split(jax.random.key(0) if key is None else key)
    (term,) = objective.terms
    small, _ = core_and_bases(sizes, 1, lax.stop_gradient(term.tensor), of_bases)
    start: Any = plan.kind
    if given is not None:
        start = small.reduce(jax.tree.map(lambda a: a.astype(small.core.dtype), given))
    algorithm = in_core(sizes, plan.rank) if plan.restarts == 1 else GaussNewton()
    first = _with(_first(NLS, solver, ()), algorithm=algorithm)
    found = first._result(name, as_tensor(name, small.core), plan.rank, of_starts, start)
    shape = " × ".join(map(str, sizes))
    stages = (
        Stage(
            f"compressed to {shape}, the tensor being large",
            passes_once=_passes(objective, _COMPRESSION),
        ),
        Stage(f"nls on the core{_best_of(plan)}", found.iterations),
    )
    return stages, small.expand(found.cp)


def _by_another(
    name: str,
    made: Tensor,
    plan: Plan,
    key: Array | None,
    init: str | CPTensor,
    objective: Objective,
    solver: Solver,
) -> tuple[tuple[Stage, ...], CPTensor]:
    """The best of several fits by ALS, or by gradients, whose steps are cheap."""
    kind, own = (GCP, ("loss", "penalty")) if objective.has_functions else (ALS, ())
    first = _first(kind, solver, ("constraints", "nonnegative", "fixed_modes", *own))
    found = first._result(name, lax.stop_gradient(made), plan.rank, key, init)
    what = f"{first.algorithm.title.lower()}{_best_of(plan)}"
    return (Stage(what, found.iterations),), found.cp


def _first(kind: Callable[..., Solver], solver: Solver, names: Sequence[str]) -> Solver:
    """The solver of a first stage: options of the last, constants to derivatives."""
    options = {name: getattr(solver, name) for name in (*names, "l2", "precision", "restarts")}
    held = lambda a: lax.stop_gradient(a) if isinstance(a, Array) else a  # noqa: E731
    return kind(**{name: jax.tree.map(held, value) for name, value in options.items()})


def _of_nls(result: CPResult, objective: Objective, sweeps: int = 0) -> Stage:
    """The stage on the tensor itself, after some sweeps of ALS."""
    once = _ENDS + _STEP * sweeps if objective.by_grams else None
    return Stage("nls on the tensor", result.iterations, _passes(objective, once), _STEP)


def _passes(objective: Objective, count: int | None) -> int | None:
    """How many passes there are, if that is known: over a sparse tensor one is for one mode."""
    (term,) = objective.terms
    return count if isinstance(term.tensor, Dense) else None


def _best_of(plan: Plan) -> str:
    return "" if plan.restarts == 1 else f", the best of {plan.restarts} starts"


def _with(solver: Solver, **changed: Any) -> Solver:
    """The same solver with other options."""
    other = copy(solver)
    vars(other).update(changed)
    return other
