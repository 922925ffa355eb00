"""Solvers as users meet them: an algorithm and the options of a fit, bound once.

A solver is a pytree: l2, tol, and the numbers of constraints and penalties are leaves, all else is
static. It is a function from a tensor and a rank to a result, and has the two halves of that,
`init` and `step`, for loops of your own.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, ClassVar, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import Precision, accumulator
from jkr._mesh import any_mesh
from jkr.cp import losses
from jkr.cp._fit import _run
from jkr.cp._fit._result import (
    BAD_DATA,
    BAD_WEIGHTS,
    CONVERGED,
    MESSAGES,
    CPResult,
    unless_bad,
    worst,
)
from jkr.cp._fit._run import Plan
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective, Penalty, Term
from jkr.cp._solvers._algorithm import Algorithm
from jkr.cp.constraints import L1, Ball, Constraint, Fixed, Free, Nonnegative, Proximal, Simplex
from jkr.cp.losses import Loss
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._tensor import Tensor

_STARTS = ("random", "uniform", "svd")
_OURS = (Ball, Fixed, Free, L1, Nonnegative, Simplex)
_LEAVES = ("algorithm", "constraints", "l2", "penalty", "tol")
_STATIC = (
    *("loss", "nonnegative", "fixed_modes", "restarts", "max_iters"),
    *("precision", "progress", "callback"),
)


class Options(TypedDict, total=False):
    """The options of every solver, but for loss and penalty."""

    constraints: Mapping[int, Constraint] | None
    nonnegative: bool | int | Sequence[int]
    fixed_modes: int | Sequence[int]
    l2: ArrayLike
    restarts: int
    tol: ArrayLike
    max_iters: int
    precision: Precision
    progress: bool
    callback: Callable[[Any], object] | None


class Solver:
    """A fit with its options bound: call it with a tensor and a rank.

    `cp.ALS` and `cp.GCP` are such solvers; this class makes one of an algorithm of your own
    (`docs/extending.md`).

    Args:
        algorithm: how, a `jkr.cp.Algorithm`.
        loss: one of `cp.losses`, or any elementwise f(model, data) with real values.
        constraints: a dict from modes to `cp.constraints`.
        nonnegative: whether factors are kept nonnegative, or for which modes.
        fixed_modes: modes whose factors stay as `init`, a CPTensor, has them.
        l2: weight of the penalty ½ l2 Σₙ‖Aₙ‖² on the free factors, a scalar.
        penalty: a function of the tuple of all factors (I_n, R) to a number, or None.
        restarts: number of random starts; the best result is returned.
        tol: stop when what is watched changes by less than this in a step, a scalar.
        max_iters: largest number of steps.
        precision: of the products with the tensor, as in `jax.lax.dot_general`.
        progress: whether to show a bar (tqdm).
        callback: a function of the state, called after each step.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> solver = jkr.cp.Solver(jkr.cp.ALS().algorithm, l2=1e-3)
        >>> bool(solver(x, 2, key=jax.random.key(1)).fit > 0.99)
        True

    Source: as the algorithm; [KB09].
    """

    name: ClassVar[str] = "cp.Solver"

    def __init__(
        self,
        algorithm: Algorithm,
        *,
        loss: Loss | Callable[[Array, Array], Array] = losses.gaussian,
        constraints: Mapping[int, Constraint] | None = None,
        nonnegative: bool | int | Sequence[int] = False,
        fixed_modes: int | Sequence[int] = (),
        l2: ArrayLike = 0.0,
        penalty: Penalty | None = None,
        restarts: int = 1,
        tol: ArrayLike = 1e-6,
        max_iters: int = 500,
        precision: Precision = None,
        progress: bool = False,
        callback: Callable[[Any], object] | None = None,
    ):
        self.algorithm = algorithm
        self.loss = loss
        self.constraints = None if constraints is None else _check.mapping(self.name, constraints)
        self.nonnegative = _hashable(nonnegative)
        self.fixed_modes = _hashable(fixed_modes)
        self.l2, self.tol = l2, tol
        if penalty is not None and not isinstance(penalty, Partial):
            penalty = Partial(_check.function(self.name, "penalty", penalty))
        self.penalty = penalty  # what a Partial binds are leaves
        self.restarts, self.max_iters = restarts, max_iters
        self.precision, self.progress, self.callback = precision, progress, callback

    def __init_subclass__(cls) -> None:
        """Every solver is a pytree."""
        _register(cls)

    @any_mesh
    def __call__(
        self,
        tensor: ArrayLike | Tensor,
        rank: int,
        *,
        key: Array | None = None,
        init: str | CPTensor = "random",
    ) -> CPResult:
        """Fit a CP model.

        Args:
            tensor: T (I_1, …, I_N), an array, a CPTensor, or any of `jkr.tensors`.
            rank: R.
            key: of a random start.
            init: the start: a word, or a CPTensor.

        Returns:
            CPResult.

        Raises:
            ValueError: as `als` and `gcp`.
        """
        return self._fit(self.name, as_tensor(self.name, tensor), rank, key, init)

    @any_mesh
    def init(
        self,
        tensor: ArrayLike | Tensor,
        rank: int,
        *,
        key: Array | None = None,
        init: str | CPTensor = "random",
    ) -> Any:
        """The state before the first step, a pytree with fields `cp` and `iteration`.

        Args:
            tensor: as in a call.
            rank: R.
            key: of a random start.
            init: the start: a word, or a CPTensor.

        Returns:
            State of the algorithm. Save it, resume from it, pass it through `jit`, `vmap`, `scan`.

        Raises:
            ValueError: as in a call.
        """
        name = f"{self.name}.init"
        plan, objective, given, key = self._problem(name, as_tensor(name, tensor), rank, key, init)
        state, scale = _run.first(plan.kind, plan.rank, self.algorithm, objective, given, key)
        refuse_bad_data(name, unless_bad(scale, CONVERGED), objective.terms[0].loss)
        return state

    @any_mesh
    def step(self, tensor: ArrayLike | Tensor, state: Any) -> Any:
        """The state after one more step.

        Args:
            tensor: the one that the state was made for.
            state: from `init`, or from the step before.

        Returns:
            State of the algorithm. Where the step is not finite the model is the one before, and
            what is watched is NaN (in `nls` it is the one before, too).

        Raises:
            ValueError: a state that is none, or of another shape than the tensor. NaN or inf in the
                data are not looked for.
        """
        name = f"{self.name}.step"
        made = as_tensor(name, tensor)
        kind, watched = self.algorithm.state, self.algorithm.watches
        cp = _check.state(name, state, made.shape, kind, watched)
        objective = self._objective(name, made, cp.rank, cp)
        return _run.step_on(self.algorithm, objective, state)

    def _fit(
        self, name: str, tensor: Tensor, rank: int, key: Array | None, init: str | CPTensor
    ) -> CPResult:
        """The call, in the name of the function that the user called."""
        result = self._result(name, tensor, rank, key, init)
        refuse_bad_data(name, result.status, result.objective.terms[0].loss)
        return result

    def _result(
        self, name: str, tensor: Tensor, rank: int, key: Array | None, init: str | CPTensor
    ) -> CPResult:
        """The same without raising on bad data, so that nothing waits for the device."""
        plan, objective, given, key = self._problem(name, tensor, rank, key, init)
        real = jnp.finfo(accumulator(objective.dtype)).dtype
        tol = _check.at_least_zero(name, "tol", self.tol, real)
        problem = plan, self.algorithm, objective, given, key, tol
        if not self.progress and self.callback is None:
            return _run.fit(*problem)
        if self.callback is not None:
            _check.function(name, "callback", self.callback)
        _check.concrete(name, "progress and callback work", problem[1:])
        return _run.fit_from_python(*problem, progress=self.progress, callback=self.callback)

    def _problem(
        self, name: str, tensor: Tensor, rank: int, key: Array | None, init: str | CPTensor
    ) -> tuple[Plan, Objective, CPTensor | None, Array | None]:
        """Everything that a fit needs but tol, checked."""
        rank = _check.rank(name, rank)
        restarts = _check.at_least(name, "restarts", self.restarts)
        max_iters = _check.at_least(name, "max_iters", self.max_iters)
        kind, key = _check.start(name, init, key, tensor.shape, rank, restarts, _STARTS)
        given = None
        if kind == "given":
            factors, weights = _check.model(name, init, tensor.shape, rank, tensor.dtype)
            given = CPTensor(weights, tuple(factors))
        objective = self._objective(name, tensor, rank, given)
        return Plan(kind, rank, restarts, max_iters), objective, given, key

    def _objective(self, name: str, tensor: Tensor, rank: int, given: CPTensor | None) -> Objective:
        """What is minimised: options checked, constraints told mode by mode."""
        wide = accumulator(tensor.dtype)
        if isinstance(self.loss, Loss) and self.loss.nonnegative:
            _check.real_dtype(name, f"the tensor of {self.loss.name}", tensor.dtype)
        loss = losses.checked_loss(name, self.loss, wide, len(tensor.entry_constants))
        if loss.at_zero is None or not loss.expects_model:
            tensor.check_zeros(name, loss.name)
        if self.penalty is not None:
            factors = tuple(jax.ShapeDtypeStruct((n, rank), wide) for n in tensor.shape)
            _check.one_number(name, "penalty", self.penalty, factors)
        l2 = _check.at_least_zero(name, "l2", self.l2, jnp.finfo(wide).dtype)
        objective = Objective(
            terms=(Term(tensor, loss),),
            constraints=self._constraints(name, tensor, rank, loss, given, l2),
            l2=jnp.asarray(l2),
            penalty=self.penalty,
            precision=self.precision,
        )
        self.algorithm.check(name, objective)
        return objective

    def _constraints(
        self,
        name: str,
        tensor: Tensor,
        rank: int,
        loss: Loss,
        given: CPTensor | None,
        l2: ArrayLike,
    ) -> tuple[Constraint, ...]:
        """One a mode."""
        order = tensor.ndim
        fixed = _check.fixed_modes(name, self.fixed_modes, order)
        _check.held_factors(name, fixed, given)
        positive = _check.modes(name, "nonnegative", self.nonnegative, order)
        named = _check.constraints(name, self.constraints, order, Constraint)
        _check.one_a_mode(name, constraints=tuple(named), fixed_modes=fixed)
        for n, constraint in named.items():
            _try(name, n, constraint, (tensor.shape[n], rank), accumulator(tensor.dtype))
        if loss.nonnegative:
            _check.nonnegative_constraints(name, loss.name, named, (Nonnegative, Simplex))
            positive = tuple(range(order))
        if positive:
            _check.real_factors(name, tensor.dtype)
        of_mode = {n: Nonnegative() for n in positive} | named
        if given is not None:
            of_mode |= {n: Fixed(given.factors[n]) for n in fixed}
            if loss.nonnegative:
                held = [given.factors[n] for n in fixed]
                _check.not_negative(name, f"fixed factors of {loss.name}", held)
        found = [of_mode.get(n, Free()) for n in range(order)]
        if any(c.kind == "penalty" for c in found):
            # Beside a penalty that shrinks one factor the others would grow for ever.
            radius = jnp.where(jnp.asarray(l2) > 0, jnp.inf, 1)
            found = [Ball(radius, c) if c.kind in ("free", "cone") else c for c in found]
        return tuple(found)


def _try(name: str, n: int, constraint: Constraint, shape: tuple[int, int], dtype: Any) -> None:
    """The functions of a constraint of the user's own, on a factor of that shape."""
    if isinstance(constraint, _OURS):
        return
    factor = jax.ShapeDtypeStruct(shape, dtype)
    own = isinstance(constraint, Proximal)
    _check.proximal(name, n, constraint.operator if own else constraint.prox, factor)
    if constraint.kind == "penalty":
        value = constraint.function if own else constraint.value
        _check.one_number(name, f"value of mode {n}", value, factor, "a factor")


