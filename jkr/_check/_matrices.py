"""The matrices of products, and what they are multiplied with."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr._check._arrays import Sizes, array, listed
from jkr._check._options import index, sizes

Partition = tuple[Sequence[int], Sequence[int]]


def matrices(
    name: str, ms: Sequence[ArrayLike], *, rows: bool = False, columns: bool = False
) -> list[Array]:
    """The operands of a dense product: (..., I, J), leading dimensions that broadcast.

    Args:
        name: the public function.
        ms: its operands.
        rows: whether row counts must agree.
        columns: whether column counts must agree.

    Returns:
        The operands as arrays of one number of dimensions (ones inserted in front).
    """
    if not ms:
        raise ValueError(f"{name}: needs at least one matrix, got none")
    if any(isinstance(m, list | tuple) for m in ms):
        raise ValueError(
            f"{name}: takes matrices as separate arguments, got a sequence; "
            f"unpack it: {name}(*matrices)"
        )
    arrays = [array(name, m, "matrices of numbers") for m in ms]
    shapes = [m.shape for m in arrays]
    if any(len(shape) < 2 for shape in shapes):
        raise ValueError(f"{name}: matrices need two dimensions or more, got {listed(shapes)}")
    if rows and len({shape[-2] for shape in shapes}) > 1:
        raise ValueError(f"{name}: matrices need equal row counts, got {listed(shapes)}")
    if columns and len({shape[-1] for shape in shapes}) > 1:
        raise ValueError(f"{name}: matrices need equal column counts, got {listed(shapes)}")
    try:
        order = len(jnp.broadcast_shapes(*(shape[:-2] for shape in shapes))) + 2
    except ValueError as error:
        raise ValueError(
            f"{name}: leading batch dimensions need to broadcast, got {listed(shapes)}"
        ) from error
    return [m.reshape((1,) * (order - m.ndim) + m.shape) for m in arrays]


def one_matrix(name: str, a: ArrayLike) -> Array:
    """A single matrix (..., I, J)."""
    return matrices(name, (a,))[0]


def partition(name: str, which: str, shape: Sizes, partition: Partition) -> tuple[Sizes, Sizes]:
    """(row_sizes, column_sizes) of one matrix, as tuples of ints that add up to its shape."""
    try:
        row_sizes, column_sizes = (tuple(index(s) for s in sizes) for sizes in partition)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: partition_{which} needs (row_sizes, column_sizes), two tuples of ints, "
            f"got {partition!r}"
        ) from error
    if min((*row_sizes, *column_sizes), default=0) < 0:
        raise ValueError(f"{name}: block sizes need to be nonnegative, got {partition!r}")
    if (sum(row_sizes), sum(column_sizes)) != tuple(shape[-2:]):
        raise ValueError(
            f"{name}: the block sizes of partition_{which} need to add up to the shape of "
            f"{which}, got {row_sizes} by {column_sizes} for {shape}"
        )
    return row_sizes, column_sizes


def matching(
    name: str, rule: str, a: Sizes, b: Sizes, *, counts_only: bool = False
) -> tuple[Sizes, Sizes]:
    """Two lists of block sizes that agree, in their number or block by block."""
    if (len(a) != len(b)) if counts_only else (a != b):
        raise ValueError(f"{name}: the partitions need {rule}, got {a} and {b}")
    return a, b


def penetrating(name: str, a: ArrayLike, b: ArrayLike) -> tuple[Array, Array, int]:
    """a (..., p, g) and b (..., p, g·n), and n."""
    x, y = matrices(name, (a, b), rows=True)
    g, columns = x.shape[-1], y.shape[-1]
    if columns % g if g else columns:
        raise ValueError(
            f"{name}: the columns of b need to be a multiple of the columns of a, "
            f"got {x.shape} and {y.shape}"
        )
    return x, y, columns // g if g else 0


def vector_to_matrix(name: str, v: ArrayLike, shape: Sequence[int]) -> tuple[Array, Sizes]:
    """v (..., m·n) and the shape (m, n) that it is to take."""
    x, dims = array(name, v), sizes(name, shape)
    if len(dims) != 2:
        raise ValueError(f"{name}: shape needs to be (rows, columns), got {dims}")
    if x.ndim < 1 or x.shape[-1] != dims[0] * dims[1]:
        raise ValueError(
            f"{name}: a vector of {dims[0]}·{dims[1]} = {dims[0] * dims[1]} entries is needed "
            f"for the shape {dims}, got {x.shape}"
        )
    return x, dims


def factors(
    name: str, factors: Sequence[ArrayLike], shape: Sizes | None = None, *, what: str = "factors"
) -> tuple[list[Array], int]:
    """Factor matrices (I_n, R), one a mode, and R; their row counts are `shape` where given."""
    arrays = sequence(name, factors, what)
    shapes = [f.shape for f in arrays]
    if not arrays or any(len(s) != 2 for s in shapes) or len({s[1] for s in shapes}) != 1:
        raise ValueError(
            f"{name}: {what} need to be matrices with equal column counts, "
            f"got {listed(shapes) or 'none'}"
        )
    if shape is not None and tuple(s[0] for s in shapes) != tuple(shape):
        raise ValueError(
            f"{name}: factors need one row for each index of their mode, "
            f"got {listed(shapes)} for a tensor of shape {shape}"
        )
    return arrays, shapes[0][1]


def rows_matched(name: str, ms: Sequence[ArrayLike]) -> tuple[list[Array], int]:
    """The matrices (I, J_n) of one face-splitting product, and I."""
    arrays = sequence(name, ms, "ms")
    shapes = [m.shape for m in arrays]
    if not arrays or any(len(s) != 2 for s in shapes) or len({s[0] for s in shapes}) != 1:
        raise ValueError(
            f"{name}: ms need to be matrices with equal row counts, got {listed(shapes) or 'none'}"
        )
    return arrays, shapes[0][0]


def sequence(name: str, ms: Sequence[ArrayLike], what: str) -> list[Array]:
    if hasattr(ms, "factors"):
        raise ValueError(
            f"{name}: {what} need to be a sequence of matrices, got a {type(ms).__name__}; "
            f"pass its factors"
        )
    if not isinstance(ms, list | tuple):
        raise ValueError(
            f"{name}: {what} need to be a sequence of matrices, got {type(ms).__name__}"
        )
    return [array(name, m, "matrices of numbers") for m in ms]


def right_hand_side(name: str, what: str, x: ArrayLike, rows: int) -> tuple[Array, Sizes]:
    """A vector (rows,) or matrix (rows, k), and its trailing shape, () or (k,)."""
    y = array(name, x)
    if y.ndim not in (1, 2) or y.shape[0] != rows:
        raise ValueError(f"{name}: {what} needs shape ({rows},) or ({rows}, k), got {y.shape}")
    return y, y.shape[1:]
