"""Lines of numbers in a text file: read by blocks, blamed by the line.

NumPy's parser, which is C, takes a block of lines at once, and rules are checked on the whole
block. Where that fails, halves of the block are tried until one line is left, and it fails alone:
a good file is never read line by line, and a rule is written once. Blank lines count, but hold
nothing; neither does what follows a `#`.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate, islice
from typing import IO, Any

import numpy as np

LARGEST = 2**31 - 1  # of an index: what 32 bits hold
_BLOCK = 1 << 20  # characters of text that are parsed at once
_SHOWN = 40  # characters of a bad line that a message shows
_WRITTEN = 1 << 16  # rows of text that are made at once


class Lines:
    """The lines of an open text file, and the number of the last one taken.

    Attributes:
        number: of that line, from 1; 0 before the first.
    """

    def __init__(self, file: IO[str]):
        self.number = 0
        self._file = file
        self._ahead: list[str] = []

    def block(self) -> list[str]:
        """The next lines, none at the end of the file."""
        lines = self._ahead or self._file.readlines(_BLOCK)
        self._ahead = []
        self.number += len(lines)
        return lines

    def put_back(self, lines: list[str]) -> None:
        """Give back the last lines of a block."""
        self._ahead = lines
        self.number -= len(lines)

    def peek(self) -> list[str]:
        """The words of the next line that has any, which is not taken; none at the end."""
        while lines := self.block():
            for n, line in enumerate(lines):
                if found := words(line):
                    self.put_back(lines[n:])
                    return found
        return []

    def take(self, what: str) -> list[str]:
        """The words of the next line that has any."""
        if not (found := self.peek()):
            raise ValueError(f"line {self.number}: the file ends before {what}")
        self.put_back(self.block()[1:])
        return found

    def counts(self, what: str, least: int = 1) -> tuple[int, ...]:
        """A line of counts."""
        found = self.take(what)
        if not all(w.isascii() and w.isdecimal() and len(w) < 20 for w in found):
            raise ValueError(f"line {self.number}: needs {what}, got {shown(found)}")
        if not all(least <= int(w) <= LARGEST for w in found):
            raise ValueError(
                f"line {self.number}: needs {what}, from {least} to {LARGEST}, got {shown(found)}"
            )
        return tuple(map(int, found))

    def count(self, what: str, least: int = 1) -> int:
        """A line of one count."""
        found = self.counts(what, least)
        if len(found) != 1:
            raise ValueError(f"line {self.number}: needs {what} alone, got {len(found)} numbers")
        return found[0]

    def numbers(self, count: int, check: Callable[[np.ndarray], None]) -> np.ndarray:
        """The next so many numbers, in lines of any length, which they fill."""
        parts, found = [np.empty(0)], 0
        while found < count:
            if not (lines := self.block()):
                raise ValueError(
                    f"line {self.number}: the file ends after {found} of {count} numbers"
                )
            split = [words(line) for line in lines]
            ends = list(accumulate(map(len, split), initial=found))
            used = min(bisect_left(ends, count), len(lines))
            self.put_back(lines[used:])
            parts.append(by_lines(_checked_by(check), split[:used], self.number - used + 1))
            found = ends[used]
        if found > count:
            raise ValueError(
                f"line {self.number}: more numbers than the {count} that the header promises"
            )
        return np.concatenate(parts)

    def entries(
        self, limits: Sequence[int], count: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """All lines that are left: indices (nnz, N), from 0 and below the limits, values (nnz,)."""
        order = len(limits)
        indices, values = [np.empty((0, order), np.int32)], [np.empty(0)]
        most, found = sys.maxsize if count is None else count, 0
        while lines := self.block():
            first = self.number - len(lines) + 1
            at, value = by_lines(lambda part: _entries(part, limits), lines, first)
            indices.append(at)
            values.append(value)
            if found + len(value) > most:
                filled = [n for n, line in enumerate(lines) if words(line)]
                raise ValueError(
                    f"line {first + filled[most - found]}: more entries than the {most} that the "
                    "header promises"
                )
            found += len(value)
        if count is not None and found < count:
            raise ValueError(f"line {self.number}: the file ends after {found} of {count} entries")
        return np.concatenate(indices), np.concatenate(values)

    def line_of(self, entry: int) -> int:
        """The number of the line that an entry of a file without header is in."""
        self._file.seek(0)
        filled = (n for n, line in enumerate(self._file, 1) if words(line))
        return next(islice(filled, entry, None))

    def end(self) -> None:
        """Nothing is left."""
        if found := self.peek():
            raise ValueError(
                f"line {self.number + 1}: more than the header promises, {shown(found)}"
            )


def words(line: str) -> list[str]:
    """What stands between blanks, before a `#`."""
    return line.partition("#")[0].split()


def shown(found: Sequence[str]) -> str:
    """Words as a message shows them."""
    text = " ".join(found)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def by_lines(parse: Callable[[list], Any], lines: list, first: int) -> Any:
    """`parse(lines)`, whose error is that of the first line at fault, with its number."""
    try:
        return parse(lines)
    except ValueError as error:
        fault = error
    if len(lines) > 1:
        middle = len(lines) // 2
        by_lines(parse, lines[:middle], first)
        by_lines(parse, lines[middle:], first + middle)
    raise ValueError(f"line {first}: {fault}")


def _entries(lines: list[str], limits: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values in lines of text."""
    order = len(limits)
    if not any(words(line) for line in lines):  # of which NumPy warns
        return np.empty((0, order), np.int32), np.empty(0)
    try:
        table = np.loadtxt(lines, comments="#", ndmin=2)
    except ValueError:
        found = [word for line in lines[:1] for word in words(line)]
        raise ValueError(f"needs {order} indices and a value, got {shown(found)}") from None
    if table.shape[1] != order + 1:
        raise ValueError(f"needs {order} indices and a value, got {table.shape[1]} numbers")
    values = table[:, order].copy()
    if not np.isfinite(values).all():
        raise ValueError(f"needs a finite value, got {values[0]}")
    at = table[:, :order]
    # What is not true of NaN is refused, too.
    if not ((at >= 1) & (at <= limits)).all():
        rule = f"in {tuple(limits)}" if min(limits) < LARGEST else f"to {LARGEST}"
        raise ValueError(f"needs indices from 1 {rule}, got {_listed(at[0])}")
    whole = at.astype(np.int32)
    if (whole != at).any():
        raise ValueError(f"needs indices that are whole numbers, got {_listed(at[0])}")
    whole -= 1
    return whole, values


def _listed(indices: np.ndarray) -> str:
    return " ".join(f"{i:.12g}" for i in indices)


def _checked_by(check: Callable[[np.ndarray], None]) -> Callable[[list[list[str]]], np.ndarray]:
    """A parser of numbers in lines of any length, which are split already."""

    def parse(lines: list[list[str]]) -> np.ndarray:
        found = [word for line in lines for word in line]
        if not found:
            return np.empty(0)
        try:
            numbers = np.loadtxt(found, comments=None, ndmin=1)
        except ValueError:
            raise ValueError(f"needs numbers, got {shown(found)}") from None
        check(numbers)
        return numbers

    return parse


def write_rows(file: IO[bytes], form: str, *columns: np.ndarray) -> None:
    """Rows of numbers as text, some at a time: of each row the columns, side by side."""
    for start in range(0, len(columns[0]), _WRITTEN):
        part = np.column_stack([column[start : start + _WRITTEN] for column in columns])
        file.write((form * len(part) % tuple(part.ravel().tolist())).encode())
