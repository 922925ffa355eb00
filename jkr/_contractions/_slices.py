"""MTTKRP slice by slice about one long mode n that stands between short ones.

X as (P, I_n, S), P = ∏_{m<n} I_m and S = ∏_{m>n} I_m, and with it K_before (P, R) and
K_after (S, R), has the two contractions

    outer partial   AₙᵀX_p             (P, R, S), serves every mode but n,
    MTTKRP          Σ_p X_p(K_after ∘ K_before[p])   (I_n, R), is that of mode n,

each a loop over the slices X_p (I_n × S), contiguous in memory. Neither forms an array of I_n·P or
I_n·S entries a component, nor transposes X, as any two-group split would (`_partial`). The loop
would gather a sharded tensor, which never comes here (`_passes.groups`).

On an accelerator a loop over many small slices is bound by launches. There both are one matrix
product with the whole of X, of which the second is summed over the modes before n.
"""

from collections.abc import Sequence
from math import prod

import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._partial import component_first, dot, finish_left, finish_right, left
from jkr._linalg._dtypes import Precision, accumulator
from jkr._linalg._loops import scan
from jkr._linalg._small import matmul


def outer(x: Array, factors: Sequence[Array], middle: int, precision: Precision) -> Array:
    """AₙᵀX_p of every slice: (R, I_1, …, I_N) without I_n."""
    others = (*x.shape[:middle], *x.shape[middle + 1 :])

    def by_slices(x: Array, factor: Array) -> Array:
        slices = lax.map(lambda x_p: matmul(factor.T, x_p, precision), _sliced(x, middle))
        return jnp.moveaxis(slices, 1, 0)

    def whole(x: Array, factor: Array) -> Array:
        return dot(factor, _sliced(x, middle), ((0,), (1,)), precision)

    y = lax.platform_dependent(x, factors[middle], cpu=by_slices, default=whole)
    return y.reshape(-1, *others)


def finish_outer(partial: Array, factors: Sequence[Array], middle: int, mode: int) -> Array:
    """Second stage: (R, I_1, …, I_N) without I_n to (I_mode, R)."""
    others = [*factors[:middle], *factors[middle + 1 :]]
    return finish_right(partial, others, 0, mode - (mode > middle))


def inner(x: Array, factors: Sequence[Array], middle: int, precision: Precision) -> Array:
    """Σ_p X_p(K_after ∘ K_before[p]): (I_n, R)."""

    def by_slices(x: Array, factors: Sequence[Array]) -> Array:
        before, after = (
            component_first(group).reshape(group[0].shape[1], -1).T
            for group in (factors[:middle], factors[middle + 1 :])
        )

        def add(total: Array, slice_and_row: tuple[Array, Array]) -> tuple[Array, None]:
            x_p, row = slice_and_row
            return total + matmul(x_p, (after * row[None, :]).astype(x.dtype), precision), None

        zero = jnp.zeros((x.shape[middle], after.shape[1]), accumulator(x.dtype))
        return scan(add, zero, (_sliced(x, middle), before))[0]

    def whole(x: Array, factors: Sequence[Array]) -> Array:
        y = left(x, factors, middle + 1, precision)
        return finish_left(y, factors, middle + 1, middle)

    return lax.platform_dependent(x, tuple(factors), cpu=by_slices, default=whole)


def _sliced(x: Array, middle: int) -> Array:
    """(P, I_n, S)."""
    return x.reshape(prod(x.shape[:middle]), x.shape[middle], prod(x.shape[middle + 1 :]))
