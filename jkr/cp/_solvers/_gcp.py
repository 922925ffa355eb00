"""Generalised CP by gradient: any elementwise loss, any optax optimiser.

The optimiser sees real arrays, one a free mode: the factor itself; of a complex factor its real and
imaginary part; of a nonnegative factor its square root, A = B∘B, so that no bound is ever left,
not even inside a line search, whatever the optimiser (squared variables: Royer, Thirion-Moreau &
Comon 2011; they took conjugate gradients). Of those roots the objective is smooth, and an entry
whose bound holds it has a curvature there, so that L-BFGS sees it settle. Arrays and objective are
in units of the start's, so that neither the scale of the data nor their number matters to learning
rates and line searches. Value and gradient come from one pass over the tensor (R5).

Source: [HKD20]; bounds: [RTC11].
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jkr import _check
from jkr._linalg._loops import by_others
from jkr._linalg._norms import column_norms
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Factors, Objective
from jkr.cp._solvers._algorithm import Algorithm, Start, scaled_start
from jkr.cp.constraints import Fixed, Parametrised
from jkr.tensors._tensor import GOOD

if TYPE_CHECKING:
    import optax

_NAME, _RULE = "cp.GCP", "optimizer needs to be an optax optimiser of such factors"
_VISIBLE = 1024  # times eps: what a first step may gain at least, relative to the objective
_SHARE = 0.1  # of the parameters' length: how far it may go for that


class GCPState(NamedTuple):
    """Between two steps; a pytree of arrays that can be saved and resumed.

    Attributes:
        cp: the model, a CPTensor (I_1, …, I_N) of rank R: unit columns, nonnegative weights, fixed
            factors as given. For a float16 or bfloat16 tensor it is in float32.
        objective: Σ W∘f(M, T) and the penalties, a real scalar; NaN where something was not finite.
        change: `|Δobjective|` of the last step over the larger `|objective|` of the two, a real
            scalar; inf before the first.
        iteration: steps done, an integer scalar.
        parameters: what the optimiser sees, in units of `size`: for each free mode a real (I_n, R);
            of a complex factor two, its real and imaginary part; of a nonnegative one its square
            root.
        slope: gradient of the objective, in units of `reference`, with respect to them: the same
            shapes.
        optimizer: the optimiser's own state, whatever it is.
        size: root mean square of the parameters at the start, a real scalar.
        reference: Σ `W∘|f(M, T)|` at the start, a real scalar.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.GCP().init(x, 2, key=jax.random.key(1))
        >>> state.cp.shape, int(state.iteration), [p.shape for p in state.parameters]
        ((4, 5, 6), 0, [(4, 2), (5, 2), (6, 2)])

    Source: [HKD20].
    """

    cp: CPTensor
    objective: Array
    change: Array
    iteration: Array
    parameters: Any
    slope: Any
    optimizer: Any
    size: Array
    reference: Array


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("optimizer",))
@dataclass(frozen=True)
class Descent(Algorithm):
    """Steps of an optax optimiser.

    Attributes:
        optimizer: that takes the steps.
    """

    optimizer: "optax.GradientTransformation"
    title: ClassVar[str] = "GCP"
    state: ClassVar[type] = GCPState
    watches: ClassVar[str] = "objective"

    def check(self, name: str, objective: Objective) -> None:
        """Constraints that free parameters can obey."""
        _check.smooth_constraints(name, objective.constraints, (Parametrised, Fixed))

    def init(self, objective: Objective, start: Start) -> GCPState:
        """The state before the first step."""
        cp, scale, drawn = start
        if drawn:
            cp = scaled_start(objective, cp)
        ones, free = objective.balanced(cp)
        parameters, size = _in_units(_parameters(objective, free))
        reference = objective.magnitude(ones, free)
        relative = partial(_relative, objective, size, reference)
        value, slope = jax.value_and_grad(relative)(parameters)
        objective_value = jnp.where(scale.status == GOOD, value * reference, jnp.nan)
        return GCPState(
            cp=cp,
            objective=objective_value,
            change=jnp.where(jnp.isfinite(objective_value), jnp.inf, jnp.nan),
            iteration=jnp.zeros((), int),
            parameters=parameters,
            slope=slope,
            optimizer=_check.of_the_user(
                _NAME, f"{_RULE}, got an init", self.optimizer.init, parameters
            ),
            size=size,
            reference=reference,
        )

    def step(self, objective: Objective, state: GCPState) -> GCPState:
        """One step of the optimiser, taken if it leads to something finite."""
        old, size, reference = state, state.size, state.reference
        parameters, optimizer, value, slope = by_others(self._update, objective, old)
        value = value.astype(reference.dtype) * reference
        # A line search that fails may keep the old value beside parameters that are NaN.
        everything = [jnp.all(jnp.isfinite(p)) for p in (value, *jax.tree.leaves(parameters))]
        finite = jnp.all(jnp.stack(everything))
        value = jnp.where(finite, value, jnp.nan)
        larger = jnp.maximum(jnp.abs(value), jnp.abs(old.objective))
        free = _free(objective, parameters, size)
        ones = jnp.ones_like(old.cp.weights)
        new = old._replace(
            cp=objective.normal_form(ones, free, objective.movable(old.cp.factors)),
            parameters=parameters,
            slope=_cast(slope, old.slope),
            optimizer=_check.of_the_user(
                _NAME, f"{_RULE}, got a state", _cast, optimizer, old.optimizer
            ),
        )
        taken = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
        return taken._replace(
            objective=value,
            change=jnp.abs(value - old.objective) / jnp.where(larger > 0, larger, 1),
            iteration=old.iteration + 1,
        )

    def _update(self, objective: Objective, old: GCPState) -> tuple[Any, Any, Array, Any]:
        """Parameters and state of the optimiser after its step; value and slope there."""
        import optax  # here, because it costs import time

        def relative(parameters: Any) -> Array:
            parameters = _cast(parameters, old.parameters)
            return _relative(objective, old.size, old.reference, parameters)

        # Optimisers promote dtypes and ranks, which a user may have forbidden, and may return
        # another precision than they were given.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, optimizer = _check.of_the_user(
                _NAME,
                f"{_RULE}, got an update",
                optax.with_extra_args_support(self.optimizer).update,
                old.slope,
                old.optimizer,
                old.parameters,
                value=old.objective / old.reference,
                grad=old.slope,
                value_fn=relative,
            )
            _check.updates(_NAME, updates, old.parameters)
            parameters = _cast(optax.apply_updates(old.parameters, updates), old.parameters)
            value, slope = _stored(optimizer) or jax.value_and_grad(relative)(parameters)
        return parameters, optimizer, value, slope

    def finish(self, objective: Objective, cp: CPTensor) -> CPTensor:
        """The model, with entries at their bound where one Newton step would take them."""
        constraints = _parametrised(objective)
        if all(c.kind == "free" for c in constraints):
            return cp
        ones, free = objective.balanced(cp)
        slopes, diagonals = objective.gradient(ones, free), objective.diagonal(ones, free)
        moved = tuple(
            c.at_bound(a, s, d)
            for c, a, s, d in zip(constraints, free, slopes, diagonals, strict=True)
        )
        before, after = objective.value(ones, free), objective.value(ones, moved)
        rounding = 16 * float(jnp.finfo(before.dtype).eps) * jnp.abs(before)
        better = after <= before + rounding
        kept = jax.tree.map(partial(jnp.where, better), moved, free)
        return objective.normal_form(ones, kept, objective.movable(cp.factors))


@cache
def lbfgs() -> "optax.GradientTransformation":
    """L-BFGS of optax, its first step long enough to be seen.

    That step is as long as the gradient where this is below one: near a saddle, where a start at
    random often is, it changes nothing but the last digits of the objective, and the line search
    takes that for the end.
    """
    import optax  # here, because it costs import time

    def init(params: Any) -> Array:
        return jnp.ones((), bool)

    def first_step(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        length, size = optax.tree_utils.tree_norm(updates), optax.tree_utils.tree_norm(params)
        gain: Any = optax.tree_utils.tree_vdot(updates, extra["grad"])  # to first order
        visible = _VISIBLE * jnp.finfo(length.dtype).eps * jnp.abs(extra["value"])
        most = _SHARE * size / jnp.where(length > 0, length, 1)
        longer = jnp.minimum(visible / jnp.where(gain > 0, gain, 1), most)
        longer = jnp.where(state & (gain > 0), jnp.maximum(longer, 1), 1)
        return jax.tree.map(lambda u: longer.astype(u.dtype) * u, updates), jnp.zeros((), bool)

    return optax.chain(
        optax.scale_by_lbfgs(),
        optax.GradientTransformationExtraArgs(init, first_step),
        optax.scale(-1),
        optax.scale_by_zoom_linesearch(20, initial_guess_strategy="one"),
    )


def _relative(objective: Objective, size: Array, reference: Array, parameters: Any) -> Array:
    """The objective in units of the reference, a function of the parameters."""
    free = _free(objective, parameters, size)
    return objective.value(jnp.ones(free[0].shape[1], free[0].dtype), free) / reference


def _parameters(objective: Objective, free: Factors) -> Any:
    """What the optimiser sees of the free factors."""
    pairs = zip(_parametrised(objective), free, strict=True)
    return tuple(constraint.parameters(a) for constraint, a in pairs)


def _free(objective: Objective, parameters: Any, size: Array) -> Factors:
    """The free factors."""
    parameters = jax.tree.map(lambda p: size * p, parameters)
    pairs = zip(_parametrised(objective), parameters, strict=True)
    return tuple(constraint.factor(p) for constraint, p in pairs)


def _parametrised(objective: Objective) -> list[Parametrised]:
    """The constraints of the free modes."""
    return [c for c in objective.constraints if isinstance(c, Parametrised)]


def _in_units(parameters: Any) -> tuple[Any, Array]:
    """Parameters in units of their root mean square, and that."""
    entries = jnp.concatenate([p.ravel() for p in jax.tree.leaves(parameters)])
    size = column_norms(entries[:, None])[0] / entries.size**0.5
    size = jnp.where(size > 0, size, 1)
    return jax.tree.map(lambda p: p / size, parameters), size


def _stored(optimizer: Any) -> tuple[Array, Any] | None:
    """Value and gradient at the new parameters, where the optimiser's line search kept them."""
    import optax

    try:
        value, slope = (optax.tree_utils.tree_get(optimizer, name) for name in ("value", "grad"))
    except KeyError:  # several
        return None
    return None if value is None or slope is None else (value, slope)


def _cast(tree: Any, like: Any) -> Any:
    """The same numbers, in the dtypes of another tree."""
    return jax.tree.map(lambda a, b: jnp.asarray(a).astype(b.dtype), tree, like)
