"""Conjugate gradients for a symmetric system that is known by its products only.

Vectors are flat and real; `as_vector` makes one of several arrays.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jkr._linalg._loops import while_loop
from jkr._linalg._small import inner

Linear = Callable[[Array], Array]
Arrays = tuple[Array, ...]


def solve_symmetric(
    multiply: Linear,
    precondition: Linear,
    b: Array,
    *,
    steps: int,
    tolerance: Array | float = 0.0,
) -> Array:
    """Solution of H x = b, H symmetric positive definite on what b spans, real vectors.

    Both modes of differentiation, and any order of them, solve once more with the same H
    (`lax.custom_linear_solve`).

    Args:
        multiply: v to H v; what it closes over has derivatives.
        precondition: v to M v, M ≈ H⁻¹ in scale too, symmetric positive semi-definite.
        b: right-hand side (n,).
        steps: largest number of products with H; that they ran out is not flagged.
        tolerance: relative size of the residual, below which nothing is left to do; not
            differentiated.

    Returns:
        Array (n,), x with rᵀMr ≤ max(eps^{3/2}, tolerance²) bᵀMb, r the residual. Where H is flat
        or bends down along a direction of search, pᵀHp ≤ 16 eps·pᵀM⁻¹p, it is the iterate before
        (Steihaug, doi:10.1137/0720042, without his boundary), which is 0 if that is the first.
        Finite for finite b, NaN for others. Who must know how good x is looks at b − H x.
    """
    enough = jnp.maximum(float(jnp.finfo(b.dtype).eps) ** 1.5, jnp.asarray(tolerance, b.dtype) ** 2)
    solve = partial(
        _conjugate_gradients,
        precondition=precondition,
        steps=steps,
        enough=lax.stop_gradient(enough),
    )
    return lax.custom_linear_solve(multiply, b, solve, symmetric=True)


def _conjugate_gradients(
    multiply: Linear, b: Array, *, precondition: Linear, steps: int, enough: Array
) -> Array:
    """The residual is r, the direction of search p = M m."""
    eps = float(jnp.finfo(b.dtype).eps)
    finite = jnp.all(jnp.isfinite(b))
    size = jnp.max(jnp.abs(b), initial=0)
    scale = jnp.where(size > 0, size, 1)
    b = b / scale
    z = precondition(b)
    first = inner(b, z)

    def going(carry):
        *_, size, k, curved = carry
        return (size > enough * first) & (k < steps) & curved

    def step(carry):
        x, r, p, m, size, k, _ = carry
        q = multiply(p)
        curvature = inner(p, q)
        curved = curvature > 16 * eps * inner(p, m)
        length = jnp.where(curved, size / jnp.where(curved, curvature, 1), 0)
        x, r = x + length * p, r - length * q
        z = precondition(r)
        after = inner(r, z)
        turn = after / size
        return x, r, z + turn * p, r + turn * m, after, k + 1, curved

    start = jnp.zeros_like(b), b, z, b, first, 0, True
    x = while_loop(going, step, start)[0]
    x = scale * jnp.where(jnp.isfinite(x), x, 0)
    return jnp.where(finite, x, jnp.nan)


def as_vector(arrays: Arrays) -> tuple[Array, Callable[[Array], Arrays]]:
    """All entries in one real vector, and the way back.

    Real and imaginary parts apart: the Hessian of complex factors is linear over the reals only.
    """
    if not jnp.iscomplexobj(arrays[0]):
        return ravel_pytree(arrays)
    v, back = ravel_pytree([(a.real, a.imag) for a in arrays])
    return v, lambda v: tuple(lax.complex(*parts) for parts in back(v))
