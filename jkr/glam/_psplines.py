"""P-splines: B-spline bases on many equal segments, and penalties on differences of coefficients.

Cox–de Boor, from the indicators B_{j,0} of the intervals between knots t:

    B_{j,k}(x) = (x − t_j)/(t_{j+k} − t_j) B_{j,k−1}(x)
               + (t_{j+k+1} − x)/(t_{j+k+1} − t_{j+1}) B_{j+1,k−1}(x)

Each step is two products of whole matrices; a quotient over an empty interval counts as 0.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import accumulator, promoted
from jkr._mesh import any_mesh


@any_mesh
def bspline_basis(x: ArrayLike, knots: ArrayLike, degree: int = 3) -> Array:
    """B-spline basis functions at given points, as a matrix.

    B[i, j] = B_{j,degree}(x_i), by the recursion of Cox and de Boor. At the points of the base
    interval [t_degree, t_J], its right end included, each row adds up to 1 and has degree + 1
    entries that are not 0; beyond, the functions fall to 0 at the outermost knots, which is no
    extrapolation: choose knots that cover the points.

    Args:
        x: points (I,), real.
        knots: t (J + degree + 1,), increasing (traced ones that fall give NaN); `uniform_knots`
            makes those of P-splines.
        degree: of the pieces, an int of at least 0.

    Returns:
        Array (I, J), of the promoted dtype of x and knots; integers become the default float.

    Raises:
        ValueError: x or knots that are complex or no vectors; fewer than 2·degree + 2 knots, or
            knots that fall; a degree that is no int of at least 0.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.glam.bspline_basis(jnp.array([0.0, 0.25, 1.0]), jnp.array([0.0, 0.0, 1.0, 1.0]), 1)
        Array([[1.  , 0.  ],
               [0.75, 0.25],
               [0.  , 1.  ]], dtype=float32)

    Source: [dB72]; [EM96].
    """
    name = "glam.bspline_basis"
    degree = _check.at_least(name, "degree", degree, 0)
    points, t = (
        _check.real_vector(name, what, v, least)
        for what, v, least in (("x", x, 0), ("knots", knots, 2 * degree + 2))
    )
    points, t = promoted(points, t)
    _check.not_falling(name, "knots", t)
    return _cox_de_boor(points, t, degree)


@partial(jax.jit, static_argnums=2)  # outside `jit`, one program instead of many small ones
def _cox_de_boor(x: Array, knots: Array, degree: int) -> Array:
    points, t = (v.astype(accumulator(x.dtype)) for v in (x[:, None], knots[None, :]))
    last = t[:, -degree - 1, None]  # the right end of the base interval
    left, right = t[:, :-1], t[:, 1:]
    within = (left <= points) & (points < right)
    inside = jnp.where(points == last, (left < last) & (right == last), within)
    B = jnp.where(jnp.all(left <= right), inside.astype(points.dtype), jnp.nan)
    for k in range(1, degree + 1):
        rise = _quotient(points - t[:, : -k - 1], t[:, k:-1] - t[:, : -k - 1])
        fall = _quotient(t[:, k + 1 :] - points, t[:, k + 1 :] - t[:, 1:-k])
        B = rise * B[:, :-1] + fall * B[:, 1:]
    return B.astype(x.dtype)


@any_mesh
def uniform_knots(low: ArrayLike, high: ArrayLike, segments: int, degree: int = 3) -> Array:
    """Knots of P-splines: `segments` equal segments from low to high, and `degree` more beyond.

    t_j = low + (j − degree)·h, h = (high − low)/segments, for a basis of segments + degree
    functions.

    Args:
        low: left end of the base interval, a real scalar.
        high: right end, a real scalar above low.
        segments: their number, an int of at least 1.
        degree: of the splines, an int of at least 0.

    Returns:
        Array (segments + 2·degree + 1,), of the promoted dtype of low and high; integers become the
        default float.

    Raises:
        ValueError: ends that are no real scalars, or out of order; segments that is no int of at
            least 1; degree that is no int of at least 0.

    Example:
        >>> import jkr
        >>> jkr.glam.uniform_knots(0.0, 1.0, 2, degree=1)
        Array([-0.5,  0. ,  0.5,  1. ,  1.5], dtype=float32)

    Source: [EM96].
    """
    name = "glam.uniform_knots"
    segments = _check.at_least(name, "segments", segments)
    degree = _check.at_least(name, "degree", degree, 0)
    low, high = (_check.real_scalar(name, what, x) for what, x in (("low", low), ("high", high)))
    low, high = promoted(low, high)
    _check.in_order(name, low, high)
    steps = jnp.asarray(np.arange(-degree, segments + degree + 1) / segments, low.dtype)
    return low * (1 - steps) + high * steps


@any_mesh
def difference_penalty(n: int, order: int = 2) -> Array:
    """Penalty DᵀD on the differences of given order of n coefficients, θᵀDᵀDθ = ‖Dθ‖².

    Args:
        n: number of coefficients, an int.
        order: of the differences, an int below n; polynomials of degree order − 1 are free of
            penalty.

    Returns:
        Array (n, n), symmetric positive semi-definite, of the default float; its entries are ints.

    Raises:
        ValueError: n that is no int of at least 1; an order that is none of 0, …, n − 1.

    Example:
        >>> import jkr
        >>> jkr.glam.difference_penalty(3, order=1)
        Array([[ 1., -1.,  0.],
               [-1.,  2., -1.],
               [ 0., -1.,  1.]], dtype=float32)

    Source: [EM96].
    """
    name = "glam.difference_penalty"
    n = _check.at_least(name, "n", n)
    order = _check.at_least(name, "order", order, 0, below=n)
    D = np.diff(np.eye(n), order, axis=0)
    return jnp.asarray(D.T @ D, jnp.result_type(float))


def _quotient(a: Array, width: Array) -> Array:
    """a / width, 0 where the width is, with finite derivatives."""
    return jnp.where(width > 0, a / jnp.where(width > 0, width, 1), 0)
