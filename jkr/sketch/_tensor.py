"""Tensor sketch: a count sketch of x₁ ⊗ ⋯ ⊗ x_p from count sketches of the xₖ, by FFT.

With places h(i₁, …, i_p) = Σ hₖ(iₖ) mod size and signs ∏ sₖ(iₖ), the sketch of a Kronecker product
is the circular convolution of the sketches, so that with the DFT 𝓕 (I23, I21)

    𝓕 S (x₁ ⊗ ⋯ ⊗ x_p) = (𝓕C₁ • ⋯ • 𝓕C_p)(x₁ ⊗ ⋯ ⊗ x_p) = (𝓕C₁x₁) ∘ ⋯ ∘ (𝓕C_p x_p).

The face-split matrix on the left, 𝓕S, has size × n₁⋯n_p entries and is never formed: p FFTs and
one back do. The same for matrices: Hadamard products of the 𝓕CₖAₖ for A₁ ∗ ⋯ ∗ A_p (I8),
face-splitting products for A₁ ⊗ ⋯ ⊗ A_p (I15).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jkr import _check
from jkr._linalg._dtypes import accumulator
from jkr._mesh import any_mesh
from jkr._products._pairing import paired
from jkr.operators import FaceSplitting, KhatriRao, Kronecker
from jkr.sketch._count import CountSketch, count_sketch, scattered


@partial(jax.tree_util.register_dataclass, data_fields=("sketches",), meta_fields=())
@dataclass(frozen=True, eq=False)
class TensorSketch:
    """A tensor sketch S (size, n₁⋯n_p), a pytree of p count sketches; drawn by `tensor_sketch`.

    Attributes:
        sketches: p count sketches (size, nₖ), in a tuple.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> S = jkr.sketch.tensor_sketch(jax.random.key(0), (200, 300), 64)
        >>> A, B = jnp.ones((200, 5)), jnp.ones((300, 5))
        >>> (S @ jkr.operators.KhatriRao(A, B)).shape  # 60000 rows, never formed
        (64, 5)

    Source: laws I21–I23; [PP13].
    """

    sketches: tuple[CountSketch, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(size, n₁⋯n_p), two ints."""
        return self.sketches[0].size, prod(self.dims)

    @property
    def dims(self) -> tuple[int, ...]:
        """(n₁, …, n_p), p ints."""
        return tuple(C.shape[1] for C in self.sketches)

    @any_mesh
    def __matmul__(self, x: Any) -> Array:
        """S x, of the dtype of x (integers in lazy products become the default float).

        Args:
            x: a lazy `KhatriRao` or `Kronecker` product of p matrices with n₁, …, n_p rows, which
                is sketched by FFT and never formed; or an array (n₁⋯n_p,) or (n₁⋯n_p, k).

        Returns:
            Array (size,) or (size, columns).

        Raises:
            ValueError: an array of another number of entries, an operator of another kind, or with
                other row counts.

        Example:
            >>> import jax, jax.numpy as jnp, jkr
            >>> S = jkr.sketch.tensor_sketch(jax.random.key(0), (2, 3), 4)
            >>> x, y = jnp.ones((2, 1)), jnp.ones((3, 1))
            >>> (S @ jkr.operators.Kronecker(x, y)).shape, (S @ jkr.kronecker(x, y)).shape
            ((4, 1), (4, 1))

        Source: laws I8, I15, I21–I23; [PP13].
        """
        name = "sketch.TensorSketch"
        if not isinstance(x, KhatriRao | Kronecker | FaceSplitting):
            x, _ = _check.right_hand_side(name, "x", x, self.shape[1])
            return scattered(self._as_count_sketch(), x)
        factors = _check.sketched(name, x, (KhatriRao, Kronecker), self.dims)
        return convolved(self, factors, cross=isinstance(x, Kronecker)).T

    @partial(any_mesh, large=True)
    def to_dense(self, dtype: DTypeLike | None = None) -> Array:
        """S as an array.

        Args:
            dtype: floating or complex; the default float if not given.

        Returns:
            Array (size, n₁⋯n_p).

        Raises:
            ValueError: a dtype that is not floating or complex.

        Example:
            >>> import jax, jkr
            >>> jkr.sketch.tensor_sketch(jax.random.key(0), (2, 3), 4).to_dense().shape
            (4, 6)

        Source: law I23; [PP13].
        """
        dtype = _check.inexact_dtype("sketch.TensorSketch.to_dense", dtype)
        return self._as_count_sketch().to_dense(dtype)

    def _as_count_sketch(self) -> CountSketch:
        size = self.shape[0]
        indices = reduce(
            lambda i, j: ((i[:, None] + j[None, :]) % size).reshape(-1),
            [C.indices for C in self.sketches],
        )
        signs = reduce(
            lambda s, t: (s[:, None] * t[None, :]).reshape(-1), [C.signs for C in self.sketches]
        )
        return CountSketch(indices, signs, size)


