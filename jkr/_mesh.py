"""Meshes of devices: what a function has to know of where its arrays are.

The axes of a mesh are automatic (the compiler chooses where results are), explicit (types say it),
or manual (inside `jax.shard_map`, where each device has an array of its own). All code here is
written for automatic ones; `any_mesh` makes it serve arrays on explicit ones.
"""

from collections.abc import Callable
from functools import partial, wraps
from math import prod
from typing import Any, TypeVar, cast

import jax
from jax import Array
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec

Function = TypeVar("Function", bound=Callable)


def is_sharded(x: Array) -> bool:
    """Whether an array is, or under `jit` may be, spread over several devices."""
    if not isinstance(x, Tracer):
        return not x.sharding.is_fully_replicated
    mesh = jax.typeof(x).sharding.mesh
    return not (mesh.empty or mesh.are_all_axes_manual)


def any_mesh(f: Function, *, large: bool = False) -> Function:
    """A public function that takes arrays on explicit meshes too.

    Its code runs with the explicit axes made automatic (as `jax.sharding.auto_axes` does it, which
    would want to know where results go before they are there). Results are on every device.

    Args:
        f: of arguments that are arrays, pytrees of them, or anything else.
        large: whether results may be as large as the largest argument, or larger. Those stay where
            an argument of their shape is, or else are spread over their first axis that the mesh
            divides: then no device holds, or sends, more than its part.
    """

    @wraps(f)
    def on_any_mesh(*args: Any, **kwargs: Any) -> Any:
        try:
            leaves, tree = jax.tree.flatten((args, kwargs))
        except (TypeError, ValueError):  # what is no argument of anything: f refuses it
            return f(*args, **kwargs)
        mesh = _explicit_mesh(leaves)
        if mesh is None:
            return f(*args, **kwargs)
        types = [jax.typeof(x) for x in leaves if isinstance(x, Array)]
        abstract = getattr(mesh, "abstract_mesh", mesh)
        automatic = dict.fromkeys(abstract.explicit_axes, AxisType.Auto)
        with jax.sharding.use_abstract_mesh(abstract.update_axis_types(automatic)):
            args, kwargs = tree.unflatten(map(_automatic, leaves))
            out = f(*args, **kwargs)
        place = partial(_spread, mesh, types) if large else lambda y: PartitionSpec()

        def settled(y: Any) -> Any:
            if not isinstance(y, Array):
                return y
            return jax.sharding.reshard(y, NamedSharding(mesh, place(y)))

        return jax.tree.map(settled, out)

    return cast(Function, on_any_mesh)


def _explicit_mesh(leaves: list) -> Any:
    """The mesh with explicit axes that arrays, or the context, are on; None without one."""
    for x in leaves:
        if isinstance(x, Array) and jax.typeof(x).sharding.mesh.explicit_axes:
            # Where it is known, with its devices: a result may be a constant that knows of none.
            at: Any = jax.typeof(x).sharding if isinstance(x, Tracer) else x.sharding
            return at.mesh
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if mesh.explicit_axes else None


def _automatic(x: Any) -> Any:
    return jax.sharding.reshard(x, PartitionSpec()) if isinstance(x, Array) else x


def _spread(mesh: Any, arguments: list, y: Array) -> PartitionSpec:
    """Where a large result goes."""
    axes: dict[str, None] = {}
    for kind in arguments:
        named = jax.tree.leaves(tuple(kind.sharding.spec))
        if named and kind.shape == y.shape:
            return kind.sharding.spec
        axes |= dict.fromkeys(named)
    if not axes or y.size < max(kind.size for kind in arguments):
        return PartitionSpec()
    count = prod(mesh.shape[name] for name in axes)
    n = next((n for n, dim in enumerate(y.shape) if dim % count == 0), None)
    return PartitionSpec() if n is None else PartitionSpec(*[None] * n, tuple(axes))
