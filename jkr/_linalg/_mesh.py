"""Meshes of devices: what a function has to know of where its arrays are."""

import jax
from jax import Array
from jax.core import Tracer


def is_sharded(x: Array) -> bool:
    """Whether an array is, or under `jit` may be, spread over several devices."""
    if not isinstance(x, Tracer):
        return not x.sharding.is_fully_replicated
    return not jax.typeof(x).sharding.mesh.empty
