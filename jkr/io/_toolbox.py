"""The text of Tensor Toolbox and pyttb (`export_data`), which says in its first word what it is.

A size is a line with the number of modes, and one with the sizes. Then come

- `sptensor`: the size, a count of entries, and of each its indices, which count from 1, and value;
- `tensor`: the size, and the entries, the first index fastest (Fortran order);
- `matrix`: the size, and the entries, the last index fastest;
- `ktensor`: the size, the rank, the weights, and of each mode a `matrix` (I_n, R).
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import IO, Literal

import numpy as np

from jkr.io._lines import Lines, shown, write_rows
from jkr.io._tns import Entries, check_shape, write_tns

KINDS = ("sptensor", "tensor", "matrix", "ktensor")


def read_sptensor(lines: Lines, given: Sequence[int] | None) -> Entries:
    """The entries in a file, of that shape if one is given."""
    _word(lines, "sptensor")
    shape = _size(lines)
    count = lines.count("a count of entries", least=0)
    try:
        check_shape(shape, count, given)
    except ValueError as error:
        raise ValueError(f"line {lines.number}: {error}") from None
    return Entries(*lines.entries(shape, count), shape)


def read_dense(lines: Lines, kind: str) -> np.ndarray:
    """A `tensor` or a `matrix`; NaN may stand for what is missing."""
    _word(lines, kind)
    array = _array(lines, _size(lines), "F" if kind == "tensor" else "C", missing=True)
    lines.end()
    return array


def read_ktensor(lines: Lines) -> tuple[np.ndarray, list[np.ndarray]]:
    """Weights (R,), factors (I_n, R)."""
    _word(lines, "ktensor")
    shape, rank = _size(lines), lines.count("a rank")
    weights = _array(lines, (rank,), "C")
    factors = [_factor(lines, (rows, rank)) for rows in shape]
    lines.end()
    return weights, factors


def _factor(lines: Lines, shape: tuple[int, int]) -> np.ndarray:
    _word(lines, "matrix")
    if (size := _size(lines)) != shape:
        raise ValueError(f"line {lines.number}: needs a matrix {shape}, got {size}")
    return _array(lines, size, "C")


def _word(lines: Lines, word: str) -> None:
    if (found := lines.take(f"the word {word}"))[0] != word:
        raise ValueError(f"line {lines.number}: needs the word {word}, got {shown(found)}")


def _size(lines: Lines) -> tuple[int, ...]:
    order = lines.count("the number of modes")
    shape = lines.counts("a size for each mode")
    if len(shape) != order:
        raise ValueError(f"line {lines.number}: needs {order} sizes, got {len(shape)}")
    return shape


def _array(
    lines: Lines, shape: tuple[int, ...], order: Literal["C", "F"], missing: bool = False
) -> np.ndarray:
    def check(numbers: np.ndarray) -> None:
        if (np.isinf(numbers) if missing else ~np.isfinite(numbers)).any():
            raise ValueError(f"needs finite numbers, got {numbers[0]}")

    return lines.numbers(prod(shape), check).reshape(shape, order=order)


def write_sptensor(
    file: IO[bytes], indices: np.ndarray, values: np.ndarray, shape: np.ndarray
) -> None:
    """Entries, in the order given."""
    _write_size(file, "sptensor", shape)
    file.write(f"{len(values)}\n".encode())
    write_tns(file, indices, values, shape)


def write_tensor(file: IO[bytes], tensor: np.ndarray) -> None:
    """A dense array, an entry a line."""
    _write_size(file, "tensor", tensor.shape)
    write_rows(file, "%.17g\n", tensor.ravel(order="F"))


def write_ktensor(file: IO[bytes], weights: np.ndarray, factors: Sequence[np.ndarray]) -> None:
    """A model, a row of a factor a line."""
    row = "%.17g " * (len(weights) - 1) + "%.17g\n"
    _write_size(file, "ktensor", [len(a) for a in factors])
    file.write(f"{len(weights)}\n".encode())
    write_rows(file, row, weights[None])
    for factor in factors:
        _write_size(file, "matrix", factor.shape)
        write_rows(file, row, factor)


def _write_size(file: IO[bytes], kind: str, shape: Iterable[int]) -> None:
    shape = list(shape)
    file.write(f"{kind}\n{len(shape)}\n{' '.join(map(str, shape))}\n".encode())
