"""FROSTT's text: a line for each entry, its indices, which count from 1, and its value.

There is no header. The shape is the largest index of each mode, unless it is given.
"""

from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from jkr.io._lines import LARGEST, Lines, write_rows

# Rows that a mode may have, or so many for each entry, unless the shape is given: a digit too many
# would make arrays, and factors, of that length.
_ROWS, _ROWS_AN_ENTRY = 1 << 20, 8


class Entries(NamedTuple):
    """A sparse tensor as files hold it.

    Attributes:
        indices: from 0, integers (nnz, N).
        values: numbers, (nnz,), finite in text.
        shape: (I_1, …, I_N), above all indices.
        weights: of the entries, or None.
    """

    indices: np.ndarray
    values: np.ndarray
    shape: tuple[int, ...]
    weights: np.ndarray | None = None


def read_tns(lines: Lines, shape: Sequence[int] | None) -> Entries:
    """The entries in a file, of that shape if there is one."""
    order = len(lines.peek()) - 1
    if order < 0:
        raise ValueError("it holds no entry")
    if order < 2:
        raise ValueError(
            f"line {lines.number + 1}: needs two indices or more and a value, got {order + 1} "
            "numbers"
        )
    if shape is not None and len(shape) != order:
        raise ValueError(
            f"line {lines.number + 1}: needs {len(shape)} indices and a value, for the shape "
            f"{tuple(shape)}, got {order + 1} numbers"
        )
    indices, values = lines.entries([LARGEST] * order if shape is None else shape)
    if shape is not None:
        return Entries(indices, values, tuple(shape))
    found = tuple(int(n) + 1 for n in indices.max(axis=0))
    try:
        check_shape(found, len(values), None)
    except ValueError as error:
        entry = int(indices[:, np.argmax(found)].argmax())
        raise ValueError(f"line {lines.line_of(entry)}: {error}") from None
    return Entries(indices, values, found)


def same_shape(found: tuple[int, ...], given: Sequence[int] | None) -> None:
    """The shape of a file: the one given, if one is."""
    if given is not None and found != tuple(given):
        raise ValueError(f"has the shape {found}, not {tuple(given)}")


def check_shape(found: tuple[int, ...], count: int, given: Sequence[int] | None) -> None:
    """The shape in a text of so many entries: the one given, or else such as is no accident."""
    same_shape(found, given)
    if given is None and max(found) > max(_ROWS, _ROWS_AN_ENTRY * count):
        raise ValueError(
            f"has the shape {found} and {count} entries, as if an index or a size were wrong; if "
            "it is not, pass that shape"
        )


def write_tns(file: IO[bytes], indices: np.ndarray, values: np.ndarray, shape: np.ndarray) -> None:
    """Entries in the order given, with as many digits as a float64 has; no shape."""
    form = "%d " * indices.shape[1] + "%.17g\n"
    write_rows(file, form, indices.astype(np.int64) + 1, values)
