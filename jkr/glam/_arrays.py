"""The three array computations of a tensor-product basis X = B_1 ⊗ ⋯ ⊗ B_d: X θ, XᴴWy, XᴴWX.

Since X̄ • X = (B̄_1 ⊗ ⋯) • (B_1 ⊗ ⋯) is (B̄_1 • B_1) ⊗ ⋯ ⊗ (B̄_d • B_d) but for the order of its
columns (J2), I30 gives the weighted Gram as one more product of a Kronecker matrix with a vector:

    (B̄_1 • B_1 ⊗ ⋯ ⊗ B̄_d • B_d)ᵀ w  holds  XᴴWX  in the order (r_1, s_1, …, r_d, s_d).

All three are then d small matrix products and, at most, a transposition of what is small.
"""

from collections.abc import Sequence
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._kronecker import kronecker_matmul
from jkr._linalg._dtypes import Precision, accumulator, promoted, with_weights
from jkr._linalg._small import gram, pair_columns, square
from jkr._mesh import any_mesh
from jkr._products._pairing import paired


@partial(any_mesh, large=True)
def fitted(
    bases: Sequence[ArrayLike], coefficients: ArrayLike, *, precision: Precision = None
) -> Array:
    """Linear function of the coefficients, X θ with X = B_1 ⊗ ⋯ ⊗ B_d, as an array.

    M[i_1, …, i_d] = Σ_j Θ[j_1, …, j_d] ∏ₙ Bₙ[i_n, j_n].

    Args:
        bases: matrices (Iₙ, Jₙ), one a mode, a sequence.
        coefficients: Θ (J_1, …, J_d), an array.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        Array (I_1, …, I_d), of the operands' (promoted) dtype; integers become the default float.

    Raises:
        ValueError: bases that are no sequence of matrices; coefficients of another shape.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> bases = [jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0], [2.0], [3.0]])]
        >>> jkr.glam.fitted(bases, jnp.array([[1.0], [10.0]]))
        Array([[ 1.,  2.,  3.],
               [11., 22., 33.]], dtype=float32)

    Source: [CDE06].
    """
    name = "glam.fitted"
    arrays, _, columns = _check.bases(name, bases)
    x = _check.array_of(name, "coefficients", _check.inexact(name, coefficients), columns)
    x, *arrays = promoted(x, *arrays)
    return fitted_values(arrays, x, precision)


@any_mesh
def cross_product(
    bases: Sequence[ArrayLike],
    y: ArrayLike,
    *,
    entry_weights: ArrayLike | None = None,
    precision: Precision = None,
) -> Array:
    """Cross product of the basis with data, XᴴWy with X = B_1 ⊗ ⋯ ⊗ B_d, as an array.

    Q[j_1, …, j_d] = Σ_i W[i] Y[i] ∏ₙ conj(Bₙ[i_n, j_n]).

    Args:
        bases: matrices (Iₙ, Jₙ), one a mode, a sequence.
        y: array (I_1, …, I_d), masked ones included.
        entry_weights: real weights W of the cells, of the shape of y; what lies under a zero, NaN
            included, is never read. None: all 1.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        Array (J_1, …, J_d), of the operands' (promoted) dtype; integers become the default float.

    Raises:
        ValueError: bases that are no sequence of matrices; y or entry_weights of another shape;
            complex weights.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> bases = [jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0], [2.0], [3.0]])]
        >>> jkr.glam.cross_product(bases, jnp.ones((2, 3))).ravel()
        Array([12.,  6.], dtype=float32)

    Source: [CDE06].
    """
    name = "glam.cross_product"
    arrays, rows, _ = _check.bases(name, bases)
    y, entry_weights = _check.data_and_weights(name, y, entry_weights)
    y = _check.array_of(name, "y", _check.inexact(name, y), rows)
    y, *arrays = promoted(y, *arrays)
    if entry_weights is not None:
        w = _check.entry_weights(name, entry_weights, rows)
        y = times_weights(y, w)
    return projected(arrays, y, precision)


