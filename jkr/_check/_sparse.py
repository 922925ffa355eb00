"""Scattered entries: their indices, values, and what is meant by all others."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from jkr._check._arrays import Sizes, array, inexact, real
from jkr._check._options import sizes

_MOST = 2**31 - 1  # of what 32-bit indices count


def unstored(name: str, value: Any) -> Literal["zero", "missing"]:
    """'zero' or 'missing', as it was given."""
    if not isinstance(value, str) or value not in ("zero", "missing"):
        raise ValueError(
            f"{name}: unstored needs to say what entries are that are not stored: 'zero' (counts, "
            "links: they are data, and zero) or 'missing' (ratings, samples: they were not "
            f"observed, and count for nothing), got {value!r}"
        )
    return value


def sparse_shape(name: str, shape: Any) -> Sizes:
    """The shape of a sparse tensor: two modes or more, none of them empty."""
    dims = sizes(name, shape)
    if len(dims) < 2 or min(dims) < 1 or max(dims) > _MOST:
        raise ValueError(
            f"{name}: shape needs two sizes or more, each from 1 to {_MOST}, got {dims}"
        )
    return dims


def stored_indices(name: str, given: Any, shape: Sizes) -> np.ndarray:
    """Indices of stored entries (nnz, N), on the host, all within the shape."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(given)):
        raise ValueError(
            f"{name}: indices need to be known when the tensor is made; values may be traced: make "
            "it outside jit, and use with_values inside"
        )
    try:
        found = np.asarray(given)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"{name}: indices need to be a matrix, got rows that differ") from error
    if found.ndim != 2 or found.shape[1] != len(shape):
        raise ValueError(
            f"{name}: indices need one row for each stored entry and one column for each of the "
            f"{len(shape)} modes, got shape {found.shape}"
        )
    if found.dtype.kind not in "iu":
        raise ValueError(f"{name}: indices need to be integers, got {found.dtype}")
    if not 1 <= len(found) <= _MOST:
        raise ValueError(f"{name}: needs from 1 to {_MOST} stored entries, got {len(found)}")
    outside = [(column < 0) | (column >= n) for column, n in zip(found.T, shape, strict=True)]
    _refuse_first(
        name, np.any(outside, axis=0), f"indices need to be from 0 and below {shape}", found
    )
    return found.astype(np.int32)


def indices_of_entries(name: str, given: Any, shape: Sizes) -> Array:
    """Indices (..., N), none of them negative, within the shape where they are known."""
    found = array(name, given, "indices of numbers")
    if (
        not jnp.issubdtype(found.dtype, jnp.integer)
        or found.ndim < 1
        or found.shape[-1] != len(shape)
    ):
        raise ValueError(
            f"{name}: indices need to be integers, {len(shape)} for each entry, one a mode, got "
            f"{found.dtype} {found.shape}"
        )
    if not isinstance(found, Tracer):  # as they were given: 64 bits may not outlast what follows
        known = np.asarray(given).reshape(-1, len(shape))
        outside = np.any((known < -np.asarray(shape)) | (known >= np.asarray(shape)), axis=1)
        _refuse_first(name, outside, f"indices need to be within {shape}", known)
    # A cast to 32 bits would wrap around: clip first.
    limits = jnp.iinfo(found.dtype)
    low, high = max(limits.min, -_MOST), min(limits.max, _MOST)
    found = jnp.clip(found, low, high).astype(jnp.int32)
    sizes = jnp.broadcast_to(jnp.asarray(shape, jnp.int32), found.shape)
    from_start = jnp.where(found < 0, found + sizes, found)
    return jnp.clip(from_start, 0, sizes - 1)


def stored(name: str, what: str, given: Any, count: int) -> Array:
    """Numbers of the stored entries, (nnz,)."""
    y = inexact(name, array(name, given, f"{what} of numbers"))
    if y.shape != (count,):
        raise ValueError(
            f"{name}: {what} need one number for each of the {count} stored entries, got shape "
            f"{y.shape}"
        )
    return y


def one_tensor(name: str, values: Sizes, indices: Sizes) -> None:
    """Values and indices of one sparse tensor."""
    if len(values) != 1 or len(indices) != 1:
        raise ValueError(
            f"{name}: needs one sparse tensor, got a batch with values of shape {values}: use it "
            "inside vmap"
        )


def finite_values(name: str, values: Array, weights: Array | None, what: str = "values") -> None:
    """Values that are numbers, where they count."""
    if isinstance(values, Tracer) or isinstance(weights, Tracer):
        return
    bad = ~np.isfinite(np.asarray(values))
    if weights is not None:
        bad &= np.asarray(weights) != 0
    _refuse_first(name, bad, f"{what} need to be finite", np.asarray(values))


