"""Arrays and scalars: entries that are numbers, of a dtype that will do."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike

Sizes = tuple[int, ...]


def listed(items: Sequence[Any]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def array(name: str, x: ArrayLike, what: str = "an array of numbers") -> Array:
    """`x` as a JAX array; text, None, ragged lists and objects are refused."""
    if isinstance(x, np.ndarray | np.generic):
        x = _native(name, x)
    elif not isinstance(x, Array):
        dense(name, x)
        _without_masks(name, x)
    try:
        y = x if isinstance(x, Array) else _converted(x)
    except (TypeError, ValueError, OverflowError, BufferError) as error:
        raise ValueError(f"{name}: needs {what}, got {_described(x)}") from error
    if not (jnp.issubdtype(y.dtype, jnp.number) or y.dtype == bool):
        raise ValueError(f"{name}: needs {what}, got entries of dtype {y.dtype}")
    return y


def dense(name: str, x: Any) -> None:
    """No sparse array of another library, without a word on what is not stored."""
    room = type(x).__module__.split(".")[0]
    if (room in ("scipy", "sparse") and hasattr(x, "nnz")) or hasattr(x, "n_sparse"):
        raise ValueError(
            f"{name}: a {type(x).__name__} goes in as jkr.tensors.Sparse.of(x, unstored='zero'), "
            "or unstored='missing' where what is not stored was not observed"
        )


def _native(name: str, x: Any) -> Any:
    """What NumPy holds, in the byte order of this machine; what JAX has no counterpart of."""
    if np.ma.isMaskedArray(x):
        raise ValueError(
            f"{name}: a masked array goes where a tensor with missing entries may; here pass "
            "x.filled(value)"
        )
    if x.dtype.kind in "iu":
        _ints_in_range(name, x)
    if x.dtype.kind in "fc" and x.dtype.char in "gG":
        cure = "complex128" if x.dtype.kind == "c" else "float64"
        raise ValueError(f"{name}: JAX has no {x.dtype}; pass x.astype('{cure}')")
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _ints_in_range(name: str, x: Any) -> None:
    """No ints that JAX would cut to 32 bits, where it has no 64."""
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    if dtype.itemsize < x.dtype.itemsize and x.size:
        limits = np.iinfo(dtype)
        if x.max() > limits.max or x.min() < limits.min:
            raise ValueError(
                f"{name}: ints beyond the range of {dtype}: pass x.astype(float), or set "
                "jax_enable_x64"
            )


def _without_masks(name: str, x: Any) -> None:
    """No list of masked arrays, whose masks would be lost."""
    if np.ma.isMaskedArray(x):
        raise ValueError(f"{name}: masked arrays in a list lose their masks; pass np.ma.stack(x)")
    if isinstance(x, list | tuple):
        for item in x:
            if isinstance(item, list | tuple | np.ndarray):
                _without_masks(name, item)


def _described(x: Any) -> str:
    """What came in place of numbers, and how to make some of it."""
    kind = type(x).__name__
    if not isinstance(x, np.ndarray):
        return f"{kind}; pass x.astype(float)" if hasattr(x, "to_numpy") else kind
    cure = "; pass x.astype(float)" if x.dtype == object else ""
    if x.dtype.names:
        cure = f"; pass one of its fields, as x[{x.dtype.names[0]!r}]"
    return f"{kind} of dtype {x.dtype}{cure}"


def _converted(x: Any) -> Array:
    """A JAX array of what converts to one, or speaks DLPack."""
    try:
        return jnp.asarray(x)
    except TypeError:
        if not hasattr(x, "__dlpack__"):
            raise
        return jnp.from_dlpack(x)


def concrete(name: str, what: str, arrays: Any) -> None:
    """Values that are there already, which those of a transform are not."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arrays)):
        raise ValueError(f"{name}: {what} outside jit, vmap and grad only, got traced arrays")


def inexact(name: str, x: Any, what: str = "an array of numbers") -> Array:
    """`x` as a floating or complex JAX array: integers become the default float."""
    x = array(name, x, what)
    if x.dtype.itemsize < 2 and jnp.issubdtype(x.dtype, jnp.inexact):
        raise ValueError(f"{name}: needs 16 bits or more in floating-point entries, got {x.dtype}")
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


def inexact_dtype(name: str, dtype: DTypeLike | None) -> DTypeLike:
    """A floating or complex dtype; the default float where none is given."""
    try:
        dtype = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    except TypeError as error:
        raise ValueError(f"{name}: dtype needs to be floating or complex, got {dtype!r}") from error
    if not jnp.issubdtype(dtype, jnp.inexact) or dtype.itemsize < 2:
        raise ValueError(f"{name}: dtype needs to be floating or complex, got {dtype}")
    return dtype


