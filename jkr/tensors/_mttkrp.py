"""MTTKRP, the matricised tensor times Khatri–Rao product, of arrays and of tensors of any kind."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions import _mttkrp as dense
from jkr._linalg._dtypes import Precision, promoted, with_weights
from jkr._linalg._order import after
from jkr._linalg._small import pair_columns, square
from jkr._mesh import any_mesh, is_sharded
from jkr.tensors._as_tensor import as_tensor, is_tensor, with_dtype
from jkr.tensors._tensor import Tensor


@any_mesh
def mttkrp(
    tensor: ArrayLike | Tensor,
    factors: Sequence[ArrayLike],
    mode: int,
    *,
    precision: Precision = None,
) -> Array:
    """Matricised tensor times Khatri–Rao product, X₍ₙ₎(∗_{m≠n} A_m), never formed.

    Y[i_n, r] = Σ X[i_1, …, i_N] ∏_{m≠n} A_m[i_m, r], multilinear in its arguments: nothing is
    conjugated.

    Args:
        tensor: array (I_1, …, I_N), N ≥ 1, a CPTensor, or any of `jkr.tensors`, which is multiplied
            by its entry weights.
        factors: factor matrices (I_m, R), one a mode; the one of mode n counts only by its shape.
        mode: n, counted from 0; negative modes count from the end.
        precision: of the matrix product with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Array (I_n, R), of the operands' (promoted) dtype; float16 and bfloat16 are accumulated in
        float32.

    Raises:
        ValueError: a tensor of order 0, factors that are no sequence of matrices with equal column
            counts and one row for each index of their mode, or a mode out of range or no int.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.mttkrp(jnp.ones((2, 3, 4)), [jnp.ones((n, 1)) for n in (2, 3, 4)], 0).ravel()
        Array([12., 12.], dtype=float32)

    Derivative (R2): MTTKRP and reconstruction are each other's transposes (J5), so with the
    cotangent Ȳ, X̄ = ⟦A_1, …, Ȳ (in place of Aₙ), …, A_N⟧, and Ā_m = the mode-m MTTKRP with Ȳ in
    place of Aₙ. That is what JAX's transposition of the two stages computes; saved are only the
    arguments. Plain autodiff saves the partial contractions too, at every step of a `scan`.

    Source: law J5; [KB09], section 3.4; splitting the modes: [PTC13].
    """
    if is_tensor(tensor):
        made, arrays = _with_factors("mttkrp", tensor, factors)
        n = _check.mode("mttkrp", mode, made.ndim)
        return tensor_mttkrps(made, tuple(arrays), precision, (n,))[0]
    x = _check.tensor("mttkrp", tensor)
    arrays, _ = _check.factors("mttkrp", factors, x.shape)
    n = _check.mode("mttkrp", mode, x.ndim)
    x, *arrays = promoted(x, *arrays)
    return dense.mttkrp(x, tuple(arrays), n, precision, is_sharded(x))


@any_mesh
def mttkrps(
    tensor: ArrayLike | Tensor, factors: Sequence[ArrayLike], *, precision: Precision = None
) -> tuple[Array, ...]:
    """MTTKRPs of all modes, (mttkrp(X, factors, 0), …), from two passes over the tensor.

    Args:
        tensor: as in `mttkrp`.
        factors: factor matrices (I_m, R), one a mode.
        precision: of the matrix products with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Tuple of N arrays (I_n, R), of the operands' (promoted) dtype.

    Raises:
        ValueError: a tensor of order 0, or factors that are no sequence of matrices with equal
            column counts and one row for each index of their mode.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> ys = jkr.mttkrps(jnp.ones((2, 3, 4)), [jnp.ones((n, 1)) for n in (2, 3, 4)])
        >>> [float(y[0, 0]) for y in ys]
        [12.0, 8.0, 6.0]

    Derivative (R2): as for `mttkrp`; all cotangents together cost a few passes over the tensor,
    whatever the number of modes.

    Source: law J5; [PTC13] (the two passes).
    """
    if is_tensor(tensor):
        made, arrays = _with_factors("mttkrps", tensor, factors)
        return tensor_mttkrps(made, tuple(arrays), precision)
    x = _check.tensor("mttkrps", tensor)
    arrays, _ = _check.factors("mttkrps", factors, x.shape)
    x, *arrays = promoted(x, *arrays)
    return dense.mttkrps(x, tuple(arrays), precision, is_sharded(x))


@any_mesh
def weighted_gram(
    entry_weights: ArrayLike,
    factors: Sequence[ArrayLike],
    mode: int,
    *,
    precision: Precision = None,
) -> Array:
    """Every row's weighted Gram KᴴWᵢK, K = ∗_{m≠n} A_m, Wᵢ = diag(row i of W₍ₙ₎), never forming K.

    G[i, r, s] = Σ W[i_1, …, i_N] ∏_{m≠n} conj(A_m[i_m, r]) A_m[i_m, s], over all indices with
    i_n = i. All rows at once are one MTTKRP of the weight tensor with the face-split factors
    conj(A_m) • A_m (J3ᴴ); each Gram is Hermitian, so that R(R+1)/2 of their columns do.

    Args:
        entry_weights: real tensor W (I_1, …, I_N) of weights; booleans count as 0 and 1.
        factors: factor matrices (I_m, R), one a mode; the one of mode n counts only by its shape.
        mode: n, counted from 0; negative modes count from the end.
        precision: of the matrix product with the tensor, as in `jax.lax.dot_general`.

    Returns:
        Array (I_n, R, R), of the operands' (promoted) dtype; integers and booleans become the
        default float.

    Raises:
        ValueError: weights that are complex or of order 0, factors that are no sequence of matrices
            with equal column counts and one row for each index of their mode, or a mode out of
            range or no int.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> factors = [jnp.ones((n, 1)) for n in (2, 3, 4)]
        >>> jkr.weighted_gram(jnp.ones((2, 3, 4)), factors, 0).ravel()
        Array([12., 12.], dtype=float32)

    Derivative: that of `mttkrp` (R2).

    Source: laws I30, J2, J3, J3ᴴ; [CDE06].
    """
    w = _check.tensor("weighted_gram", entry_weights)
    arrays, rank = _check.factors("weighted_gram", factors, w.shape)
    n = _check.mode("weighted_gram", mode, w.ndim)
    w = _check.inexact("weighted_gram", _check.real("weighted_gram", "entry_weights", w))
    w, arrays = with_weights(w, [_check.inexact("weighted_gram", a) for a in arrays])
    w = w.astype(arrays[0].dtype)
    return _weighted_gram(w, tuple(arrays), n, rank, precision, is_sharded(w))


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _weighted_gram(
    w: Array, factors: tuple[Array, ...], n: int, rank: int, precision: Precision, sharded: bool
) -> Array:
    """One program."""
    pairs = tuple(pair_columns(a) for a in factors)
    return square(dense.mttkrp(w, pairs, n, precision, sharded), rank)


def _with_factors(name: str, tensor: Any, factors: Sequence[ArrayLike]) -> tuple[Tensor, list]:
    """A tensor and factors of its shape, in their common dtype."""
    made = as_tensor(name, tensor)
    arrays, _ = _check.factors(name, factors, made.shape)
    like, *arrays = promoted(*(jax.numpy.zeros((), made.dtype), *arrays))
    return with_dtype(made, like.dtype), arrays


@partial(jax.jit, static_argnums=(2, 3))
def tensor_mttkrps(
    tensor: Tensor,
    factors: Sequence[Array],
    precision: Precision = None,
    modes: tuple[int, ...] | None = None,
) -> tuple[Array, ...]:
    """The MTTKRPs of all modes, or of some, a pass at a time; saved are the arguments only (R2)."""
    wanted = range(tensor.ndim) if modes is None else modes

    def kernel(tensor: Tensor, factors: Sequence[Array]) -> dict[int, Array]:
        found: dict[int, Array] = {}
        for part in tensor.passes(precision):
            there = [n for n in part.modes if n in wanted]
            if there:
                # What two passes make on the way is not held at once.
                factors = after(tuple(factors), list(found.values())[-1:])
                read = part.contract(factors)
                found |= {n: part.mttkrp(read, factors, n) for n in there}
        return found

    found = jax.checkpoint(kernel, prevent_cse=False)(tensor, tuple(factors))
    return tuple(found[n].astype(tensor.dtype) for n in wanted)
