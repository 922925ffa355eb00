"""The two partial contractions of a tensor with Khatri–Rao products, and their second stage.

All that touches a whole tensor in this library goes through `left` and `right` (but for a long
mode between short ones, `_slices`): one matrix product each, X in its own memory order and never
unfolded or transposed. Khatri–Rao products are formed of one group of modes only, component first,
(R, I_1, …): that is the order in which both products run at the speed of a bare matrix product. On
an accelerator the product may be of fewer modes, and the rest of the group summed after it
(`_split.product_ends`): what comes out is the same, so only these two functions know of it. The
contracted modes stay separate axes, so that a sharded mode stays sharded. (Derivatives of the right
product do merge modes, see `_right_product_jvp`; there a tensor that is sharded along another mode
than the first of its group may be redistributed.)

float16 and bfloat16 data are multiplied as they are and accumulated in float32. The right product
with a tiny tensor is multiplied and summed: in a batch of them (hundreds of fits under `vmap`) the
matrix-product routine of a CPU, called once for each, takes twice the time.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from math import prod

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._split import QUICK, are_numbers, best_split, product_ends
from jkr._linalg._dtypes import Precision, accumulator, full
from jkr._linalg._tangents import is_zero

_TINY = 1 << 15  # multiplications


def component_first(factors: Sequence[Array]) -> Array:
    """Khatri–Rao product of one group, (R, I_1, …, I_k), in the accumulator's dtype."""
    columns = [a.T.astype(accumulator(a.dtype)) for a in factors]
    return reduce(lambda k, a: k[..., None] * jnp.expand_dims(a, range(1, k.ndim)), columns)


def left(x: Array, factors: Sequence[Array], s: int, precision: Precision) -> Array:
    """X · K_right: (I_1, …, I_s, R)."""

    def from_mode(t: int, x: Array, *group: Array) -> Array:
        k = component_first(group[t - s :]).astype(x.dtype)
        y = dot(x, k, (tuple(range(t, x.ndim)), tuple(range(1, k.ndim))), precision)
        return _reduced(y, {n: group[n - s] for n in range(s, t)}, -1)

    t = product_ends(x.shape, s)
    return _by_platform(t == s, partial(from_mode, s), partial(from_mode, t), x, *factors[s:])


def right(
    x: Array, factors: Sequence[Array], s: int, precision: Precision, *, sharded: bool = False
) -> Array:
    """K_leftᵀ · X: (R, I_{s+1}, …, I_N)."""

    def to_mode(t: int, x: Array, *group: Array) -> Array:
        k = component_first(group[:t]).astype(x.dtype)
        y = _right_product(k, x, precision, sharded)
        return _reduced(y, {1 + n - t: group[n] for n in range(t, s)}, 0)

    t = x.ndim - product_ends(x.shape[::-1], x.ndim - s)
    return _by_platform(t == s, partial(to_mode, s), partial(to_mode, t), x, *factors[:s])


def _by_platform(same: bool, on_cpu: Callable, elsewhere: Callable, *args: Array) -> Array:
    """By the platform that a program is compiled for, which need not be the one it is made on."""
    if same:
        return on_cpu(*args)
    return lax.platform_dependent(*args, cpu=on_cpu, default=elsewhere)


def _reduced(y: Array, factors: Mapping[int, Array], components: int) -> Array:
    """Y multiplied with factors along its axes and summed: one fused pass an axis.

    A product would first transpose what has its components last.
    """
    for axis in sorted(factors, reverse=True):
        a = factors[axis].astype(y.dtype)
        along = [1] * y.ndim
        along[axis], along[components] = a.shape
        a = a.T if components == 0 else a
        y = _in_order(jnp.sum(y * a.reshape(along), axis=axis, dtype=y.dtype), y)
    return y


def _in_order(y: Array, whole: Array) -> Array:
    """What a large array was summed to, in its own memory order.

    Where what follows would like another order XLA transposes the large array, not the small one.
    """
    if not are_numbers(whole.shape) or whole.size <= QUICK:
        return y
    return lax.optimization_barrier(y.ravel()).reshape(y.shape)