def real(name: str, what: str, x: Array) -> Array:
    """An array without imaginary part."""
    real_dtype(name, what, x.dtype)
    return x


def real_dtype(name: str, what: str, dtype: DTypeLike) -> None:
    """A dtype without imaginary part."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        verb = "need" if what.endswith("s") else "needs"
        raise ValueError(f"{name}: {what} {verb} to be real, got {dtype}")


def scalar(name: str, what: str, x: ArrayLike, dtype: DTypeLike) -> Array | np.ndarray:
    """A real scalar, in that dtype; a Python number stays on the host."""
    not_a_boolean(name, what, x)
    if isinstance(x, int | float) and abs(x) < 1e300:
        with np.errstate(over="ignore"):
            return np.asarray(x).astype(dtype)
    y = real(name, what, array(name, x, f"{what} to be a scalar"))
    if y.shape:
        raise ValueError(f"{name}: {what} needs to be a scalar, got shape {y.shape}")
    return y.astype(dtype)


def not_a_boolean(name: str, what: str, x: Any) -> None:
    """A number, not True or False, which would count as 1 and 0."""
    if isinstance(x, bool | np.bool_):
        raise ValueError(f"{name}: {what} needs to be a number, got {x}")


def real_scalar(name: str, what: str, x: ArrayLike) -> Array:
    """A real scalar in its own floating dtype."""
    not_a_boolean(name, what, x)
    y = inexact(name, real(name, what, array(name, x)))
    if y.shape:
        raise ValueError(f"{name}: {what} needs to be a scalar, got shape {y.shape}")
    return y


def positive(name: str, what: str, x: ArrayLike) -> Array:
    """A real scalar above 0, where its value is known."""
    y = nonnegative_scalar(name, what, x)
    if not isinstance(y, Tracer) and float(y) == 0:
        raise ValueError(f"{name}: {what} needs to be above 0, got {float(y)}")
    return y


def nonnegative_scalar(name: str, what: str, x: ArrayLike) -> Array:
    """A finite real scalar of at least 0 in its own floating dtype; as `at_least_zero`."""
    return _nonnegative(name, what, real_scalar(name, what, x))


def at_least_zero(name: str, what: str, x: ArrayLike, dtype: DTypeLike) -> Array | np.ndarray:
    """A finite real scalar of at least 0 in that dtype; a traced one below 0 is NaN."""
    return _nonnegative(name, what, scalar(name, what, x, dtype))


def _nonnegative(name: str, what: str, y: Any) -> Any:
    if isinstance(y, Tracer):
        return jnp.where(y >= 0, y, jnp.nan)
    if not 0 <= float(y) < float("inf"):
        raise ValueError(f"{name}: {what} needs to be finite and nonnegative, got {float(y)}")
    return y


def real_vector(name: str, what: str, x: ArrayLike, least: int) -> Array:
    """A real floating vector of at least that many entries."""
    y = inexact(name, real(name, what, array(name, x, "vectors of numbers")))
    if y.ndim != 1 or y.shape[0] < least:
        a = f"{what} need to be a vector" if what.endswith("s") else f"{what} needs to be a vector"
        more = f" of {least} entries or more" if least else ""
        raise ValueError(f"{name}: {a}{more}, got shape {y.shape}")
    return y


def not_falling(name: str, what: str, x: Array) -> None:
    """A vector whose entries do not fall, where its values are known."""
    if not isinstance(x, Tracer) and not np.all(np.diff(np.asarray(x)) >= 0):
        raise ValueError(f"{name}: {what} need to be increasing, got {np.asarray(x).tolist()}")


def in_order(name: str, low: Array, high: Array) -> None:
    """Two ends of an interval, where their values are known."""
    if isinstance(low, Tracer) or isinstance(high, Tracer):
        return
    if not -np.inf < float(low) < float(high) < np.inf:
        raise ValueError(f"{name}: low needs to be below high, got {float(low)} and {float(high)}")


def not_negative(name: str, what: str, arrays: Sequence[Array]) -> None:
    """Arrays without negative entries, where their values are known."""
    known = [a for a in arrays if not isinstance(a, Tracer)]
    if any(np.any(np.asarray(a) < 0) for a in known):
        raise ValueError(f"{name}: {what} need to be nonnegative")
