"""Products of partitioned matrices, block by block.

An entry of any such product is A[iₐ, jₐ] B[i_b, j_b], so a product is a list of row pairs and a
list of column pairs, known when traced:

| | row pairs | column pairs |
| --- | --- | --- |
| Tracy–Singh A ⊠ B | all, block by block | all, block by block |
| block Khatri–Rao A ∗ B | all within matching blocks | all within matching blocks |
| block face-splitting A [•] B | equal rows | all within matching blocks |
| block column Khatri–Rao A [∗] B | all within matching blocks | equal columns |

Four gathers and one multiplication then do, however many blocks there are. Block face-splitting
and block column Khatri–Rao are each other's transposes, (A [•] B)ᵀ = Aᵀ [∗] Bᵀ.
"""

from functools import partial

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._check import Partition, Sizes
from jkr._mesh import any_mesh

Pairs = tuple[np.ndarray, np.ndarray]


@partial(any_mesh, large=True)
def tracy_singh(
    a: ArrayLike, b: ArrayLike, partition_a: Partition, partition_b: Partition
) -> Array:
    """Tracy–Singh product A ⊠ B: every block of A ⊗ every block of B.

    A ⊠ B = [[A_ij ⊗ B_kl]_kl]_ij: the blocks of B run inside each block of A.

    Args:
        a: matrix (..., I, J).
        b: matrix (..., K, L); leading batch dimensions broadcast.
        partition_a: (row_sizes, column_sizes) of a, tuples of ints that add up to I and J.
        partition_b: likewise for b.

    Returns:
        Array (..., I·K, J·L), of the operands' (promoted) dtype. It is `kronecker(a, b)` with its
        rows and columns permuted; with one block in each matrix, `kronecker(a, b)` itself.

    Raises:
        ValueError: fewer than two dimensions, block sizes that do not add up, batches that do
            not broadcast.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> a, b = jnp.array([[1], [2]]), jnp.array([[1], [3]])
        >>> jkr.tracy_singh(a, b, ((2,), (1,)), ((1, 1), (1,))).ravel()
        Array([1, 2, 3, 6], dtype=int32)

    Source: [Liu99].
    """
    x, y, (rows_a, columns_a), (rows_b, columns_b) = _partitioned(
        "tracy_singh", a, b, partition_a, partition_b
    )
    return _gathered(x, y, _all_blocks(rows_a, rows_b), _all_blocks(columns_a, columns_b))


@partial(any_mesh, large=True)
def block_khatri_rao(
    a: ArrayLike, b: ArrayLike, partition_a: Partition, partition_b: Partition
) -> Array:
    """Khatri–Rao product of partitioned matrices: Kronecker products of matching blocks.

    A ∗ B = [A_ij ⊗ B_ij]_ij, a submatrix of A ⊠ B. With one block of rows and blocks of one
    column it is `khatri_rao`; with one block in each matrix, `kronecker`; with blocks of one
    entry, `hadamard`.

    Args:
        a: matrix (..., Σ m_i, Σ n_j).
        b: matrix (..., Σ p_i, Σ q_j); leading batch dimensions broadcast.
        partition_a: (row_sizes, column_sizes) of a: the m_i and the n_j.
        partition_b: likewise for b: as many p_i as m_i, as many q_j as n_j.

    Returns:
        Array (..., Σ m_i p_i, Σ n_j q_j), of the operands' (promoted) dtype.

    Raises:
        ValueError: fewer than two dimensions, block sizes that do not add up, unequal numbers of
            blocks, batches that do not broadcast.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> a = b = jnp.array([[1, 2, 3]])
        >>> jkr.block_khatri_rao(a, b, ((1,), (2, 1)), ((1,), (1, 2)))
        Array([[1, 2, 6, 9]], dtype=int32)

    Source: example E1; Khatri & Rao, Sankhya 30 (1968) 167–180; [Liu99].
    """
    name = "block_khatri_rao"
    x, y, (rows_a, columns_a), (rows_b, columns_b) = _partitioned(
        name, a, b, partition_a, partition_b
    )
    return _gathered(
        x,
        y,
        _matching_blocks(name, "as many row blocks", rows_a, rows_b),
        _matching_blocks(name, "as many column blocks", columns_a, columns_b),
    )