@any_mesh
def tensor_sketch(key: Array, dims: Sequence[int], size: int) -> TensorSketch:
    """Draw a tensor sketch of x₁ ⊗ ⋯ ⊗ x_p, xₖ of nₖ entries, from p independent count sketches.

    S (x₁ ⊗ ⋯ ⊗ x_p) = 𝓕⁻¹((𝓕C₁x₁) ∘ ⋯ ∘ (𝓕C_p x_p)) (I23). For X, Y of n₁⋯n_p entries, real or
    complex, over the draws of S: E (SX)ᴴ(SY) = XᴴY, E (SX)ᵀ(SY) = XᵀY, so that S x^{⊗p} estimates
    (xᴴy)^p and (xᵀy)^p without bias; for real ones Var (SX)ᵀ(SY) ≤ (2 + 3^p)‖X‖²‖Y‖²/size.

    Args:
        key: a `jax.random.key`.
        dims: (n₁, …, n_p), p ints; `(n,) * p` for the p-th power of one vector.
        size: length of the sketches, an int.

    Returns:
        TensorSketch (size, n₁⋯n_p).

    Raises:
        ValueError: a key that is none; dims that are no sequence of ints of at least 1; size that
            is no int of at least 1.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> S = jkr.sketch.tensor_sketch(jax.random.key(0), (3, 3), 8)
        >>> x = jkr.operators.Kronecker(jnp.ones((3, 1)), jnp.ones((3, 1)))
        >>> jnp.allclose(S @ x, S.to_dense() @ x.to_dense(), atol=1e-5)
        Array(True, dtype=bool)

    Source: laws I21–I23; [PP13]; Avron, Nguyen & Woodruff, Subspace embeddings for the
    polynomial kernel, NeurIPS 27 (2014) (the variance).
    """
    name = "sketch.tensor_sketch"
    dims, size = _check.counts(name, "dims", dims), _check.at_least(name, "size", size)
    keys = jax.random.split(_check.key(name, key), len(dims))
    return TensorSketch(tuple(count_sketch(k, n, size) for k, n in zip(keys, dims, strict=True)))


@partial(jax.jit, static_argnames="cross")
def convolved(S: TensorSketch, ms: Sequence[Array], *, cross: bool) -> Array:
    """Sketches of ∗ms or (cross) ⊗ms, one a row: (columns, size), of the dtype of ms.

    Of real data only half of each DFT is made. Matrices that are equal are still sketched each by
    its own: a power of one sketch would be biased.
    """
    size, dtype = S.shape[0], ms[0].dtype
    wide = [a.astype(accumulator(dtype)) for a in ms]
    real = not jnp.iscomplexobj(wide[0])
    transform = jnp.fft.rfft if real else jnp.fft.fft
    spectra = [transform(scattered(C, a).T) for C, a in zip(S.sketches, wide, strict=True)]
    product = paired(spectra, cross_rows=cross, cross_columns=False)
    back = jnp.fft.irfft(product, size) if real else jnp.fft.ifft(product)
    return back.astype(dtype)
