"""Small matrix products in full precision: Grams and solves lose digits by squaring already.

Matrix units that round float32 operands (TF32, bfloat16 passes) are asked not to; float16 and
bfloat16 operands are accumulated in float32 and the result stays so. Tiny ones are multiplied and
summed, one fused loop: a batch of tiny products (hundreds of fits of rank 4 under `vmap`) would
call the matrix-product routine once for each.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

_TINY = 2048  # multiplications


def accumulator(dtype: DTypeLike) -> DTypeLike:
    """The dtype in which sums of this dtype are taken."""
    return jnp.float32 if dtype in (jnp.float16, jnp.bfloat16) else dtype


def matmul(a: Array, b: Array, precision: lax.PrecisionLike = lax.Precision.HIGHEST) -> Array:
    """A B, in the accumulator's dtype."""
    if a.ndim > 1 and b.ndim > 1 and a.shape[-2] * a.shape[-1] * b.shape[-1] <= _TINY:
        wide = accumulator(a.dtype)
        return jnp.sum(a[..., :, :, None].astype(wide) * b[..., None, :, :].astype(wide), axis=-2)
    return jnp.matmul(a, b, precision=precision, preferred_element_type=accumulator(a.dtype))


def gram(a: Array, b: Array) -> Array:
    """Aᴴ B, in the accumulator's dtype."""
    return matmul(a.mT.conj(), b)
