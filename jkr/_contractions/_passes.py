"""Which partial contraction of a tensor serves which of its modes, and the MTTKRPs by them.

A group of modes shares one pass over the tensor: `contract` gives its partial, which depends on
the factors of the other modes only, and `finish` makes the MTTKRP of one of its modes of it. There
are two groups whatever the order, so that all modes cost two passes; the groups are a function of
the shape alone, so that compilers see the same pass where two modes need it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jkr._contractions import _partial, _slices
from jkr._contractions._split import best_split, long_middle
from jkr._linalg._dtypes import Precision


class Group(NamedTuple):
    """Modes that share one pass.

    Attributes:
        modes: in increasing order.
        contract: (tensor, factors, precision=) to the partial of these modes.
        finish: (partial, factors, mode=) to the MTTKRP of one of them, in the accumulator's dtype.
    """

    modes: tuple[int, ...]
    contract: Callable[..., Array]
    finish: Callable[..., Array]


def groups(shape: Sequence[int], *, sharded: bool = False) -> tuple[Group, Group]:
    """The two groups of modes of a tensor of this shape, of order 2 or more.

    A tensor that is sharded is contracted as a whole: a loop over its slices would gather them.
    """
    order, middle = len(shape), None if sharded else long_middle(shape)
    if middle is not None:
        others = tuple(n for n in range(order) if n != middle)
        return (
            Group(
                others,
                partial(_slices.outer, middle=middle),
                partial(_slices.finish_outer, middle=middle),
            ),
            Group((middle,), partial(_slices.inner, middle=middle), _already),
        )
    s = best_split(shape)
    return (
        Group(tuple(range(s)), partial(_partial.left, s=s), partial(_partial.finish_left, s=s)),
        Group(
            tuple(range(s, order)),
            partial(_partial.right, s=s, sharded=sharded),
            partial(_partial.finish_right, s=s),
        ),
    )


def _already(passed: Array, factors: Sequence[Array], mode: int) -> Array:
    return passed


def one_mode(
    x: Array,
    factors: Sequence[Array],
    mode: int,
    precision: Precision = None,
    *,
    sharded: bool = False,
) -> Array:
    """X₍ₙ₎(∗_{m≠n} A_m), (I_n, R)."""
    y, wider, added = at_least_order_2(x, factors)
    group = next(g for g in groups(y.shape, sharded=sharded) if mode + added in g.modes)
    passed = group.contract(y, wider, precision=precision)
    return group.finish(passed, wider, mode=mode + added).astype(x.dtype)


def all_modes(
    x: Array, factors: Sequence[Array], precision: Precision = None, *, sharded: bool = False
) -> tuple[Array, ...]:
    """Every mode's X₍ₙ₎(∗_{m≠n} A_m), from two passes over X."""
    y, wider, added = at_least_order_2(x, factors)
    ys = {}
    for group in groups(y.shape, sharded=sharded):
        passed = group.contract(y, wider, precision=precision)
        ys |= {n: group.finish(passed, wider, mode=n) for n in group.modes}
    return tuple(ys[n].astype(x.dtype) for n in range(added, y.ndim))


def at_least_order_2(x: Array, factors: Sequence[Array]) -> tuple[Array, tuple[Array, ...], int]:
    """A vector as a matrix of one row; how many modes that adds in front."""
    if x.ndim > 1:
        return x, tuple(factors), 0
    ones = jnp.ones((1, factors[0].shape[1]), factors[0].dtype)
    return x[None, :], (ones, *factors), 1
