"""Solving with the small positive semi-definite matrices of normal equations.

G⁺ = FᴴF, with F from one pivoted elimination of G, in plain `lax`: LAPACK's threads, which keep
spinning after each small call and starve XLA's on a CPU, stay out of the loop, and the
elimination batches under `vmap` like any other code.

Elimination with diagonal pivoting gives E with E G Eᴴ = D diagonal. Pivots that are positive
to rounding give F = D^{-½}E, so that x = Fᴴ(F b). The rows of E without a pivot span the null
space of G; projecting on its complement makes the answer the one of minimum norm. One step of
iterative refinement, x += FᴴF(b − G x), brings the residual down to rounding, where multiplying
with an explicit inverse may leave a factor √cond(G). Of many right-hand sides the refinement alone
is by G⁺ written out.

On an accelerator elimination is R steps of several kernels each, and F = L⁻¹ of a Cholesky
factorisation G = LLᴴ takes a sixth of the time (R = 32, H100). It is used where G is regular beyond
doubt; where it is not elimination decides, so that answers are the same. To ask costs as much as
to solve there, so sweeps are tried without (`trusted_solve`), and what is known to be definite is
not asked (`definite_root`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._linalg._loops import alike, cond, fori_loop, while_loop
from jkr._linalg._small import TINY, gram, matmul

DOUBT = 16  # times rounding that pivots of Cholesky's are to exceed


def psd_solve(G: Array, b: Array, *, minimum_norm: bool = True) -> Array:
    """Minimum-norm solution of G x = b, G Hermitian positive semi-definite.

    x = G⁺b. A pivot counts as zero where it is below max(R, 16)·eps times its own diagonal
    entry, so columns of very different scale are told from dependent ones. Always finite for finite
    arguments.

    Derivative (R3): ẋ = G⁺(ḃ − Ġx), and its transpose, b̄ = conj(G)⁺x̄, Ḡ = −b̄xᵀ in JAX's
    convention for cotangents: one more solve with the same factor, by
    `lax.custom_linear_solve`; saved are F and x. Where G is singular this is the derivative
    within the range of G, finite too. Plain autodiff of a factorisation is NaN there.

    Args:
        G: (R, R), Hermitian, positive semi-definite.
        b: (R,) or (R, k), of the same dtype.
        minimum_norm: whether a singular G gives the solution of minimum norm, or, cheaper where
            many are solved under `vmap`, one with a zero for every column that depends on others.

    Returns:
        Array of the shape of b. The residual ‖Gx − b‖ is at most 10·R·eps·‖G‖‖x‖ at condition
        numbers up to 1e12 (float64) and 1e5 (float32).
    """
    if G.shape[0] == 0:
        return b
    G, b = alike(G, b)
    return _solved_by(inverse_root(G, minimum_norm=minimum_norm), G, b)


def implicit_solve(
    multiply: Callable[[Array], Array],
    b: Array,
    inverse: Callable[[Array], Array],
    refinement: Callable[[Array], Array] | None = None,
) -> Array:
    """Solution of G x = b, G Hermitian, by `multiply`, v to G v, and `inverse`, v to G⁺v.

    It is refined once, by `refinement` if that is given. Derivatives (R3) are those of the
    equation, one more solve each (`lax.custom_linear_solve`), not of the inverses.
    """

    def solve(multiply, v: Array) -> Array:
        x = inverse(v)
        return x + (refinement or inverse)(v - multiply(x))

    def transpose_solve(multiply, v: Array) -> Array:
        # Gᵀ = conj(G), so Gᵀx = v is G conj(x) = conj(v).
        return solve(lambda x: multiply(x.conj()).conj(), v.conj()).conj()

    return lax.custom_linear_solve(multiply, b, solve, transpose_solve)


# Compiled by itself, because the modes of a fit share it: traced once, not once a mode.
@partial(jax.jit, static_argnames="minimum_norm")
def inverse_root(G: Array, *, minimum_norm: bool = True) -> Array:
    """F with G⁺ = FᴴF, (R, R), or a generalised inverse where no minimum norm is asked for.

    A constant to derivatives: those are of the equation that is solved.
    """
    eliminated = partial(_eliminated_root, minimum_norm=minimum_norm)
    tested = lambda G: with_care(_cholesky_root, eliminated, G)  # noqa: E731
    return lax.platform_dependent(lax.stop_gradient(G), cpu=eliminated, default=tested)


@jax.jit
def definite_root(G: Array) -> Array:
    """F with G⁻¹ = FᴴF of a G that is well conditioned; elsewhere it may be NaN."""
    eliminated = partial(_eliminated_root, minimum_norm=False)
    return lax.platform_dependent(G, cpu=eliminated, default=lambda G: _cholesky_root(G)[0])


def trusted_solve(G: Array, b: Array) -> tuple[Array, Array]:
    """G⁻¹b of a regular G, (R,) or (R, k), and whether it is regular beyond doubt.

    Where it is not the first means nothing. It is not refined: residuals are at rounding times the
    root of the condition number at most, which is what doubt bounds. It has no derivative.
    """
    if G.shape[0] == 0:
        return b, jnp.ones((), bool)
    F, regular = _cholesky_root(G)
    return gram(F, matmul(F, b)), regular


def _solved_by(F: Array, G: Array, b: Array) -> Array:
    """Solution of G x = b, (R,) or (R, k), with G⁺ = FᴴF.

    Many right-hand sides are taken as rows, as they are in factors, so that nothing is transposed.
    The refinement multiplies by G⁺ written out, one pass over them instead of two: that may lose
    √cond of its digits, but it corrects what is small already.
    """
    if G.shape[0] * b.size <= TINY:
        return implicit_solve(partial(matmul, G), b, lambda v: gram(F, matmul(F, v)))
    by_rows, inverse = (lambda A, v: matmul(v, A.T)), gram(F, F)
    multiply, refinement = partial(by_rows, G), partial(by_rows, inverse)
    return implicit_solve(multiply, b.T, partial(rows_by_roots, F), refinement).T


def _eliminated_root(G: Array, *, minimum_norm: bool) -> Array:
    """By elimination: it can tell what is singular."""
    scale = to_unit_diagonal(G)
    E, pivots = eliminate(scale[:, None] * G * scale[None, :], rounding(G))
    E, null = E * scale[None, :], pivots == 0
    F = jnp.where(null, 0, lax.rsqrt(jnp.where(null, 1, pivots))).astype(G.dtype)[:, None] * E
    if not minimum_norm:
        return F
    return cond(null.any(), _project, lambda F, E, null: F, F, E, null)


def with_care(quick: Callable[..., tuple[Any, Array]], careful: Callable[..., Any], *args) -> Any:
    """What a quick function finds, if it says that this is good, and else what a careful one does.

    In a batch a `cond` would do both for all; a loop does what is needed. It has no derivative.
    """
    found, good = quick(*args)
    turn = lambda _: (careful(*args), jnp.ones_like(good))  # noqa: E731
    return while_loop(lambda carry: ~carry[1], turn, (found, good))[0]


@jax.jit
def _cholesky_root(G: Array) -> tuple[Array, Array]:
    """F by Cholesky, and whether all pivots are well above those that count as zero."""
    scale = to_unit_diagonal(G)
    L = lax.linalg.cholesky(scale[:, None] * G * scale[None, :], symmetrize_input=False)
    F = lax.linalg.triangular_solve(L, jnp.diag(scale), left_side=True, lower=True)
    least = (DOUBT * rounding(G)) ** 0.5  # of the roots of pivots; no root that is NaN exceeds it
    return F, jnp.all((L.real > least) | ~jnp.eye(G.shape[0], dtype=bool))


def rounding(G: Array) -> float:
    """What pivots of a G with unit diagonal are that count as zero."""
    return max(G.shape[0], 16) * float(jnp.finfo(G.dtype).eps)


def to_unit_diagonal(G: Array) -> Array:
    """D, (R,), such that D G D has ones on its diagonal, or what is there that is not positive."""
    diagonal = jnp.diagonal(G).real
    return lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)).astype(G.dtype)


def inverse_roots(G: Array, root: Callable[[Array], Array] = inverse_root) -> Array:
    """F with G⁺ = FᴴF, of one matrix (R, R) or of a stack (I, R, R)."""
    return root(G) if G.ndim == 2 else jax.vmap(root)(G)


def rows_by_roots(F: Array, v: Array) -> Array:
    """X (I, R) with X Gᵀ = V, F being of one G, or of one a row."""
    if F.ndim == 2:
        return matmul(matmul(v, F.T), F.conj())
    return jnp.einsum("isr,isq,iq->ir", F.conj(), F, v, precision="highest")


def basis(a: Array) -> Array:
    """Columns (I, R), orthonormal or zero, whose span is that of A to the root of rounding.

    Twice by the root of a Gram: what the first leaves of √cond the second takes away. Zero are
    those of columns that depend on others. Where I ≤ R, the identity. By elimination everywhere,
    for this has derivatives.
    """
    if a.shape[0] <= a.shape[1]:
        return jnp.eye(a.shape[0], dtype=a.dtype)
    for _ in range(2):
        # In units of the columns, or their Gram would leave the range of the dtype.
        largest = jnp.max(jnp.abs(a), axis=0)
        a = a / jnp.where(largest > 0, largest, 1)[None, :].astype(a.dtype)
        a = matmul(a, _eliminated_root(gram(a, a), minimum_norm=False).conj().T)
    return a


def is_singular(G: Array, tolerance: float) -> Array:
    """Whether a pivot of G, scaled to a unit diagonal, does not exceed the tolerance.

    Not by LAPACK's Cholesky, for which JAX would import SciPy during the first call.
    """
    scale = to_unit_diagonal(G)
    _, pivots = eliminate(scale[:, None] * G * scale[None, :], tolerance)
    return ~jnp.all(pivots > 0)


def _project(F: Array, E: Array, null: Array) -> Array:
    """F restricted to the complement of the null space, which the null rows of E span."""
    N = jnp.where(null[:, None], E, 0)
    norms = jnp.sqrt(jnp.sum(jnp.abs(N) ** 2, axis=1, keepdims=True))
    N = N / jnp.where(norms == 0, 1, norms).astype(N.dtype)
    overlaps = matmul(N, N.conj().T)
    root, pivots = eliminate(overlaps + jnp.diag(~null).astype(N.dtype), 0)
    root = lax.rsqrt(pivots).astype(N.dtype)[:, None] * root
    B = matmul(root, N)
    FB = matmul(F, B.conj().T)
    return F - matmul(FB, B)


def eliminate(G: Array, tolerance: float) -> tuple[Array, Array]:
    """E and the pivots d of E G Eᴴ = diag(d); 0 for pivots that do not exceed the tolerance."""
    R = G.shape[0]
    lines = jnp.arange(R)

    def step(_, carry):
        GE, pivots, left = carry
        diagonal = jnp.where(left, jnp.diagonal(GE[:, :R]).real, -jnp.inf)
        j = jnp.argmax(diagonal)
        pivot = diagonal[j]
        good, here = pivot > tolerance, lines == j
        left = left & ~here
        ratio = jnp.where(left & good, GE[:, j], 0) / jnp.where(good, pivot, 1).astype(G.dtype)
        return GE - ratio[:, None] * GE[j][None, :], jnp.where(here & good, pivot, pivots), left

    start = (
        jnp.concatenate([G, jnp.eye(R, dtype=G.dtype)], axis=1),
        jnp.zeros(R, G.real.dtype),
        jnp.ones(R, bool),
    )
    GE, pivots, _ = fori_loop(0, R, step, start)
    return GE[:, R:], pivots
