"""What fits take: starts, modes and their constraints, states, and data that were looked at."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jkr._check._arrays import Sizes, listed
from jkr._check._options import key as one_key
from jkr._check._tensors import mode, modes

_PARAMETERS = 1 << 15  # a matrix of as many rows fills some gigabytes


def fixed_modes(name: str, value: Any, order: int) -> tuple[int, ...]:
    """Modes that stay, but not all of them."""
    fixed = modes(name, "fixed_modes", value, order)
    if len(fixed) == order:
        raise ValueError(f"{name}: at least one mode needs to be free, got fixed_modes {fixed}")
    return fixed


def mapping(name: str, value: Any) -> dict[int, Any]:
    """A dict of constraints, whose modes are looked at when the tensor is known."""
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{name}: constraints need to be a dict from modes to cp.constraints, "
            f"got {type(value).__name__}"
        )
    return dict(value)


def constraints(name: str, value: Any, order: int, kind: type) -> dict[int, Any]:
    """A dict from modes, counted from 0, to constraints."""
    found = {}
    for n, constraint in (value or {}).items():
        if not isinstance(constraint, kind):
            raise ValueError(
                f"{name}: the constraint of mode {n} needs to be one of cp.constraints, "
                f"got {type(constraint).__name__}"
            )
        if jax.tree_util.all_leaves([constraint]):
            raise ValueError(
                f"{name}: the constraint of mode {n} needs to be a pytree; register its class, "
                f"{type(constraint).__name__}, by jax.tree_util.register_dataclass"
            )
        at = mode(name, n, order)
        if at in found:
            raise ValueError(f"{name}: mode {at} has two constraints, and takes one")
        found[at] = constraint
    return found


def one_a_mode(name: str, **groups: Sequence[int]) -> None:
    """Options that say something of a mode, each mode in one of them."""
    seen: dict[int, str] = {}
    for what, named in groups.items():
        for n in named:
            if n in seen:
                raise ValueError(f"{name}: mode {n} is in {seen[n]} and in {what}; name it once")
            seen[n] = what


def real_factors(name: str, dtype: DTypeLike) -> None:
    """Nonnegative factors need a tensor without imaginary part."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"{name}: nonnegative factors need a real tensor, got {dtype}")


def held_factors(name: str, fixed: Sequence[int], given: Any) -> None:
    """Factors that stay are those of a model that the user gives."""
    if fixed and given is None:
        raise ValueError(f"{name}: fixed_modes need init to be a CPTensor that holds their factors")


def start(
    name: str, init: Any, key: Any, shape: Sizes, rank: int, restarts: int, words: Sequence[str]
) -> tuple[str, Array | None]:
    """The kind of a start, "given" if it is a model, and the key of a random one."""
    if not isinstance(init, str):
        if restarts > 1:
            raise ValueError(
                f"{name}: restarts={restarts} need a random start, got a model as init"
            )
        return "given", None
    if init not in words:
        raise ValueError(
            f"{name}: init needs to be one of {tuple(words)} or a CPTensor, got {init!r}"
        )
    if key is not None:
        return init, one_key(name, key)
    if init != "svd" or restarts > 1:
        raise ValueError(
            f"{name}: a random start needs a key: pass key=jax.random.key(0), or a CPTensor as init"
        )
    size = prod(shape)
    if rank > min(min(dim, size // dim) for dim in shape):
        raise ValueError(
            f"{name}: init='svd' with rank {rank} above the rank of an unfolding of {shape} adds "
            f"random columns and needs a key: pass key=jax.random.key(0)"
        )
    return init, None


def result(name: str, result: Any, kind: type) -> None:
    """What a fit returned."""
    if not isinstance(result, kind):
        raise ValueError(f"{name}: result needs to be a CPResult, got {type(result).__name__}")


def state(name: str, state: Any, shape: Sizes, kind: type, watched: str) -> Any:
    """The model of a state of the same solver, of that shape."""
    cp = getattr(state, "cp", None)
    if cp is None or not hasattr(state, watched) or not isinstance(state, kind):
        raise ValueError(
            f"{name}: state needs to come from init or step, got {type(state).__name__}"
        )
    if tuple(cp.shape) != tuple(shape):
        raise ValueError(f"{name}: a state of shape {cp.shape} and a tensor of shape {shape}")
    return cp


def least_squares(name: str, loss: str, *, is_gaussian: bool, penalty: Any) -> None:
    """What alternating least squares can minimise."""
    if not is_gaussian:
        raise ValueError(f"{name}: least squares only, got the loss {loss}; cp.gcp takes any")
    if penalty is not None:
        raise ValueError(f"{name}: takes no penalty function; cp.gcp does")


def nonnegative_constraints(
    name: str, loss: str, named: Mapping[int, Any], known: tuple[type, ...]
) -> None:
    """Constraints under which a model is nonnegative."""
    for n, constraint in named.items():
        if not isinstance(constraint, known):
            raise ValueError(
                f"{name}: {loss} needs nonnegative factors, got the constraint "
                f"{type(constraint).__name__} of mode {n}"
            )


def smooth_constraints(name: str, constraints: Sequence[Any], known: tuple[type, ...]) -> None:
    """Constraints that free parameters can obey."""
    # A penalty brings other constraints with it, and is what was asked for.
    for constraint in sorted(constraints, key=lambda c: c.kind != "penalty"):
        if not isinstance(constraint, known):
            raise ValueError(
                f"{name}: takes nonnegative factors and fixed ones, got the constraint "
                f"{type(constraint).__name__}; cp.als takes any"
            )


def updates(name: str, given: Any, parameters: Any) -> None:
    """What an optimiser adds to parameters: arrays of their shapes."""
    shapes = [tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(given)]
    needed = [tuple(leaf.shape) for leaf in jax.tree.leaves(parameters)]
    if shapes != needed or jax.tree.structure(given) != jax.tree.structure(parameters):
        raise ValueError(
            f"{name}: optimizer needs to give updates of the shapes {listed(needed)}, got "
            f"{listed(shapes) or 'none'}"
        )


def optimizer(name: str, value: Any) -> Any:
    """An optax optimiser."""
    if not (hasattr(value, "init") and hasattr(value, "update")):
        raise ValueError(f"{name}: optimizer needs to be an optax optimiser, got {value!r}")
    return value


def weights_that_are_arrays(name: str, there: bool) -> None:
    """Entry weights, if there are any, that are an array of the tensor's shape."""
    if not there:
        raise ValueError(f"{name}: entry weights need to be an array; use a jkr.tensors.Dense")


def few_parameters(name: str, shape: Sequence[int], rank: int) -> None:
    """As many entries of factors as a matrix of all pairs of them has memory for."""
    count = rank * sum(shape)
    if count > _PARAMETERS:
        raise ValueError(
            f"{name}: under entry weights, or where entries are missing, makes a matrix of "
            f"(R Σ I_n)² entries, and R Σ I_n may be up to {_PARAMETERS}, got {count} for shape "
            f"{tuple(shape)} and rank {rank}"
        )


def differentiable(others: Sequence[Any]) -> None:
    """Constraints through which solutions are differentiated: none others."""
    if others:
        raise ValueError(
            "cp: derivatives through a fit know nonnegative and fixed factors, got the constraint "
            f"{type(others[0]).__name__}; put jax.lax.stop_gradient around the data"
        )


def good_data(name: str, message: str) -> None:
    """Data of which nothing bad is to be said."""
    if message:
        raise ValueError(f"{name}: {message}")
