"""Random features of the polynomial kernel (γ xᴴy + c)^p, by tensor sketch.

(γ xᴴy + c)^p = zᴴz′ with z = (√γ x, √c)^{⊗p}, of (n + 1)^p entries; its tensor sketch has `size`.
"""

from functools import partial

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import accumulator
from jkr._linalg._norms import square_root
from jkr._mesh import any_mesh
from jkr.sketch._tensor import TensorSketch, convolved


@partial(any_mesh, large=True)
def polynomial_features(
    x: ArrayLike, sketch: TensorSketch, *, gamma: ArrayLike = 1.0, coef0: ArrayLike | None = None
) -> Array:
    """Random features φ of the polynomial kernel: E φ(x)ᴴφ(y) = (γ xᴴy + c)^p.

    φ(x) = S z^{⊗p}, z = √γ x, or (√γ x, √c) where a constant term c is given: p FFTs a vector. For
    complex x the kernel is as written; without the conjugates, φ(x)ᵀφ(y), it is (γ xᵀy + c)^p.
    For real x the variance is at most (2 + 3^p)((γ‖x‖² + c)(γ‖y‖² + c))^p/size.

    Args:
        x: vectors (..., n), one a row.
        sketch: `tensor_sketch(key, (n,) * p, size)`; with `coef0`, `(n + 1,) * p`.
        gamma: γ, real, at least 0; a traced one below 0 gives NaN.
        coef0: c, likewise; None for no constant term (c = 0).

    Returns:
        Array (..., size), of the dtype of x; integers become the default float.

    Raises:
        ValueError: a sketch that is no TensorSketch of p vectors of n (or n + 1) entries; gamma
            or coef0 that is no real scalar, or negative.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> S = jkr.sketch.tensor_sketch(jax.random.key(0), (5, 5), 4096)
        >>> x, y = jkr.sketch.polynomial_features(jnp.eye(4)[:2] + 1, S, coef0=1.0)
        >>> bool(abs(x @ y / (6 + 1) ** 2 - 1) < 0.2)
        True

    Source: law I23; [PP13]; as scikit-learn's `PolynomialCountSketch`.
    """
    name = "sketch.polynomial_features"
    x = _check.inexact(name, x)
    bias = coef0 is not None
    _check.lazy(name, sketch, TensorSketch, "a TensorSketch")
    x = _check.features(name, x, sketch.dims, bias=bias)
    rows = x.reshape(-1, x.shape[-1]).astype(accumulator(x.dtype))
    real = rows.real.dtype
    z = square_root(_scalar(name, "gamma", gamma, real)).astype(rows.dtype) * rows
    if bias:
        root = square_root(_scalar(name, "coef0", coef0, real)).astype(rows.dtype)
        z = jnp.concatenate([z, jnp.broadcast_to(root, (len(z), 1))], axis=1)
    features = convolved(sketch, [z.T] * len(sketch.dims), cross=False)
    return features.reshape(*x.shape[:-1], sketch.shape[0]).astype(x.dtype)


def _scalar(name, what, value, dtype) -> Array:
    return jnp.asarray(_check.at_least_zero(name, what, value, dtype))
