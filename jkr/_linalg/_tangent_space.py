"""Tangent vectors of a CP model: their Gram matrix, the Gauss–Newton matrix, and the gauge.

A small change of the model is T = Σᵣ Σₙ (component r with Dₙ[:, r] in place of its unit column
uₙ), D being λ times the change of a column, or any share of the change of the weight along uₙ. The
Gram matrix S of these tangent vectors, the Gauss–Newton matrix of unit columns, is known from the
Grams of the factors. The N ways to say the change of one weight are the gauge: of them the even
one is kept, scaled to a unit tangent vector, and the others are put out of the way.

Along directions orthogonal to all columns of a factor S is block diagonal, so that only the part
within their span, of R rows a mode at most, is written out; with entry weights, all of it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array

from jkr._linalg._order import in_turn
from jkr._linalg._small import gram, matmul, product_of_others

Factors = Sequence[Array]
CrossGram = Callable[[int, int], Array]


def compressed(units: Factors) -> tuple[Factors, Factors]:
    """Coordinates of the columns in an orthonormal basis of their span, and that basis."""

    def basis_and_inside(a: Array) -> tuple[Array, Array]:
        rows, rank = a.shape
        return jnp.linalg.qr(a) if rows > rank else (jnp.eye(rows, dtype=a.dtype), a)

    bases, small = zip(*in_turn(basis_and_inside, units), strict=True)
    return small, bases


def cross_gram(units: Factors, n: int, m: int) -> Array:
    """As `Tensor.cross_gram`, where all entries weigh the same."""
    G = product_of_others([gram(a, a) for a in units], n, m)
    return G.reshape((1,) * (1 if n == m else 2) + G.shape)


def tangent_gram(units: Factors, cross: CrossGram) -> Array:
    """S, with one of the gauge's N directions a component in it, and the rest at eigenvalue 2R.

    The squares of R orthonormal bases side by side have no eigenvalue above R.
    """
    order, rank = len(units), units[0].shape[1]
    S = tangent_matrix(units, range(order), cross)
    Z = _along_columns(units)
    apart = jnp.eye(order) - 1 / order
    keep = jnp.eye(S.shape[0], dtype=S.dtype) - (1 - order**-0.5) * matmul(Z, Z.conj().T)
    gauge = jnp.kron(apart, jnp.eye(rank)).astype(S.dtype)
    return matmul(keep, matmul(S, keep)) + 2 * rank * matmul(Z, matmul(gauge, Z.conj().T))


def tangent_matrix(factors: Factors, modes: Sequence[int], cross: CrossGram) -> Array:
    """JᴴWJ for the factors of some modes, one below the other, gauge and all.

    Args:
        factors: of all modes.
        modes: in increasing order.
        cross: as `Tensor.cross_gram`, of two of the modes, the first not after the second.
    """
    blocks = {
        (n, m): tangent_block(factors, cross(n, m), n, m) for n in modes for m in modes if n <= m
    }
    blocks |= {(m, n): G.conj().T for (n, m), G in blocks.items() if n < m}
    return jnp.block([[blocks[n, m] for m in modes] for n in modes])


def tangent_block(units: Factors, G: Array, n: int, m: int) -> Array:
    """⟨∂T/∂Dₙ[i, r], ∂T/∂Dₘ[j, s]⟩, (I_n R, I_m R), from the cross Gram of the two modes."""
    a, b = units[n], units[m]
    if n == m:
        matrix = jnp.eye(a.shape[0], dtype=a.dtype)[:, None, :, None] * G[:, :, None, :]
    else:
        matrix = G.transpose(0, 2, 1, 3) * a[:, None, None, :] * b.conj().T[None, :, :, None]
    return matrix.reshape(a.size, b.size)


def _along_columns(units: Factors) -> Array:
    """Unit columns as changes of themselves, (Σ I_n R, N R)."""
    rank = units[0].shape[1]
    each = [a[:, :, None] * jnp.eye(rank, dtype=a.dtype)[None, :, :] for a in units]
    return jax.scipy.linalg.block_diag(*(e.reshape(-1, rank) for e in each))


def inverse_diagonal(G: Array) -> Array:
    """Diagonal of G⁻¹."""
    root = _clipped_root(G)
    return jnp.sum(jnp.abs(root) ** 2, axis=1)


def _clipped_root(G: Array) -> Array:
    """C with G⁻¹ = C Cᴴ; eigenvalues below rounding are raised to it."""
    values, vectors = jnp.linalg.eigh(G)
    least = float(jnp.finfo(G.dtype).eps) * G.shape[0] * values[-1]
    return vectors / jnp.sqrt(jnp.maximum(values, least))[None, :].astype(G.dtype)


def variances(units: Factors, bases: Factors, cross: CrossGram) -> tuple[Array, Factors]:
    """Diagonal of S⁻¹ for the weights, and for the columns, in units of σ²; λ = 1."""
    order, rank = len(units), units[0].shape[1]
    Z, root = _along_columns(units), _clipped_root(tangent_gram(units, cross))
    along = gram(Z, root)  # (N R, p)
    sums = jnp.sum(along.reshape(order, rank, -1), axis=0)
    of_weights = jnp.sum(jnp.abs(sums) ** 2, axis=1) / order
    if jnp.iscomplexobj(Z):
        of_weights = of_weights / 2  # the real part of the change; the rest turns the phase
    across, columns, row = root - matmul(Z, along), [], 0
    for a, q in zip(units, bases, strict=True):
        mine = across[row : row + a.size].reshape(*a.shape, -1)
        covariance = jnp.einsum("irk,jrk->rij", mine, mine.conj(), precision="highest")
        row += a.size
        columns.append(
            jnp.einsum("xi,rij,xj->xr", q, covariance, q.conj(), precision="highest").real
        )
    return of_weights, columns


def off_gauge(vs: Factors, factors: Factors) -> tuple[Array, ...]:
    """The orthogonal projection of a change of balanced factors on what is off the gauge.

    The gauge is (cₙ aₙ) with Σ cₙ = 0, component by component; orthogonal to it are coefficients
    aₙᴴvₙ that do not depend on n.
    """
    squares = jnp.stack([jnp.sum((a * a.conj()).real, axis=0) for a in factors])
    products = [jnp.sum(a.conj() * v, axis=0) for a, v in zip(factors, vs, strict=True)]
    products, there = jnp.stack(products), squares > 0
    inverse = jnp.where(there, 1 / jnp.where(there, squares, 1), 0).astype(factors[0].dtype)
    # Where a column is zero, any change of the others' scales is of the gauge.
    sums = jnp.sum(inverse, axis=0)
    common = jnp.sum(products * inverse, axis=0) / jnp.where(sums == 0, 1, sums)
    common = jnp.where(there.all(axis=0), common, 0)
    along = (products - common[None, :]) * inverse
    return tuple(v - a * c[None, :] for a, v, c in zip(factors, vs, along, strict=True))
