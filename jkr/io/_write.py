"""Write a tensor, or a model, as the suffix of the file says."""

import gzip
import os
from collections.abc import Callable
from typing import IO, Any, cast

import numpy as np
from jax.typing import ArrayLike

from jkr import _check
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._model._files import named, replace
from jkr.io import _arrays, _tns, _toolbox
from jkr.tensors._sparse import Sparse

_LEVEL = 6  # of gzip; the highest takes several times as long for little


def write(path: str | os.PathLike[str], what: ArrayLike | Sparse | CPTensor) -> None:
    r"""Write a tensor or a model to a file, in a format that `read` and others know.

    The file is written beside its place and then moved there, so that it is never half written.
    Text has as many digits as it takes to read the same numbers. No format says whether entries
    that are not stored are zero or missing.

    Args:
        path: the file. Its suffix is the format: `.tns` or `.tns.gz` (FROSTT) for a sparse tensor;
            `.txt` (Tensor Toolbox, pyttb) for any; `.npz` for any; `.npy` for an array.
        what: an array, in which NaN marks missing entries; `jkr.tensors.Sparse`; or `cp.CPTensor`.

    Raises:
        ValueError: another suffix, or one for something else; no numbers, infinite ones, complex
            numbers or entry weights in text, values that are not there yet, under `jit` or
            `vmap`, or those of a batch of tensors.

    Example:
        >>> import jkr, pathlib, tempfile
        >>> x = jkr.tensors.Sparse([[0, 2], [1, 0]], [0.5, 3.0], (2, 3), unstored="zero")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "x.txt")
        ...     jkr.io.write(path, x)
        ...     path.read_text().split("\n")[:5]
        ['sptensor', '2', '2 3', '2', '1 3 0.5']
    """
    path = _check.path("io.write", path)
    kind, parts = _parts(what)
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    if suffix not in _WRITERS[kind]:
        raise ValueError(
            f"io.write: {kind} goes into a file that ends in {', '.join(_WRITERS[kind])}, got "
            f"{path.name}"
        )
    if suffix in _TEXT and any(a.dtype.kind == "c" for a in parts.values()):
        raise ValueError(f"io.write: {suffix} files hold real numbers only, .npz complex ones, too")
    if suffix in _TEXT and "entry_weights" in parts:
        raise ValueError(f"io.write: {suffix} files have no place for entry weights, .npz has one")
    if suffix in _TEXT and kind == _MODEL and parts["weights"].ndim != 1:
        raise ValueError(f"io.write: {suffix} files hold one model, .npz batches, too")
    replace(path, lambda file: _WRITERS[kind][suffix](file, **parts))


def _parts(what: Any) -> tuple[str, dict[str, np.ndarray]]:
    """What it is, and NumPy arrays of it, as `.npz` files name them."""
    name = "io.write"
    if isinstance(what, CPTensor):
        return _MODEL, named(name, what)
    _check.concrete(name, "works", what)
    if isinstance(what, Sparse):
        what.check_one(name)
        _check.finite_values(name, what.values, what.entry_weights)
        values = _native(what.values)
        indices, shape = np.asarray(what.indices), np.asarray(what.shape)
        parts = {"indices": indices, "values": values, "shape": shape}
        if what.entry_weights is not None:
            parts["entry_weights"] = _native(what.entry_weights)
        return _SPARSE, parts
    # A NumPy array stays as it is: JAX would make 64-bit numbers narrow.
    as_it_is = isinstance(what, np.ndarray) and not np.ma.isMaskedArray(what)
    array = what if as_it_is else _check.array(name, what)
    try:
        return _ARRAY, {"tensor": _arrays.of_numbers(_native(array))}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _native(x: ArrayLike) -> np.ndarray:
    """As NumPy has it, which knows no bfloat16."""
    array = np.asarray(x)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _tns_gz(file: IO[bytes], **parts: np.ndarray) -> None:
    # No name and no time inside: the same tensor makes the same file.
    with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        _tns.write_tns(cast(IO[bytes], packed), **parts)


def _ktensor(file: IO[bytes], weights: np.ndarray, dtypes: np.ndarray, **factors: Any) -> None:
    _toolbox.write_ktensor(file, weights, list(factors.values()))


def _npy(file: IO[bytes], tensor: np.ndarray) -> None:
    np.save(file, tensor, allow_pickle=False)


_SPARSE, _MODEL, _ARRAY = "a sparse tensor", "a model", "an array"
_TEXT = (".tns", ".tns.gz", ".txt")
_WRITERS: dict[str, dict[str, Callable[..., None]]] = {
    _SPARSE: {
        ".tns": _tns.write_tns,
        ".tns.gz": _tns_gz,
        ".txt": _toolbox.write_sptensor,
        ".npz": np.savez,
    },
    _MODEL: {".txt": _ktensor, ".npz": np.savez},
    _ARRAY: {".txt": _toolbox.write_tensor, ".npz": np.savez, ".npy": _npy},
}
