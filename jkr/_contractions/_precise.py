"""Precision: the dtypes of operands and of sums, and small matrix products without loss of digits.

Grams and solves lose digits by squaring already.
Matrix units that round float32 operands (TF32, bfloat16 passes) are asked not to; float16 and
bfloat16 operands are accumulated in float32 and the result stays so. Tiny ones are multiplied and
summed, one fused loop: a batch of tiny products (hundreds of fits of rank 4 under `vmap`) would
call the matrix-product routine once for each.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

_TINY = 2048  # multiplications


def accumulator(dtype: DTypeLike) -> DTypeLike:
    """The dtype in which sums of this dtype are taken."""
    return jnp.float32 if dtype in (jnp.float16, jnp.bfloat16) else dtype


def promoted(*arrays: Array) -> list[Array]:
    """The operands of one product in their common dtype (under JAX's promotion setting)."""
    dtype = jnp.result_type(*arrays)
    return [a.astype(dtype) for a in arrays]


def with_weights(w: Array, arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
    """Real weights, and arrays that may be complex, in one precision, whatever the setting."""
    arrays = promoted(*arrays)
    real = jnp.promote_types(w.dtype, arrays[0].real.dtype)
    dtype = real
    if jnp.iscomplexobj(arrays[0]):
        dtype = jnp.complex128 if real == jnp.float64 else jnp.complex64
    return w.astype(real), [a.astype(dtype) for a in arrays]


def matmul(a: Array, b: Array, precision: lax.PrecisionLike = lax.Precision.HIGHEST) -> Array:
    """A B, in the accumulator's dtype."""
    if a.ndim > 1 and b.ndim > 1 and a.shape[-2] * a.shape[-1] * b.shape[-1] <= _TINY:
        wide = accumulator(a.dtype)
        return jnp.sum(a[..., :, :, None].astype(wide) * b[..., None, :, :].astype(wide), axis=-2)
    return jnp.matmul(a, b, precision=precision, preferred_element_type=accumulator(a.dtype))


def gram(a: Array, b: Array) -> Array:
    """Aᴴ B, in the accumulator's dtype."""
    return matmul(a.mT.conj(), b)