@partial(any_mesh, large=True)
def block_face_splitting(
    a: ArrayLike, b: ArrayLike, partition_a: Partition, partition_b: Partition
) -> Array:
    """Block face-splitting product: face-splitting products of matching blocks.

    A [•] B = [A_ij • B_ij]_ij.

    Args:
        a: matrix (..., I, Σ n_j).
        b: matrix (..., I, Σ q_j); leading batch dimensions broadcast.
        partition_a: (row_sizes, column_sizes) of a.
        partition_b: likewise for b: the same row sizes, as many column blocks.

    Returns:
        Array (..., I, Σ n_j q_j), of the operands' (promoted) dtype. With one block in each
        matrix it is `face_splitting(a, b)`.

    Raises:
        ValueError: fewer than two dimensions, block sizes that do not add up, unequal row sizes
            or numbers of column blocks, batches that do not broadcast.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> a = b = jnp.array([[1, 2, 3]])
        >>> jkr.block_face_splitting(a, b, ((1,), (2, 1)), ((1,), (1, 2)))
        Array([[1, 2, 6, 9]], dtype=int32)

    Source: [Sly99].
    """
    name = "block_face_splitting"
    x, y, (rows_a, columns_a), (rows_b, columns_b) = _partitioned(
        name, a, b, partition_a, partition_b
    )
    return _gathered(
        x,
        y,
        _equal_lines(name, "equal row sizes", rows_a, rows_b),
        _matching_blocks(name, "as many column blocks", columns_a, columns_b),
    )


@partial(any_mesh, large=True)
def block_column_khatri_rao(
    a: ArrayLike, b: ArrayLike, partition_a: Partition, partition_b: Partition
) -> Array:
    """Block column-wise Khatri–Rao product: Khatri–Rao products of matching blocks.

    A [∗] B = [A_ij ∗ B_ij]_ij, with columns matched inside each block; the transposed twin of
    `block_face_splitting`: (A [∗] B)ᵀ = Aᵀ [•] Bᵀ.

    Args:
        a: matrix (..., Σ m_i, J).
        b: matrix (..., Σ p_i, J); leading batch dimensions broadcast.
        partition_a: (row_sizes, column_sizes) of a.
        partition_b: likewise for b: as many row blocks, the same column sizes.

    Returns:
        Array (..., Σ m_i p_i, J), of the operands' (promoted) dtype. With one block in each
        matrix it is `khatri_rao(a, b)`.

    Raises:
        ValueError: fewer than two dimensions, block sizes that do not add up, unequal column
            sizes or numbers of row blocks, batches that do not broadcast.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> a = b = jnp.array([[1], [2], [3]])
        >>> jkr.block_column_khatri_rao(a, b, ((2, 1), (1,)), ((1, 2), (1,))).ravel()
        Array([1, 2, 6, 9], dtype=int32)

    Source: [Sly99].
    """
    name = "block_column_khatri_rao"
    x, y, (rows_a, columns_a), (rows_b, columns_b) = _partitioned(
        name, a, b, partition_a, partition_b
    )
    return _gathered(
        x,
        y,
        _matching_blocks(name, "as many row blocks", rows_a, rows_b),
        _equal_lines(name, "equal column sizes", columns_a, columns_b),
    )


def _partitioned(
    name: str, a: ArrayLike, b: ArrayLike, partition_a: Partition, partition_b: Partition
) -> tuple[Array, Array, tuple[Sizes, Sizes], tuple[Sizes, Sizes]]:
    x, y = _check.matrices(name, (a, b))
    return (
        x,
        y,
        _check.partition(name, "a", x.shape, partition_a),
        _check.partition(name, "b", y.shape, partition_b),
    )


def _gathered(a: Array, b: Array, rows: Pairs, columns: Pairs) -> Array:
    return (
        a[..., rows[0][:, None], columns[0][None, :]]
        * b[..., rows[1][:, None], columns[1][None, :]]
    )


def _all_blocks(sizes_a: Sizes, sizes_b: Sizes) -> Pairs:
    """Every line of every block of A with every line of every block of B, block by block."""
    return _chained(
        [(block_a, block_b) for block_a in _blocks(sizes_a) for block_b in _blocks(sizes_b)]
    )


def _matching_blocks(name: str, rule: str, sizes_a: Sizes, sizes_b: Sizes) -> Pairs:
    """Every line of a block of A with every line of the matching block of B."""
    _check.matching(name, rule, sizes_a, sizes_b, counts_only=True)
    return _chained(list(zip(_blocks(sizes_a), _blocks(sizes_b), strict=True)))


def _equal_lines(name: str, rule: str, sizes_a: Sizes, sizes_b: Sizes) -> Pairs:
    """Every line of A with the same line of B."""
    _check.matching(name, rule, sizes_a, sizes_b)
    lines = np.arange(sum(sizes_a))
    return lines, lines


def _blocks(sizes: Sizes) -> list[np.ndarray]:
    """The line numbers of each block."""
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]) if sizes else []


def _chained(blocks: list[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    """All pairs inside each pair of blocks, B's line fastest, one block after the other."""
    none = [np.arange(0)]
    return (
        np.concatenate(none + [np.repeat(a, len(b)) for a, b in blocks]),
        np.concatenate(none + [np.tile(b, len(a)) for a, b in blocks]),
    )
