"""Products of small matrices, without loss of digits.

Grams and solves lose digits by squaring already, so matrix units that round float32 operands (TF32,
bfloat16 passes) are asked not to. Tiny ones are multiplied and summed, one fused loop: a batch of
tiny products (hundreds of fits of rank 4 under `vmap`) would call the matrix-product routine once
for each.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jkr._linalg._dtypes import Precision, accumulator, full
from jkr._products._hadamard import hadamard

TINY = 2048  # multiplications


def matmul(a: Array, b: Array, precision: Precision = None) -> Array:
    """A B, in the accumulator's dtype."""
    if a.ndim > 1 and b.ndim > 1 and a.shape[-2] * a.shape[-1] * b.shape[-1] <= TINY:
        wide = accumulator(a.dtype)
        return jnp.sum(a[..., :, :, None].astype(wide) * b[..., None, :, :].astype(wide), axis=-2)
    return jnp.matmul(a, b, precision=full(precision), preferred_element_type=accumulator(a.dtype))


def inner(a: Array, b: Array) -> Array:
    """aᴴb of vectors."""
    return jnp.vdot(a, b, precision="highest")


def gram(a: Array, b: Array) -> Array:
    """Aᴴ B, in the accumulator's dtype."""
    return matmul(a.mT.conj(), b)


def product_of_others(matrices: Sequence[Array], *left_out: int) -> Array:
    """Hadamard product of all matrices of one shape but some; ones where none is left."""
    kept = [m for k, m in enumerate(matrices) if k not in left_out]
    return hadamard(*kept) if kept else jnp.ones_like(matrices[0])


def pair_columns(a: Array) -> Array:
    """conj(A) • A in its R(R+1)/2 different columns: those of pairs r ≤ s (J3ᴴ)."""
    # One look-up for both: two of the same constant matrix are miscompiled by XLA in JAX 0.8.0.
    both = a[:, np.stack(np.triu_indices(a.shape[1]))]
    return both[:, 0].conj() * both[:, 1]


def square(upper: Array, rank: int) -> Array:
    """Hermitian matrices (..., R, R) from their upper triangles (..., R(R+1)/2)."""
    rows, columns = np.triu_indices(rank)
    # Entry (r, s) of the square is entry place[r, s] of the triangle, conjugated below it.
    place = np.zeros((rank, rank), int)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))
    matrices = upper[..., place]
    below = np.tril(np.ones((rank, rank), bool), -1).reshape((1,) * (upper.ndim - 1) + (rank, rank))
    return jnp.where(below, matrices.conj(), matrices) if jnp.iscomplexobj(upper) else matrices


def by_pairs(
    f: Callable[[list[Array]], tuple[Array, ...]], factors: Sequence[Array], *, at_once: bool
) -> tuple[Array, ...]:
    """Hermitian matrices (I, R, R) from what a function gives for pairs of columns, (I, R(R+1)/2).

    All pairs at once, or R of them at a time: together their partial sums may be as large as the
    tensor that they are contracted with.
    """
    pairs, rank = [pair_columns(a) for a in factors], factors[0].shape[1]
    count = pairs[0].shape[1]
    if at_once or count <= rank:
        return tuple(square(upper, rank) for upper in f(pairs))
    chunks = -(-count // rank)
    padded = (jnp.pad(a, ((0, 0), (0, chunks * rank - count))) for a in pairs)
    chunked = [jnp.moveaxis(a.reshape(-1, chunks, rank), 1, 0) for a in padded]
    uppers = (jnp.moveaxis(y, 0, 1).reshape(y.shape[1], -1) for y in lax.map(f, chunked))
    return tuple(square(upper[:, :count], rank) for upper in uppers)


def framed(G: Array, D: Array) -> Array:
    """D̄ G D with D diagonal, (R,), for one G (R, R), or for one a row, (I, R, R)."""
    frame = D.conj()[:, None] * D[None, :]
    return G * frame.reshape((1,) * (G.ndim - 2) + frame.shape)


def row_products(B: Array, G: Array) -> Array:
    """B Gᵀ for one G (R, R), or row by row for one a row of B, (I, R, R)."""
    return matmul(B, G.T) if G.ndim == 2 else jnp.sum(G * B[:, None, :], axis=-1)
