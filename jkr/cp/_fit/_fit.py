"""`cp.fit`: the solver that suits a tensor and what is asked of it, and compression where it pays.

Least squares of a large tensor whose entries weigh the same, with no constraint, are solved in a
small core first (`_compress`): a start, however poor, costs next to nothing there, and a few steps
on the tensor itself end at its own stationary point, whatever compression has lost. All else that
Gauss–Newton can do begins with what takes cheaper steps, ALS or descent by gradients, and ends with
it; other constraints are for ALS alone.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import jax
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._mesh import any_mesh
from jkr.cp import losses
from jkr.cp._fit._als import ALS
from jkr.cp._fit._compress import compressed
from jkr.cp._fit._gcp import GCP
from jkr.cp._fit._nls import NLS
from jkr.cp._fit._result import CPResult, Stage
from jkr.cp._fit._run import Plan
from jkr.cp._fit._solver import Solver, refuse_bad_data
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.cp._solvers._nls import GaussNewton
from jkr.cp.constraints import Free, Nonnegative
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._dense import Dense
from jkr.tensors._tensor import Tensor

_OVERSAMPLED = 8  # columns of a basis beyond the rank
_PAYS = 8  # times that a core is smaller than the tensor
_LARGE = 1 << 15  # entries of a tensor whose readings take more time than all else


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
    where there are several starts. With another loss or a penalty: `gcp`, then `nls`. With other
    constraints: `als`. Works under `jit`, `vmap` and every kind of derivative.

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
    solver, why = _solver(name, options)
    plan, objective, given, key = solver.problem(name, made, rank, key, init)
    if not isinstance(solver, NLS):
        result = solver.fit(name, made, rank, key, init)
        return result._replace(stages=(Stage(why, result.iterations, None),))
    sizes = tuple(min(n, plan.rank + _OVERSAMPLED) for n in made.shape)
    if _compressible(objective, sizes):
        return _by_core(name, made, sizes, plan, given, key, solver)
    if objective.has_functions or plan.restarts > 1:
        return _by_another(name, made, plan, key, init, objective, solver)
    result = solver.fit(name, made, rank, key, init)
    passes = 3 if objective.by_grams else None
    return result._replace(stages=(Stage(why, result.iterations, passes),))


def _solver(name: str, options: Mapping[str, Any]) -> tuple[Solver, str]:
    """The solver, its options bound, and in words what it was chosen for."""
    constraints = _check.mapping(name, options.get("constraints") or {})
    others = {type(c).__name__.lower() for c in constraints.values() if type(c) is not Nonnegative}
    if not others:
        return NLS(**options), "nls on the tensor"
    what = f"for constraints of the kinds {', '.join(sorted(others))}"
    gaussian = options.get("loss", losses.gaussian) == losses.gaussian
    if gaussian and options.get("penalty") is None:
        rest = {k: v for k, v in options.items() if k not in ("loss", "penalty")}
        return ALS(**rest), f"als, {what}"
    return GCP(**options), f"gcp, {what} under another loss"


def _compressible(objective: Objective, sizes: tuple[int, ...]) -> bool:
    """Whether a fit in a core is one of the tensor, and saves readings of it."""
    (term,) = objective.terms
    entries = prod(term.tensor.shape)
    pays = entries >= _LARGE and _PAYS * prod(sizes) <= entries
    turns = all(type(c) is Free for c in objective.constraints) and objective.penalty is None
    return pays and turns and term.by_grams


def _by_core(
    name: str,
    made: Tensor,
    sizes: tuple[int, ...],
    plan: Plan,
    given: CPTensor | None,
    key: Array | None,
    solver: Solver,
) -> CPResult:
    """A fit in a core, the best of its restarts finished on the tensor."""
    bases = jax.random.key(0) if key is None else jax.random.fold_in(key, 0)
    small, status = compressed(sizes, 1, lax.stop_gradient(made), bases)
    refuse_bad_data(name, status)
    start = plan.kind if given is None else small.reduce(given)
    inside = _with(solver, progress=False, callback=None)
    first = inside.fit(name, Dense(small.core), plan.rank, key, start)
    shape = " × ".join(map(str, sizes))
    before = (
        Stage(f"compressed to {shape}, the tensor being large", None, 5),
        Stage(f"nls on the core{_best_of(plan)}", first.iterations, None),
    )
    model = jax.tree.map(lambda a: a.astype(made.dtype), small.expand(first.cp))
    return _finished(name, made, plan, model, solver, before)


def _by_another(
    name: str,
    made: Tensor,
    plan: Plan,
    key: Array | None,
    init: str | CPTensor,
    objective: Objective,
    solver: Solver,
) -> CPResult:
    """The best of several fits by ALS, or by gradients, whose steps are cheap; then dear ones."""
    kept = ["constraints", "nonnegative", "fixed_modes", "l2", "precision", "restarts"]
    kept += ["loss", "penalty"] if objective.has_functions else []
    kind = GCP if objective.has_functions else ALS
    first = kind(**{option: getattr(solver, option) for option in kept})
    found = first.fit(name, made, plan.rank, key, init)
    steps = Stage(f"{first.algorithm.title.lower()}{_best_of(plan)}", found.iterations, None)
    return _finished(name, made, plan, found.cp, solver, (steps,))


def _finished(
    name: str,
    made: Tensor,
    plan: Plan,
    model: CPTensor,
    solver: Solver,
    before: tuple[Stage, ...],
) -> CPResult:
    """The fit of the tensor itself that begins at a model, and what came before."""
    last = _with(solver, restarts=1, algorithm=GaussNewton(sweeps=0))
    result = last.fit(name, made, plan.rank, None, lax.stop_gradient(model))
    # A step is a gradient, two passes, and an objective; products with the matrix, if they pass
    # over the entries, are as many as it takes.
    passes = 3 if made.uniform else None
    return result._replace(stages=(*before, Stage("nls on the tensor", result.iterations, passes)))


def _best_of(plan: Plan) -> str:
    return "" if plan.restarts == 1 else f", the best of {plan.restarts} starts"


def _with(solver: Solver, **changed: Any) -> Solver:
    """The same solver with other options."""
    leaves, tree = jax.tree.flatten(solver)
    other = jax.tree.unflatten(tree, leaves)
    other.__dict__.update(changed)
    return other