def weights_of_stored(name: str, given: Any, count: int) -> Array:
    """Real weights ≥ 0 of the stored entries."""
    y = real(name, "entry_weights", stored(name, "entry_weights", given, count))
    if not isinstance(y, Tracer):
        bad = ~(np.isfinite(np.asarray(y)) & (np.asarray(y) >= 0))
        _refuse_first(name, bad, "entry_weights need to be finite and nonnegative", np.asarray(y))
    return y


def without_duplicates(name: str, group: np.ndarray, order: np.ndarray, found: np.ndarray) -> None:
    """Entries that are stored once."""
    again = np.flatnonzero(group[1:] == group[:-1])
    if again.size:
        first, second = (int(order[again[0] + k]) for k in (0, 1))
        where = tuple(map(int, found[group[again[0]]]))
        raise ValueError(
            f"{name}: entries that are observed need to be stored once, and entries {first} and "
            f"{second} are both at {where}"
        )


def few_enough(name: str, shape: Sequence[int], most: int, why: str) -> None:
    """A tensor small enough for a pass over all of its entries, zeros included."""
    if prod(shape) > most:
        raise ValueError(
            f"{name}: {why}, so that each of the {prod(shape):.2g} entries of {tuple(shape)} "
            f"would be visited in every pass, and at most {most:.2g} are; losses that know their "
            "value at zero (at_zero: gaussian, poisson) visit stored entries only"
        )


def few_zeros(name: str, shape: Sequence[int], most: int) -> None:
    """Zeros that are not stored, and few enough to be drawn."""
    if prod(shape) > most:
        raise ValueError(
            f"{name}: draws zeros that are not stored, too, of tensors of up to {most:.2g} "
            f"entries, got {prod(shape):.2g} of {tuple(shape)}; make it with unstored='missing' to "
            "draw the stored ones alone"
        )


def few_chunks(name: str, places: int) -> None:
    """As many places for entries, padding included, as 32 bits count."""
    if places > _MOST:
        raise ValueError(f"{name}: takes up to {_MOST} entries with their padding, got {places}")


def stored_entries(name: str, x: Any, unstored: str) -> tuple[Any, Any, Sizes]:
    """Indices, values and shape of what another library holds, or of a dense array."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(x)):
        raise ValueError(
            f"{name}: where entries are needs to be known: make the tensor outside jit, and use "
            "with_values inside"
        )
    for known in ("to_bcoo", "to_coo", "tocoo"):  # what is no list of entries, as one
        if hasattr(x, known):
            x = getattr(x, known)()
    if hasattr(x, "n_sparse"):  # BCOO
        if x.n_batch or x.n_dense:
            raise ValueError(
                f"{name}: needs a BCOO whose dimensions are all sparse, got {x.n_batch} batch and "
                f"{x.n_dense} dense ones"
            )
        inside = np.all(np.asarray(x.indices) < np.asarray(x.shape), axis=1)  # others are padding
        return np.asarray(x.indices)[inside], x.data[inside], x.shape
    if hasattr(x, "indptr"):  # CSR and CSC of JAX
        raise ValueError(
            f"{name}: takes no {type(x).__name__} of JAX: pass scipy.sparse."
            f"{type(x).__name__.lower()}_array((x.data, x.indices, x.indptr), shape=x.shape)"
        )
    if hasattr(x, "coords") and hasattr(x, "nnz"):  # pydata and SciPy
        if getattr(x, "fill_value", 0) != 0:
            raise ValueError(f"{name}: needs a fill_value of 0, got {x.fill_value}")
        return np.stack(tuple(x.coords), axis=1), x.data, x.shape
    if hasattr(x, "row") and hasattr(x, "col"):  # COO of JAX, and older ones of SciPy
        return np.stack([np.asarray(x.row), np.asarray(x.col)], axis=1), x.data, x.shape
    if unstored == "zero" and np.ma.isMaskedArray(x) and np.ma.getmaskarray(x).any():
        raise ValueError(
            f"{name}: masked entries are not known, so that unstored='missing' goes with a masked "
            "array; where they are zero pass x.filled(0)"
        )
    dense = np.asarray(array(name, np.ma.getdata(x) if np.ma.isMaskedArray(x) else x))
    there = ~np.isnan(dense) if unstored == "missing" else dense != 0
    if np.ma.isMaskedArray(x):
        there &= ~np.ma.getmaskarray(x)
    return np.argwhere(there), dense[there], dense.shape


def _refuse_first(name: str, bad: np.ndarray, rule: str, entries: np.ndarray) -> None:
    if bad.any():
        k = int(np.argmax(bad))
        what = entries[k].tolist()
        shown = tuple(what) if isinstance(what, list) else what
        raise ValueError(f"{name}: {rule}, and entry {k} has {shown}")
