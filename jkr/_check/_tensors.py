"""Tensors, their modes and entry weights; the bases and penalties of array models."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from jkr._check._arrays import Sizes, array, inexact, listed, real
from jkr._check._matrices import sequence
from jkr._check._options import index, sizes


def tensor(name: str, x: Any, *, order: int = 1) -> Array:
    """A tensor of at least that order."""
    t = array(name, x, "a tensor of numbers")
    if t.ndim < order:
        raise ValueError(f"{name}: the tensor needs order {order} or more, got shape {t.shape}")
    return t


def mode(name: str, mode: int, order: int) -> int:
    """A mode of a tensor of that order, counted from 0; negative ones count from the end."""
    try:
        n = index(mode)
    except TypeError as error:
        raise ValueError(f"{name}: mode needs to be an int, got {mode!r}") from error
    if not -order <= n < order:
        raise ValueError(f"{name}: mode {n} is out of range for a tensor of order {order}")
    return n % order


def modes(name: str, what: str, value: Any, order: int) -> tuple[int, ...]:
    """Modes named by a boolean (all or none), an int or several; sorted, each once."""
    if isinstance(value, bool | np.bool_):
        return tuple(range(order)) if value else ()
    value = value.tolist() if isinstance(value, np.ndarray) else value
    several: Any = value if isinstance(value, list | tuple | set | frozenset | range) else (value,)
    try:
        named = {mode(name, m, order) for m in several}
    except ValueError as error:
        raise ValueError(f"{name}: {what} needs modes of the tensor, got {value!r}") from error
    return tuple(sorted(named))


def unfolding(
    name: str, matrix: ArrayLike, n: int, shape: Sequence[int]
) -> tuple[Array, int, Sizes]:
    """A mode-n unfolding, its mode counted from 0, and the shape of the tensor it came from."""
    m, dims = array(name, matrix, "a matrix of numbers"), sizes(name, shape)
    n = mode(name, n, len(dims))
    rows, columns = dims[n], prod(dims[:n] + dims[n + 1 :])
    if m.shape != (rows, columns):
        raise ValueError(
            f"{name}: the mode-{n} unfolding of a tensor of shape {dims} is "
            f"({rows}, {columns}), got {m.shape}"
        )
    return m, n, dims


def data(name: str, x: ArrayLike) -> Array:
    """A tensor to be fitted: floating or complex, order 2 or more, no empty mode."""
    with np.errstate(over="ignore"):  # `in_range` says it
        t = inexact(name, tensor(name, x, order=2))
    tensor_shape(name, t.shape)
    return t


def tensor_shape(name: str, shape: Sizes) -> None:
    """Modes of a tensor to be fitted: two or more, none of them empty."""
    if len(shape) < 2:
        raise ValueError(f"{name}: the tensor needs order 2 or more, got shape {shape}")
    if 0 in shape:
        raise ValueError(f"{name}: the tensor has an empty mode, got shape {shape}")


def in_range(name: str, x: Any, t: Array, weights: Array | None) -> None:
    """The data as they came, and as JAX has them: within the range of a narrower dtype."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fc" or x.dtype == t.dtype:
        return
    if isinstance(weights, Tracer):  # which entries count is not known yet
        return
    there = np.isfinite(x) if weights is None else np.isfinite(x) & np.asarray(weights != 0)
    largest, limits = np.max(np.abs(x), initial=0, where=there), np.finfo(t.dtype)
    if largest > limits.max or 0 < largest < limits.tiny:
        raise ValueError(
            f"{name}: entries up to {largest:.3g} are beyond the range of {t.dtype}: scale the "
            "tensor, or set jax_enable_x64"
        )


def entry_weights(name: str, weights: ArrayLike, shape: Sizes) -> Array:
    """Real weights of a tensor's entries, of its shape, or such as broadcast to it."""
    return _of_entries(name, "entry_weights", weights, shape)


def entry_constants(name: str, constants: Any, shape: Sizes) -> tuple[Array, ...]:
    """Real floating constants of a tensor's entries: none, one, or a tuple of them."""
    if constants is None:
        return ()
    several = constants if isinstance(constants, tuple) else (constants,)
    what = "entry_constants"
    return tuple(inexact(name, _of_entries(name, what, c, shape)) for c in several)


