"""Small matrix products in full precision: Grams and solves lose digits by squaring already.

Matrix units that round float32 operands (TF32, bfloat16 passes) are asked not to; float16 and
bfloat16 operands are accumulated in float32 and the result stays so.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike


def accumulator(dtype: DTypeLike) -> DTypeLike:
    """The dtype in which sums of this dtype are taken."""
    return jnp.float32 if dtype in (jnp.float16, jnp.bfloat16) else dtype


def matmul(a: Array, b: Array, precision: lax.PrecisionLike = lax.Precision.HIGHEST) -> Array:
    """A B, in the accumulator's dtype."""
    return jnp.matmul(a, b, precision=precision, preferred_element_type=accumulator(a.dtype))


def gram(a: Array, b: Array) -> Array:
    """Aᴴ B, in the accumulator's dtype."""
    return matmul(a.mT.conj(), b)