@any_mesh
def weighted_gram(
    bases: Sequence[ArrayLike], entry_weights: ArrayLike, *, precision: Precision = None
) -> Array:
    """Weighted Gram XᴴWX of X = B_1 ⊗ ⋯ ⊗ B_d, from the row tensors Bₙ • Bₙ (I30).

    G[r, s] = Σ_i W[i] ∏ₙ conj(Bₙ[i_n, r_n]) Bₙ[i_n, s_n], r = (r_1, …, r_d) in C order.

    Args:
        bases: matrices (Iₙ, Jₙ), one a mode, a sequence.
        entry_weights: real weights W (I_1, …, I_d); booleans count as 0 and 1.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        Array (∏ Jₙ, ∏ Jₙ), Hermitian, of the operands' (promoted) dtype; float16 and bfloat16 are
        accumulated in float32.

    Raises:
        ValueError: bases that are no sequence of matrices; complex weights, or of another shape.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> bases = [jnp.array([[1.0, 0.0], [1.0, 1.0]]), jnp.array([[1.0], [2.0], [3.0]])]
        >>> jkr.glam.weighted_gram(bases, jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]))
        Array([[23., 18.],
               [18., 18.]], dtype=float32)

    Nothing of ∏ Iₙ × ∏ Jₙ entries exists, in derivatives neither. Real bases take Jₙ(Jₙ + 1)/2 of
    the Jₙ² columns of each row tensor.

    Source: laws I15, I30; [CDE06].
    """
    name = "glam.weighted_gram"
    arrays, rows, _ = _check.bases(name, bases)
    w = _check.inexact(name, _check.entry_weights(name, entry_weights, rows))
    w, arrays = with_weights(w, arrays)
    return array_gram(arrays, w, precision)


def times_weights(y: Array, w: Array) -> Array:
    """W ∘ Y, where what lies under a zero is not read; in the dtype of y."""
    w = w.astype(y.real.dtype)
    return w.astype(y.dtype) * jnp.where(w == 0, 0, y)


@partial(jax.jit, static_argnames="precision")
def fitted_values(bases: Sequence[Array], coefficients: Array, precision: Precision) -> Array:
    """X θ, (I_1, …, I_d)."""
    rows = [b.shape[0] for b in bases]
    return kronecker_matmul(bases, coefficients.reshape(-1), precision).reshape(rows)


@partial(jax.jit, static_argnames="precision")
def projected(bases: Sequence[Array], y: Array, precision: Precision) -> Array:
    """Xᴴy, (J_1, …, J_d)."""
    adjoint, columns = [b.T.conj() for b in bases], [b.shape[1] for b in bases]
    return kronecker_matmul(adjoint, y.reshape(-1), precision).reshape(columns)


@partial(jax.jit, static_argnames="precision")
def array_gram(bases: Sequence[Array], w: Array | None, precision: Precision) -> Array:
    """XᴴWX, (∏ Jₙ, ∏ Jₙ), in the dtype of the bases; without weights ⊗ₙ BₙᴴBₙ."""
    dtype, columns = bases[0].dtype, [b.shape[1] for b in bases]
    if w is None:
        grams = [gram(b, b) for b in bases]
        return paired(grams, cross_rows=True, cross_columns=True).astype(dtype)
    real = not jnp.iscomplexobj(bases[0])
    pairs = [pair_columns(b) if real else _row_tensor(b) for b in bases]
    G = kronecker_matmul([p.T for p in pairs], w.astype(dtype).reshape(-1), precision)
    if real:
        G = G.reshape([p.shape[1] for p in pairs])
        for j in columns:  # each mode's pairs r ≤ s in turn, to two axes at the end
            G = square(jnp.moveaxis(G, 0, -1), j)
    order = len(columns)
    G = G.reshape([j for j in columns for _ in range(2)])
    G = G.transpose(*range(0, 2 * order, 2), *range(1, 2 * order, 2))
    return G.reshape(prod(columns), prod(columns))


def _row_tensor(b: Array) -> Array:
    """conj(B) • B, of complex B: of several modes only all pairs together are Hermitian."""
    wide = b.astype(accumulator(b.dtype))
    return paired([wide.conj(), wide], cross_rows=False, cross_columns=True).astype(b.dtype)
