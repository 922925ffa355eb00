"""The dtypes of operands, and of the sums over them: float16 and bfloat16 are summed in float32."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

Precision = lax.PrecisionLike  # of a product with the tensor


def full(precision: Precision) -> Precision:
    """All digits of the operands, on every platform, unless less was asked for.

    Left to itself a matrix unit may round float32 operands: to TF32, or to passes of bfloat16.
    """
    return lax.Precision.HIGHEST if precision is None else precision


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
