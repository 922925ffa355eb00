"""What a derivative rule asks of its tangents."""

from collections.abc import Callable
from typing import Any

import jax
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
