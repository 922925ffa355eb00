"""What the functions about a fit take alike: the tensor, its entry weights, options, a penalty."""

from collections.abc import Sequence
from math import inf
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike

from jkr import _check
from jkr._linalg._dtypes import Precision
from jkr.cp._data import Options
from jkr.cp._result import BAD_DATA, BAD_WEIGHTS, MESSAGES
from jkr.cp.losses import Loss, gaussian


def checked_arguments(
    name: str,
    tensor: ArrayLike,
    entry_weights: ArrayLike | None,
    nonnegative: bool | Sequence[int],
    fixed_modes: int | Sequence[int],
    precision: Precision,
) -> tuple[Array, Array | None, Options]:
    """The tensor, the entry weights if there are any, and the static options."""
    x = _check.data(name, tensor)
    w = None
    if entry_weights is not None:
        w = _check.entry_weights(name, entry_weights, x.shape)
    _check.in_range(name, tensor, x, w)
    positive = _check.modes(name, "nonnegative", nonnegative, x.ndim)
    if positive and jnp.iscomplexobj(x):
        raise ValueError(f"{name}: nonnegative factors need a real tensor, got {x.dtype}")
    fixed = _check.modes(name, "fixed_modes", fixed_modes, x.ndim)
    free = tuple(n for n in range(x.ndim) if n not in fixed)
    if not free:
        raise ValueError(f"{name}: at least one mode needs to be free, got fixed_modes {fixed}")
    return x, w, Options(positive, free, precision)


def checked_l2(name: str, l2: ArrayLike, dtype: DTypeLike) -> ArrayLike:
    """l2 in that dtype, nonnegative and finite where its value is known."""
    value = _check.scalar(name, "l2", l2, dtype)
    if not isinstance(value, Tracer) and not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name}: l2 needs to be finite and nonnegative, got {float(value)}")
    return value


def refuse_bad_data(name: str, status: Array, loss: Loss = gaussian) -> None:
    """Raise where data were measured and found bad; under a transform nothing is known yet."""
    if isinstance(status, Tracer):
        return
    worst = int(np.max(status))
    if worst == BAD_DATA and (loss.low, loss.high) != (-inf, inf):
        raise ValueError(
            f"{name}: {MESSAGES[worst]}; {loss.name} takes data from {loss.low:g} to {loss.high:g}"
        )
    if worst in (BAD_DATA, BAD_WEIGHTS):
        raise ValueError(f"{name}: {MESSAGES[worst]}")


def driving(name: str, arrays: Any, progress: bool, callback: Any) -> dict[str, Any] | None:
    """How a fit is driven from Python, or None where it is not."""
    if not progress and callback is None:
        return None
    if callback is not None:
        _check.function(name, "callback", callback)
    _check.concrete(name, "progress and callback work", arrays)
    return {"progress": progress, "callback": callback}


def refuse_unheld(name: str, kind: str, options: Options, order: int) -> None:
    """Raise where factors are to stay that nobody gave."""
    if kind != "given" and len(options.free) < order:
        raise ValueError(f"{name}: fixed_modes need init to be a CPTensor that holds their factors")
