"""Random CP models, all their factors from one draw: a program with one is compiled sooner."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from jkr import _check
from jkr._mesh import any_mesh
from jkr.cp._model._cptensor import CPTensor


@any_mesh
def random(
    key: Array, shape: Sequence[int], rank: int, *, dtype: DTypeLike | None = None
) -> CPTensor:
    """A CP tensor with standard normal factors and weights of one.

    Args:
        key: a `jax.random.key`.
        shape: (I_1, …, I_N).
        rank: R.
        dtype: of the weights (R,) and factors (I_n, R); the default float if not given. Complex
            factors have independent real and imaginary parts, of variance 1/2 each.

    Returns:
        CPTensor of that shape and rank.

    Raises:
        ValueError: a key that is not one; a shape that is no sequence of ints of at least 0; rank
            below 1 or no int; a dtype that is not floating or complex.

    Example:
        >>> import jax, jkr
        >>> jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full().shape
        (4, 5, 6)

    Source: [KB09], section 3 (the model).
    """
    key = _check.key("cp.random", key)
    dims = _check.sizes("cp.random", shape)
    rank = _check.rank("cp.random", rank)
    dtype = _check.inexact_dtype("cp.random", dtype)
    return _cut(jax.random.normal(key, (sum(dims), rank), dtype), dims)


def uniform(key: Array, shape: Sequence[int], rank: int, *, dtype: DTypeLike) -> CPTensor:
    """The same, uniform on [0, 1); of complex factors, real and imaginary parts each."""
    parts = 2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1
    real = jnp.zeros((), dtype).real.dtype
    draw = jax.random.uniform(key, (parts, sum(shape), rank), real)
    return _cut(lax.complex(draw[0], draw[1]) if parts == 2 else draw[0], shape)


def _cut(rows: Array, dims: Sequence[int]) -> CPTensor:
    """A model of all factors' rows, one below the other.

    The product with the identity changes no number. XLA fuses nothing into a product, where it
    would compile the polynomial of a normal draw anew for every use of every factor.
    """
    rows = jnp.matmul(rows, jnp.eye(rows.shape[1], dtype=rows.dtype), precision="highest")
    ends = [sum(dims[: n + 1]) for n in range(len(dims))]
    factors = tuple(rows[end - dim : end] for dim, end in zip(dims, ends, strict=True))
    return CPTensor(jnp.ones(rows.shape[1], rows.dtype), factors)
