"""What a function computes, read off its jaxpr: sizes of arrays, and matrix products; its work."""

import collections
import math

import jax


def equations(jaxpr, platform="cpu"):
    """Every equation of a program for one platform, those of inner jaxprs included.

    Where platforms differ, the branch of this one stands in place of the choice, as in the program.
    """
    for equation in jaxpr.eqns:
        parameters = equation.params
        if (platforms := parameters.get("branches_platforms")) is not None:
            which = next(k for k, p in enumerate(platforms) if p is None or platform in p)
            parameters = {"branch": parameters["branches"][which]}
        else:
            yield equation
        for parameter in jax.tree.leaves(
            list(parameters.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from equations(inner, platform)


def size_of(variable):
    return math.prod(getattr(variable.aval, "shape", ()))


def largest_array(f, *args):
    """The largest number of elements of anything that f computes (not of its arguments)."""
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    return max(size_of(v) for equation in equations(jaxpr) for v in equation.outvars)


def products_with_arrays_of(size, f, *args):
    """How many matrix products in f read an operand of that many elements or more."""
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    dots = [e for e in equations(jaxpr) if e.primitive.name == "dot_general"]
    return sum(any(size_of(v) >= size for v in dot.invars) for dot in dots)


def work_of(f, args):
    """What JAX traces and compiles in a call: how often each."""
    counts = collections.Counter()

    def listener(event, duration, **_):
        if event.startswith("/jax/core/compile/"):
            counts[event.removeprefix("/jax/core/compile/")] += 1

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        jax.block_until_ready(f(*args))
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    return dict(counts)
