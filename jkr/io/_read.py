"""Read a tensor, or a model, from whatever file it is in."""

import gzip
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

import jax.numpy as jnp
import numpy as np

from jkr import _check
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._model._files import load
from jkr.io import _arrays, _coo, _toolbox
from jkr.io._lines import Lines
from jkr.io._tns import Entries, read_tns
from jkr.tensors._sparse import Sparse

_GZIP, _ZIP = b"\x1f\x8b", b"PK"


class _Asked(NamedTuple):
    """What was asked of `read` beside the file."""

    unstored: str | None
    array: str | None
    shape: tuple[int, ...] | None

    def without(self, what: str, *names: str) -> None:
        """Arguments that do not go with what the file holds are left out."""
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"it holds {what}: leave out {name}")

    def for_sparse(self) -> None:
        """What a sparse file needs to be read: asked for before any work is done."""
        self.without("a sparse tensor", "array")
        _check.unstored("io.read", self.unstored)


def read(
    path: str | os.PathLike[str],
    *,
    unstored: Literal["zero", "missing"] | None = None,
    array: str | None = None,
    shape: Sequence[int] | None = None,
    compact: bool = False,
) -> np.ndarray | Sparse | CPTensor:
    r"""Read a tensor or a model from a file of any kind in the table of `jkr.io`.

    Args:
        path: the file.
        unstored: of a sparse file, whether entries that it does not store are "zero" or "missing",
            as in `jkr.tensors.Sparse`.
        array: which one of several arrays in an `.npz` file.
        shape: of a sparse file. Without it, that of a `.tns` file is the largest index of each
            mode; give it if there are more. For text it is needed, too, where a mode has more than
            a million rows, and 8 for each entry, which looks like a damaged index.
        compact: of a sparse file, as in `jkr.tensors.Sparse`; no matter to others.

    Returns:
        NumPy array, in which NaN marks missing entries; `jkr.tensors.Sparse`; or `cp.CPTensor`.

    Raises:
        ValueError: no path; a file of no such kind, or one that breaks a rule of its kind; the
            message names the file, the rule and, in text, the line. Arguments that are missing, or
            do not go with what the file holds. OSError: a file that is not there, or cannot be
            opened.

    Example:
        >>> import jkr, pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "counts.tns")
        ...     _ = path.write_text("1 1 3 5\n2 4 1 2\n")
        ...     counts = jkr.io.read(path, unstored="zero")
        >>> counts.shape, counts.indices.tolist(), counts.values.tolist()
        ((2, 4, 3), [[0, 0, 2], [1, 3, 0]], [5.0, 2.0])
    """
    path = _check.path("io.read", path)
    if unstored is not None:
        _check.unstored("io.read", unstored)
    if shape is not None:
        shape = _check.sparse_shape("io.read", shape)
    if not path.is_file():
        raise FileNotFoundError(f"io.read: no such file: {path}")
    with path.open("rb") as file:
        start = file.read(len(_arrays.MAGIC))
    try:
        found = _parsed(path, start, _Asked(unstored, array, shape))
    except Exception as error:  # zipfile, gzip and NumPy raise a dozen kinds for damaged files
        why = (str(error).splitlines() or [type(error).__name__])[0].removeprefix("io.read: ")
        raise ValueError(f"io.read: {path} could not be read: {why}") from error
    try:
        if isinstance(found, Entries):
            options = {"unstored": unstored, "entry_weights": found.weights, "compact": compact}
            return Sparse(found.indices, found.values, found.shape, **options)
        return found if isinstance(found, CPTensor) else _arrays.of_numbers(found)
    except ValueError as error:
        raise ValueError(f"io.read: {path} is no tensor: {error}") from error


def _parsed(path: Path, start: bytes, asked: _Asked) -> np.ndarray | Entries | CPTensor:
    """What is in a file that starts so."""
    if start.startswith(_ZIP):
        return _of_archive(path, asked)
    if start == _arrays.MAGIC:
        asked.without("one array without a name", "array")
        asked.without("a dense array", "unstored", "shape")
        return _arrays.read_npy(path)
    opener = gzip.open if start.startswith(_GZIP) else open
    with opener(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        return _of_text(path, Lines(cast(IO[str], file)), asked)


def _of_text(path: Path, lines: Lines, asked: _Asked) -> np.ndarray | Entries | CPTensor:
    kind = (lines.peek() or [""])[0]
    if kind == "sptensor":
        asked.for_sparse()
        return _toolbox.read_sptensor(lines, asked.shape)
    if kind == "ktensor":
        asked.without("a model", "unstored", "array", "shape")
        weights, factors = _toolbox.read_ktensor(lines)
        return CPTensor(jnp.asarray(weights), tuple(map(jnp.asarray, factors)))
    if kind in _toolbox.KINDS:
        asked.without("a dense array", "unstored", "array", "shape")
        return _toolbox.read_dense(lines, kind)
    if path.name.endswith((".tns", ".tns.gz")):
        asked.for_sparse()
        return read_tns(lines, asked.shape)
    raise ValueError(
        "it is no .npy, .npz or .tns file, nor text that begins with one of "
        f"{', '.join(_toolbox.KINDS)}"
    )


def _of_archive(path: Path, asked: _Asked) -> np.ndarray | Entries | CPTensor:
    with _arrays.opened(path) as stored:
        names = stored.names
        if asked.array is None and _coo.is_scipy(names):
            raise ValueError(
                "it holds a SciPy matrix: give what scipy.sparse.load_npz reads to "
                "jkr.tensors.Sparse.of"
            )
        if asked.array is None and _coo.is_coo(names):
            asked.for_sparse()
            return _coo.read_coo(stored, asked.shape)
        if asked.array is None and {"weights", "factor_0"} <= set(names):
            asked.without("a model", "unstored", "shape")
            stored.check()
            return load(path)
        asked.without("no sparse tensor", "unstored", "shape")
        name = names[0] if asked.array is None and len(names) == 1 else asked.array
        if name is None or name not in names:
            raise ValueError(f"choose one of its arrays with array (--array): {', '.join(names)}")
        return stored[name]