def _of_entries(name: str, what: str, x: ArrayLike, shape: Sizes) -> Array:
    y = real(name, what, array(name, x, f"{what} of numbers"))
    if y.shape == shape:
        return y
    try:
        broadcast = jnp.broadcast_shapes(y.shape, shape)
    except ValueError:
        broadcast = None
    if broadcast != shape:
        raise ValueError(
            f"{name}: {what} need the shape of the tensor, or one that broadcasts to it, "
            f"got {y.shape} for {shape}"
        )
    return jnp.broadcast_to(y, shape)


def data_and_weights(name: str, x: Any, weights: Any) -> tuple[Any, Any]:
    """A NumPy masked array as plain data, and entry weights that are zero where it is masked."""
    if not np.ma.isMaskedArray(x):
        return x, weights
    seen = ~np.ma.getmaskarray(x)
    if weights is not None:
        weights = entry_weights(name, weights, x.shape)
        seen = jnp.where(seen, weights, jnp.zeros_like(weights))
    elif seen.all():
        return x.data, None
    return x.filled(0), seen


def weights_if_any(name: str, weights: ArrayLike | None, shape: Sizes) -> Array | None:
    """Entry weights, or None."""
    return None if weights is None else entry_weights(name, weights, shape)


def once(name: str, what: str, given: Any, own: Any) -> Any:
    """Entry weights, or constants, beside a tensor or its own."""
    if given is not None and own is not None:
        raise ValueError(
            f"{name}: {what} beside a tensor that has {what.replace('_', ' ')} of its own; give "
            "them once"
        )
    return own if given is None else given


def of_array(name: str, what: str, given: Any, x: Any) -> None:
    """No entry weights, or constants, beside what is no array."""
    if given is not None:
        raise ValueError(f"{name}: {what} go with an array, got a {type(x).__name__}")


def same_shape(name: str, a: Sizes, b: Sizes) -> None:
    """Two tensors of one shape."""
    if a != b:
        raise ValueError(f"{name}: both tensors need the same shape, got {a} and {b}")


def without_entry_weights(name: str, *, uniform: bool) -> None:
    """A tensor whose entries all weigh the same."""
    if not uniform:
        raise ValueError(f"{name}: takes no entry weights; cp.nls fits such a tensor as it is")


def bases(
    name: str, ms: Sequence[ArrayLike], what: str = "bases"
) -> tuple[list[Array], Sizes, Sizes]:
    """Matrices (I_n, J_n), one a mode, floating or complex, with (I_1, …) and (J_1, …)."""
    arrays = [inexact(name, m) for m in sequence(name, ms, what)]
    shapes = [m.shape for m in arrays]
    if not arrays or any(len(s) != 2 for s in shapes):
        raise ValueError(
            f"{name}: {what} need to be matrices, one for each mode, got {listed(shapes) or 'none'}"
        )
    return arrays, tuple(s[0] for s in shapes), tuple(s[1] for s in shapes)


def penalties(name: str, ms: Sequence[ArrayLike], columns: Sizes) -> list[Array]:
    """Square matrices, one for each basis, of as many rows as that has columns."""
    arrays, rows, others = bases(name, ms, "penalties")
    if rows != columns or others != columns:
        raise ValueError(
            f"{name}: penalties need to be square, one for each basis with {listed(columns)} "
            f"columns, got {listed([m.shape for m in arrays])}"
        )
    return arrays


def array_of(name: str, what: str, x: Array, shape: Sizes) -> Array:
    """An array of the shape that the bases of a model say."""
    if x.shape != shape:
        verb = "need" if what.endswith("s") else "needs"
        raise ValueError(f"{name}: {what} {verb} shape {shape}, as the bases say, got {x.shape}")
    return x


def smoothing(name: str, x: ArrayLike, order: int) -> Array:
    """Real smoothing parameters, one a mode."""
    y = inexact(name, real(name, "smoothing", array(name, x, "smoothing parameters")))
    if y.shape != (order,):
        raise ValueError(
            f"{name}: smoothing needs one parameter for each of the {order} modes, got {y.shape}"
        )
    return y
