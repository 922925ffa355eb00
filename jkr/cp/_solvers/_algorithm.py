"""What an algorithm is: how to begin from a start, and how to take one step on an objective."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

from jax import Array

from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.tensors._tensor import Scale

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
    - `change`: of what is watched in the last step, a real scalar; inf before the first, NaN where
      something was not finite, which ends the fit;
    - `fit` or `objective`: what is watched.

    Attributes:
        title: for a progress bar.
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
