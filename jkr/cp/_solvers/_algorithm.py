"""What an algorithm is: how to begin from a start, and how to take one step on an objective."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.tensors._tensor import Scale

SMALL = 1e-4  # of the norm of the data: what a component of weight zero is taken for
_SIZES = 10  # of a start, each an eighth of the one before

TrustingStep = Callable[[Any], tuple[Any, Array]]


class Start(NamedTuple):
    """Where a fit begins.

    Attributes:
        cp: the model, in normal form and in the units of the data.
        scale: how large the data are, a `jkr.tensors.Scale`.
        drawn: whether the model was drawn at random, so that its size means nothing.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> model = jkr.cp.CPTensor(jnp.ones(2), (jnp.eye(3, 2),) * 3)
        >>> scale = jkr.tensors.Dense(model.full()).scale()
        >>> jkr.cp.Start(model, scale, drawn=False).cp.rank
        2
    """

    cp: CPTensor
    scale: Scale
    drawn: bool


class Algorithm(ABC):
    """How a fit is made; a pytree. Derive from it and write `init` and `step`.

    A state is a NamedTuple with at least

    - `cp`: the model so far, a CPTensor in the units of the data;
    - `iteration`: steps done, an integer scalar;
    - `change`: what ends the fit when it is below tol, a real scalar: by how much what is watched
      changed in the last step (inf before the first), unless the algorithm says otherwise; NaN,
      which ends it too, where something was not finite;
    - `fit` or `objective`: what is watched.

    Attributes:
        title: for a progress bar.
        state: the class of its states, if `step` of a solver is to refuse all others.
        watches: "fit" or "objective": the field of states that `CPResult.history` holds.
        works_in_units: whether steps are in units of the data, where those of least squares are in
            range, so that an objective which is not does no harm.
        states_are_models: whether a state has the `objective` of its model and the `stationarity`,
            and a fit that ends there returns that model.
        products: with JᴴHJ (`Objective.gauss_newton`), under entry weights, that cost about a step.

    Example:
        >>> import jkr
        >>> jkr.cp.ALS().algorithm.watches
        'fit'
    """

    title: ClassVar[str] = "fit"
    state: ClassVar[type] = object
    watches: ClassVar[Literal["fit", "objective"]] = "objective"
    works_in_units: ClassVar[bool] = False
    states_are_models: ClassVar[bool] = False
    products: ClassVar[int] = 1

    def check(self, name: str, objective: Objective) -> None:  # noqa: B027 (few have to)
        """Refuse, in the name of a function, an objective that it cannot minimise."""

    @abstractmethod
    def init(self, objective: Objective, start: Start) -> Any:
        """The state before the first step."""

    @abstractmethod
    def step(self, objective: Objective, state: Any) -> Any:
        """The state after one more step."""

    def trusting_step(self, objective: Objective) -> TrustingStep | None:
        """On accelerators: a quicker step, that says whether it can be trusted; None without one.

        Where it cannot, `step` is taken instead. No derivative is taken of either.
        """
        return None

    def finish(self, objective: Objective, cp: CPTensor) -> CPTensor:
        """The model that a fit returns, of the one that its last step left."""
        return cp


def scaled_start(objective: Objective, cp: CPTensor) -> CPTensor:
    """A start as large as the objective bears.

    The loss alone knows how large a model should be: a mean, its logarithm, or odds. A start that
    is too small is near to where all gradients vanish; so it is the largest size at which the
    objective is not much above the least of all.
    """
    sizes = 8.0 ** -jnp.arange(_SIZES).astype(cp.weights.real.dtype)

    def value_at(size: Array) -> Array:
        weights = cp.weights * size.astype(cp.weights.dtype)
        return objective.value(*objective.balanced(cp._replace(weights=weights)))

    values = lax.map(value_at, sizes)
    values = jnp.where(jnp.isfinite(values), values, jnp.inf)
    least = jnp.min(values)
    largest = jnp.argmax(values <= least + 2 * jnp.abs(least))
    return cp._replace(weights=cp.weights * sizes[largest].astype(cp.weights.dtype))
