"""Sparse tensors in `.npz` files: indices, values and shape by name.

`indices` are (nnz, N), or `coords` (N, nnz), as pydata's `sparse.save_npz` writes them, both from
0; `values` or `data` are (nnz,), and so are `entry_weights`, if there are any.
"""

from collections.abc import Sequence

import numpy as np

from jkr.io._arrays import Archive
from jkr.io._lines import LARGEST
from jkr.io._tns import Entries, same_shape


def is_coo(names: Sequence[str]) -> bool:
    """Whether the arrays of those names are a sparse tensor."""
    known = {"indices", "coords"}, {"values", "data"}, {"shape"}
    return all(one & set(names) for one in known)


def is_scipy(names: Sequence[str]) -> bool:
    """Whether the arrays of those names are a matrix as `scipy.sparse.save_npz` writes it."""
    return {"format", "shape", "data"} <= set(names) and "coords" not in names


def read_coo(stored: Archive, given: Sequence[int] | None) -> Entries:
    """The entries in a file, of that shape if one is given."""
    if "fill_value" in stored.names and np.any(stored["fill_value"] != 0):
        raise ValueError(f"fill_value needs to be 0, got {stored['fill_value']}")
    shape = _shape(stored["shape"])
    key = "indices" if "indices" in stored.names else "coords"
    at = stored[key]
    by_rows = at if key == "indices" else at.T
    if at.dtype.kind not in "iu" or by_rows.ndim != 2 or by_rows.shape[1] != len(shape):
        wanted = f"(nnz, {len(shape)})" if key == "indices" else f"({len(shape)}, nnz)"
        raise ValueError(f"{key} need to be integers {wanted}, got {at.dtype} {at.shape}")
    outside = ((by_rows < 0) | (by_rows >= np.asarray(shape))).any(axis=1)
    if outside.any():
        k = int(np.argmax(outside))
        got = tuple(map(int, by_rows[k]))
        raise ValueError(f"{key} need to be from 0 and below {shape}, and entry {k} has {got}")
    same_shape(shape, given)
    values = _numbers(stored, "values" if "values" in stored.names else "data", len(by_rows))
    weights = None
    if "entry_weights" in stored.names:
        weights = _numbers(stored, "entry_weights", len(by_rows))
    return Entries(by_rows.astype(np.int32), values, shape, weights)


def _shape(stored: np.ndarray) -> tuple[int, ...]:
    if stored.ndim != 1 or stored.dtype.kind not in "iu":
        raise ValueError(f"shape needs to be integers (N,), got {stored.dtype} {stored.shape}")
    shape = tuple(map(int, stored))
    if not all(1 <= n <= LARGEST for n in shape):
        raise ValueError(f"shape needs sizes from 1 to {LARGEST}, got {shape}")
    return shape


def _numbers(stored: Archive, key: str, count: int) -> np.ndarray:
    values = stored[key]
    if values.dtype.kind not in "biufc" or values.shape != (count,):
        raise ValueError(f"{key} need to be numbers ({count},), got {values.dtype} {values.shape}")
    return values
