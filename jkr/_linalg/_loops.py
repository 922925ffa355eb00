"""Loops and branches that may start from constants inside `jax.shard_map`.

There every value has in its type over which axes of the mesh it varies, and a loop wants of its
body the types that it was given. A loop that starts from zeros, which vary over nothing, and adds
what does vary, is refused. These are `lax`'s loops with the start cast to what the body makes of
it; outside `shard_map` they are `lax`'s own, and nothing more is traced.

`lax.map` carries nothing from turn to turn, and needs none of this.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

Axes = frozenset[str]


def while_loop(condition: Callable, body: Callable, init: Any) -> Any:
    """`lax.while_loop`."""
    return lax.while_loop(condition, body, _settled(body, init, condition))


def fori_loop(lower: int, upper: int, body: Callable, init: Any) -> Any:
    """`lax.fori_loop`, its bounds ints."""
    return lax.fori_loop(lower, upper, body, _settled(partial(body, lower), init))


def scan(body: Callable, init: Any, xs: Any) -> tuple[Any, Any]:
    """`lax.scan`, over one slice or more; over one it is no loop, and compiles in less time."""

    def once(carry: Any) -> tuple[Any, Any]:
        return body(carry, jax.tree.map(lambda a: a[0], xs))

    if jax.tree.leaves(xs)[0].shape[0] == 1:
        carry, y = once(init)
        return carry, jax.tree.map(lambda a: a[None], y)
    return lax.scan(body, _settled(lambda carry: once(carry)[0], init), xs)


def cond(which: Any, then: Callable, otherwise: Callable, *operands: Any) -> Any:
    """`lax.cond`: what comes out varies as either branch does, and as what decides."""
    if not _in_shard_map():
        return lax.cond(which, then, otherwise, *operands)
    types = zip(*(_types(branch, *operands) for branch in (then, otherwise)), strict=True)
    axes = [a | b | _varies(jax.typeof(which)) for a, b in types]
    return lax.cond(which, _casting(then, axes), _casting(otherwise, axes), *operands)


def by_platform(on_cpu: Callable, elsewhere: Callable, *args: Any) -> Any:
    """Either function of the arguments, by the platform that a program is compiled for.

    Derivatives keep the arguments alone: else they would keep what either branch does of the data.
    """
    chosen = partial(lax.platform_dependent, cpu=on_cpu, default=elsewhere)
    return jax.checkpoint(chosen, prevent_cse=False)(*args)


def alike(*trees: Any) -> Any:
    """The same arrays, each of them varying over all that any of them varies over.

    What solves a linear system is traced with its matrix as it is, and then batched with a matrix
    that varies as the right-hand side does.
    """
    if not _in_shard_map():
        return trees
    axes = frozenset().union(*(_varies(jax.typeof(x)) for x in jax.tree.leaves(trees)))
    return jax.tree.map(partial(_cast, axes=axes), trees)


def by_others(f: Callable, *args: Any) -> Any:
    """f(*args), where f has loops that are written elsewhere, and is not differentiated.

    Inside `shard_map` f is traced as if nothing varied, and what it does is done with arrays that
    all vary alike. So everything that may vary has to be among its arguments.
    """
    if not _in_shard_map():
        return f(*args)
    leaves, tree = jax.tree.flatten(args)
    axes = frozenset().union(*(_varies(jax.typeof(x)) for x in leaves))
    invariant = [
        jax.ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak_type)
        for t in map(jax.typeof, leaves)
    ]
    traced, shape = jax.make_jaxpr(f, return_shape=True)(*tree.unflatten(invariant))
    return jax.tree.unflatten(jax.tree.structure(shape), _done(traced, axes, leaves))


def _in_shard_map() -> bool:
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _varies(kind: Any) -> Axes:
    """Over which axes a value of that type varies; `vma` was its name before JAX 0.10."""
    manual = getattr(kind, "manual_axis_type", None)
    return kind.vma if manual is None else manual.varying


def _types(f: Callable, *args: Any) -> list[Axes]:
    """Over which axes each array that f returns varies."""
    return [_varies(kind) for kind in jax.make_jaxpr(f)(*args).out_avals]


def _cast(x: Any, axes: Axes) -> Any:
    missing = axes - _varies(jax.typeof(x))
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


def _casting(f: Callable, axes: list[Axes]) -> Callable:
    def cast(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(f(*args))
        return tree.unflatten(map(_cast, leaves, axes))

    return cast


def _settled(body: Callable, init: Any, condition: Callable | None = None) -> Any:
    """The start of a loop, varying as what its body makes of it, and as what ends it."""
    if not _in_shard_map():
        return init
    leaves, tree = jax.tree.flatten(init)
    while True:
        start = tree.unflatten(leaves)
        ends = _types(condition, start)[0] if condition is not None else frozenset()
        cast = [_cast(x, axes | ends) for x, axes in zip(leaves, _types(body, start), strict=True)]
        if all(a is b for a, b in zip(leaves, cast, strict=True)):
            return start
        leaves = cast


def _done(closed: Any, axes: Axes, args: list) -> list:
    """What a closed jaxpr computes of such arguments, all of it varying over these axes."""
    jaxpr = closed.jaxpr
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
    known = {v: _cast(x, axes) for v, x in known.items()}

    def value(v: Any) -> Any:
        return _cast(v.val, axes) if isinstance(v, Literal) else known[v]

    for eqn in jaxpr.eqns:
        outs = _equation(eqn, axes, [value(v) for v in eqn.invars])
        known |= {v: _cast(x, axes) for v, x in zip(eqn.outvars, outs, strict=True)}
    return [value(v) for v in jaxpr.outvars]


def _equation(eqn: Any, axes: Axes, args: list) -> list:
    """One equation of a jaxpr: loops and branches anew, functions within as what they compute."""
    name, params = eqn.primitive.name, eqn.params
    if name == "while":
        c, b = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        ends = lambda carry: _done(params["cond_jaxpr"], axes, [*args[:c], *carry])[0]  # noqa: E731
        body = lambda carry: _done(params["body_jaxpr"], axes, [*args[c:b], *carry])  # noqa: E731
        return lax.while_loop(ends, body, args[b:])
    if name == "scan":
        # What is sliced, or stacked, has an axis less in the body; JAX counts them by names that
        # changed.
        body = params["jaxpr"].jaxpr
        same = lambda a, b: a.aval.ndim == b.aval.ndim  # noqa: E731
        n = sum(map(same, eqn.outvars, body.outvars))
        c = sum(map(same, eqn.invars, body.invars)) - n

        def turn(carry: list, x: list) -> tuple[list, list]:
            outs = _done(params["jaxpr"], axes, [*args[:c], *carry, *x])
            return outs[:n], outs[n:]

        how = {k: params[k] for k in ("length", "reverse", "unroll")}
        carry, ys = lax.scan(turn, args[c : c + n], args[c + n :], **how)
        return [*carry, *ys]
    if name == "cond":
        branches = [lambda *a, b=b: _done(b, axes, list(a)) for b in params["branches"]]
        return lax.switch(args[0], branches, *args[1:])
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    if inner is not None:
        return _done(inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ()), axes, args)
    outs = eqn.primitive.bind(*args, **params)
    return outs if eqn.primitive.multiple_results else [outs]