def plain_right_product(k: Array, x: Array, precision: Precision, sharded: bool) -> Array:
    """The product of `right`, without its rule."""
    s = k.ndim - 1
    if are_numbers(x.shape) and k.shape[0] * x.size <= _TINY and not sharded:
        rows = prod(x.shape[:s])
        wide = x.astype(accumulator(x.dtype)).reshape(1, rows, -1)
        y = jnp.sum(k.astype(wide.dtype).reshape(k.shape[0], rows, 1) * wide, axis=1)
        return y.reshape(k.shape[0], *x.shape[s:])
    if accumulator(x.dtype) != x.dtype and not sharded:
        # XLA has no product of bfloat16 for a CPU where several axes of X are left.
        return _as_matrices(k, x, precision)
    return dot(k, x, (tuple(range(1, s + 1)), tuple(range(s))), precision)


def _as_matrices(k: Array, x: Array, precision: Precision) -> Array:
    """The same product of k as an R×L and X as an L×M matrix."""
    s = k.ndim - 1
    rows, columns = prod(x.shape[:s]), prod(x.shape[s:])
    y = dot(k.reshape(k.shape[0], rows), x.reshape(rows, columns), ((1,), (0,)), precision)
    return y.reshape(k.shape[0], *x.shape[s:])


_right_product = jax.custom_jvp(plain_right_product, nondiff_argnums=(2, 3))


@partial(_right_product.defjvp, symbolic_zeros=True)
def _right_product_jvp(precision, sharded, primals, tangents):
    """The same product with either operand's tangent, on X as an L×M matrix (R2).

    Ẏ = k̇ X + k Ẋ; transposed, k̄ = Ȳ Xᵀ and X̄ = kᵀ Ȳ; saved are k and X. The first multiplies a
    cotangent (R, M) with X (L, M): a product that copies X, transposed, on a CPU where M is
    several axes, and does not where it is one.
    """
    k, x = primals
    dk, dx = tangents
    y = _right_product(k, x, precision, sharded)
    terms = [] if is_zero(dk) else [_as_matrices(dk, x, precision)]
    terms += [] if is_zero(dx) else [_as_matrices(k, dx, precision)]
    return y, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(y)


def finish_left(y: Array, factors: Sequence[Array], s: int, mode: int) -> Array:
    """Second stage: (I_1, …, I_s, R) to (I_mode, R)."""
    return _reduced(y, {m: factors[m] for m in range(s) if m != mode}, -1)


def finish_right(y: Array, factors: Sequence[Array], s: int, mode: int) -> Array:
    """Second stage: (R, I_{s+1}, …, I_N) to (I_mode, R)."""
    for m in reversed(range(s, len(factors))):
        if m != mode:
            columns = factors[m].T.astype(y.dtype)
            contracted, components = ((m - s + 1,), (1,)), ((0,), (0,))
            summed = lax.dot_general(y, columns, (contracted, components), precision="highest")
            y = _in_order(summed, y)
    # Where nothing was left to contract, XLA would fold the transpose into the large product.
    return lax.optimization_barrier(y).T


def reconstruct(factors: Sequence[Array], precision: Precision) -> Array:
    """⟦A_1, …, A_N⟧ = K_left K_rightᵀ, one matrix product of the two groups' products (J4)."""
    dtype = factors[0].dtype
    if len(factors) == 1:
        return jnp.sum(factors[0].astype(accumulator(dtype)), axis=1).astype(dtype)
    s = best_split([a.shape[0] for a in factors])
    k_left, k_right = (component_first(g).astype(dtype) for g in (factors[:s], factors[s:]))
    return dot(k_left, k_right, ((0,), (0,)), precision).astype(dtype)


def dot(
    a: Array, b: Array, contracted: tuple[tuple[int, ...], tuple[int, ...]], precision: Precision
) -> Array:
    """A product of arrays, in the accumulator's dtype."""
    return lax.dot_general(
        a,
        b,
        (contracted, ((), ())),
        precision=full(precision),
        preferred_element_type=accumulator(a.dtype),
    )
