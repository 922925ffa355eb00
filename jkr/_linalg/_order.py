"""What has to be done before something else is, where XLA would be free to do both at once.

XLA drops barriers before it orders a program; what depends on a comparison that is never true has
to wait. Two reasons to make it: large intermediates that are made one after the other share their
memory; and on a CPU batches of LAPACK's calls wait for tasks that they give to the very threads on
which they run, so that two of them at a time may wait for ever (JAX 0.10 on two processors).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def after(arrays: Any, done: Any) -> Any:
    """The same arrays, not known before others are, if there are any."""
    others = jax.tree.leaves(done)
    if not others:
        return arrays
    never = lax.stop_gradient(others[0]).ravel()[0].real > jnp.inf
    return jax.tree.map(lambda a: jnp.where(never, jnp.zeros((), a.dtype), a), arrays)


def in_turn(f: Callable[..., Any], *sequences: Sequence[Any]) -> list[Any]:
    """[f(a, …), …], one after the other; the first arguments are arrays."""
    found: list[Any] = []
    for a, *rest in zip(*sequences, strict=True):
        found.append(f(after(a, found[-1:]), *rest))
    return found