def _register(kind: type[Solver]) -> None:
    def flatten(solver: Solver) -> tuple[tuple, tuple]:
        leaves = tuple(getattr(solver, name) for name in _LEAVES)
        return leaves, tuple(getattr(solver, name) for name in _STATIC)

    def unflatten(static: tuple, leaves: tuple) -> Solver:
        solver = object.__new__(kind)
        solver.__dict__.update(zip((*_LEAVES, *_STATIC), (*leaves, *static), strict=True))
        return solver

    jax.tree_util.register_pytree_node(kind, flatten, unflatten)


_register(Solver)


def _hashable(modes: Any) -> Any:
    """Modes as a tuple, where they are several; what is no modes is refused where it is used."""
    modes = modes.tolist() if isinstance(modes, np.ndarray) else modes
    return tuple(modes) if isinstance(modes, list | set | frozenset | range) else modes


def refuse_bad_data(name: str, status: Array, loss: Loss = losses.gaussian) -> None:
    """Raise where data were measured and found bad; under a transform nothing is known yet."""
    if isinstance(status, Tracer):
        return
    found = worst(status)
    message = MESSAGES[found] if found in (BAD_DATA, BAD_WEIGHTS) else ""
    if found == BAD_DATA and (loss.low, loss.high) != (-inf, inf):
        message = f"{message}; {loss.name} takes data from {loss.low:g} to {loss.high:g}"
    _check.good_data(name, message)
