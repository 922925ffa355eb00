"""What a derivative rule asks of its tangents; derivatives of elementwise functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be zero, in a rule with `symbolic_zeros`."""
    return isinstance(tangent, SymbolicZero)


def tangent_of(f: Callable, arguments: tuple, tangents: tuple) -> Any:
    """Tangent of f, or None if all tangents are known to be zero; those that are cost nothing."""
    leaves, tree = jax.tree.flatten(arguments)
    moves = jax.tree.leaves(tangents, is_leaf=is_zero)
    moving = [k for k, d in enumerate(moves) if not is_zero(d)]
    if not moving:
        return None

    def of_moving(*values):
        replaced = dict(zip(moving, values, strict=True))
        return f(*jax.tree.unflatten(tree, [replaced.get(k, a) for k, a in enumerate(leaves)]))

    primals = tuple(leaves[k] for k in moving)
    return jax.jvp(of_moving, primals, tuple(moves[k] for k in moving))[1]


def with_derivative(f: Callable[..., Array], model: Array, *data: Array) -> tuple[Array, Array]:
    """f(M, T, …) and D = ∂f/∂M, with df = Re conj(dM) D, entry by entry."""
    values, pull = jax.vjp(lambda m: f(m, *data), model)
    return values, pull(jnp.ones_like(values))[0].conj()


def curvature(f: Callable[..., Array], model: Array, *data: Array) -> Array:
    """∂²f/∂M², entry by entry; where M is complex the mean over both of its directions."""
    slope = lambda m: with_derivative(f, m, *data)[1]  # noqa: E731
    ones = jnp.ones_like(model)
    second = jax.jvp(slope, (model,), (ones,))[1].real
    if jnp.iscomplexobj(model):
        second = (second + jax.jvp(slope, (model,), (1j * ones,))[1].imag) / 2
    return second
