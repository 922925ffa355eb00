"""Where a fit begins: random factors, or a model that the user gives."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jkr import _check
from jkr.cp._model import CPTensor


def random(
    key: Array, shape: Sequence[int], rank: int, *, dtype: DTypeLike | None = None
) -> CPTensor:
    """A CP tensor with standard normal factors and weights of one.

    Args:
        key: a `jax.random.key`.
        shape: (I_1, …, I_N).
        rank: R.
        dtype: of the weights and factors; the default float if not given. Complex factors have
            independent real and imaginary parts, of variance 1/2 each.

    Returns:
        CPTensor of that shape and rank.

    Raises:
        ValueError: rank below 1, a negative dimension, a dtype that is not floating or complex.

    Example:
        >>> import jax, jkr
        >>> jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full().shape
        (4, 5, 6)
    """
    key = _check.key("cp.random", key)
    dims = _check.sizes("cp.random", shape)
    rank = _check.rank("cp.random", rank)
    dtype = _check.inexact_dtype("cp.random", dtype)
    keys = jax.random.split(key, max(len(dims), 1))
    factors = tuple(
        jax.random.normal(k, (n, rank), dtype) for k, n in zip(keys, dims, strict=False)
    )
    return CPTensor(jnp.ones(rank, dtype), factors)


def start(name: str, init: str | CPTensor, key: Array | None, tensor: Array, rank: int) -> CPTensor:
    """The start of a fit: of the tensor's shape and dtype, weights of one."""
    if not isinstance(init, str):
        return _given(name, init, tensor, rank)
    if init != "random":
        raise ValueError(f"{name}: init needs to be 'random' or a CPTensor, got {init!r}")
    if key is None:
        raise ValueError(
            f"{name}: a random start needs a key: pass key=jax.random.key(0), or a CPTensor as init"
        )
    return random(_check.key(name, key), tensor.shape, rank, dtype=tensor.dtype)


def _given(name: str, init: CPTensor, tensor: Array, rank: int) -> CPTensor:
    """The user's model, its weights absorbed into the last mode."""
    factors, weights = _check.model(name, init, tensor.shape, rank, tensor.dtype)
    return CPTensor(jnp.ones_like(weights), (*factors[:-1], factors[-1] * weights[None, :]))
