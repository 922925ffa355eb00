"""The one place where an argument becomes a `Tensor`, and where is seen whether it is sharded."""

from typing import Any

import jax.numpy as jnp

from jkr import _check
from jkr._linalg._dtypes import promoted
from jkr._mesh import is_sharded
from jkr.tensors._dense import Dense
from jkr.tensors._model import Modelled
from jkr.tensors._tensor import Tensor


def as_tensor(
    name: str, tensor: Any, entry_weights: Any = None, entry_constants: Any = None
) -> Tensor:
    """A tensor of floating or complex numbers, of two modes or more, checked.

    Args:
        name: the public function.
        tensor: an array, masked ones included, a CPTensor, or a Tensor.
        entry_weights: those of an array, or None.
        entry_constants: likewise.
    """
    if isinstance(tensor, Dense):
        entry_weights = _check.once(name, "entry_weights", entry_weights, tensor.entry_weights)
        own = tensor.entry_constants
        own = None if isinstance(own, tuple) and not own else own
        entry_constants = _check.once(name, "entry_constants", entry_constants, own)
        tensor = tensor.array
    elif is_tensor(tensor):
        _check.of_array(name, "entry_weights", entry_weights, tensor)
        _check.of_array(name, "entry_constants", entry_constants, tensor)
        made = tensor if isinstance(tensor, Tensor) else _tensor_of_model(name, tensor)
        _check.tensor_shape(name, made.shape)
        made.check_one(name)
        return made
    tensor, entry_weights = _check.data_and_weights(name, tensor, entry_weights)
    x = _check.data(name, tensor)
    w = _check.weights_if_any(name, entry_weights, x.shape)
    _check.in_range(name, tensor, x, w)
    constants = _check.entry_constants(name, entry_constants, x.shape)
    return Dense(x, w, entry_constants=constants, sharded=is_sharded(x))


def is_tensor(tensor: Any) -> bool:
    """Whether an argument is a tensor without being an array."""
    return isinstance(tensor, Tensor) or (hasattr(tensor, "weights") and hasattr(tensor, "factors"))


def _tensor_of_model(name: str, model: Any) -> Modelled:
    factors, rank = _check.factors(name, model.factors)
    weights = _check.weights(name, model.weights, rank, factors[0].dtype)
    weights, *factors = promoted(*(_check.inexact(name, a) for a in (weights, *factors)))
    return Modelled(weights, tuple(factors), any(is_sharded(a) for a in factors))


def with_dtype(tensor: Tensor, dtype: Any) -> Tensor:
    """The tensor in that dtype, untouched where it has it."""
    return tensor if jnp.dtype(tensor.dtype) == jnp.dtype(dtype) else tensor.astype(dtype)
