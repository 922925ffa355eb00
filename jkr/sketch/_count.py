"""Count sketch: C x with C[h(i), i] = s(i), one random place h and one random sign s a column.

    (C x)[j] = Σ_{h(i) = j} s(i) x[i]

C is never formed: C x is one addition an entry, Cᵀ y (the derivative) one look-up an entry.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jkr import _check
from jkr._linalg._dtypes import accumulator
from jkr._mesh import any_mesh


@partial(jax.tree_util.register_dataclass, data_fields=("indices", "signs"), meta_fields=("size",))
@dataclass(frozen=True, eq=False)
class CountSketch:
    """A count sketch C (size, n), a pytree of its places and signs; drawn by `count_sketch`.

    Attributes:
        indices: the place of each entry, integers (n,) below `size`.
        signs: ±1, integers (n,).
        size: length of what it makes, an int, static.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> C = jkr.sketch.CountSketch(jnp.array([0, 1, 0]), jnp.array([1, 1, -1]), 2)
        >>> C @ jnp.array([5.0, 6.0, 7.0])
        Array([-2.,  6.], dtype=float32)

    Source: [CCF04].
    """

    indices: Array
    signs: Array
    size: int

    @property
    def shape(self) -> tuple[int, int]:
        """(size, n), two ints."""
        return self.size, self.indices.shape[0]

    @any_mesh
    def __matmul__(self, x: ArrayLike) -> Array:
        """C x, never forming C: (C x)[j] = Σ_{h(i) = j} s(i) x[i].

        Args:
            x: array (n,) or (n, k).

        Returns:
            Array (size,) or (size, k), of the dtype of x; booleans become the default int.

        Raises:
            ValueError: another number of entries.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> C = jkr.sketch.CountSketch(jnp.array([0, 1, 0]), jnp.array([1, 1, -1]), 2)
            >>> C @ jnp.eye(3)
            Array([[ 1.,  0., -1.],
                   [ 0.,  1.,  0.]], dtype=float32)

        Source: [CCF04].
        """
        x, _ = _check.right_hand_side("sketch.CountSketch", "x", x, self.shape[1])
        return scattered(self, x)

    @partial(any_mesh, large=True)
    def to_dense(self, dtype: DTypeLike | None = None) -> Array:
        """C as an array.

        Args:
            dtype: floating or complex; the default float if not given.

        Returns:
            Array (size, n).

        Raises:
            ValueError: a dtype that is not floating or complex.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> jkr.sketch.CountSketch(jnp.array([1, 0]), jnp.array([1, -1]), 2).to_dense()
            Array([[ 0., -1.],
                   [ 1.,  0.]], dtype=float32)

        Source: [CCF04].
        """
        dtype = _check.inexact_dtype("sketch.CountSketch.to_dense", dtype)
        return scattered(self, jnp.eye(self.shape[1], dtype=dtype))


@any_mesh
def count_sketch(key: Array, n: int, size: int) -> CountSketch:
    """Draw a count sketch of vectors of n entries, independent places and signs.

    (C x)[j] = Σ_{h(i) = j} s(i) x[i]. Real or complex x and y, over the draws of C:
    E (Cx)ᴴ(Cy) = xᴴy, E (Cx)ᵀ(Cy) = xᵀy, and for real ones
    Var (Cx)ᵀ(Cy) = (‖x‖²‖y‖² + (xᵀy)² − 2 Σ xᵢ²yᵢ²)/size.

    Args:
        key: a `jax.random.key`.
        n: length of the vectors, an int.
        size: length of their sketches, an int.

    Returns:
        CountSketch (size, n).

    Raises:
        ValueError: a key that is none; n or size that is no int of at least 1.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> C = jkr.sketch.count_sketch(jax.random.key(0), 1000, 64)
        >>> (C @ jnp.ones((1000, 3))).shape
        (64, 3)

    Source: [CCF04]; [WDL09] (the variance).
    """
    name = "sketch.count_sketch"
    n, size = _check.at_least(name, "n", n), _check.at_least(name, "size", size)
    place, sign = jax.random.split(_check.key(name, key))
    indices = jax.random.randint(place, (n,), 0, size, jnp.int32)
    return CountSketch(indices, jax.random.rademacher(sign, (n,), jnp.int8), size)


@jax.jit
def scattered(C: CountSketch, x: Array) -> Array:
    """C x for x (n,) or (n, k); float16 and bfloat16 are accumulated in float32."""
    x = x.astype(jnp.result_type(int)) if x.dtype == bool else x
    wide = x.astype(accumulator(x.dtype))
    signs = C.signs.astype(wide.dtype).reshape(-1, *(1 for _ in x.shape[1:]))
    return jax.ops.segment_sum(signs * wide, C.indices, C.size).astype(x.dtype)
