"""The smallest eigenvalue of a matrix that is known by its products, and its vector."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from jkr._linalg._loops import while_loop
from jkr._linalg._small import gram, inner, matmul

Linear = Callable[[Array], Array]


def weakest(
    multiply: Linear, precondition: Linear, x: Array, *, steps: Array
) -> tuple[Array, Array]:
    """About the unit eigenvector of the smallest eigenvalue, by the LOBPCG method.

    The second value says whether it was found: whether its residual is below a tenth of the value.

    Each step is the best within the span of the vector, its preconditioned residual and the step
    before, one product with the matrix. An eigenvalue of zero does no harm, as it would in inverse
    iteration, where a system has to be solved.

    Args:
        multiply: x to S x, S Hermitian, positive semi-definite.
        precondition: x to M x, M ≈ S⁻¹, within the space that is searched.
        x: a start (n,), in that space, not zero.
        steps: largest number of products with S.

    Source: [Kny01].
    """
    eps = float(jnp.finfo(x.dtype).eps)

    def found(basis: Array, products: Array) -> Array:
        x, Sx = basis[:, 0], products[:, 0]
        value = inner(x, Sx).real
        residual = jnp.linalg.norm(Sx - value * x)
        return (residual <= 0.1 * value) | (residual == 0)

    def going(carry: tuple) -> Array:
        (basis, products), k = carry
        return (k < steps) & ~found(basis, products)

    def step(carry: tuple) -> tuple:
        (basis, products), k = carry
        x, Sx = basis[:, 0], products[:, 0]
        direction = _unit(precondition(Sx - inner(x, Sx) * x))
        # What is new in it, so that three nearly parallel vectors are told apart.
        direction = _unit(direction - inner(x, direction) * x)
        basis = jnp.stack([x, direction, basis[:, 1]], axis=1)
        products = jnp.stack([Sx, multiply(direction), products[:, 1]], axis=1)
        along = _least(gram(basis, products), gram(basis, basis), eps**0.5)
        onwards = along.at[0].set(0)
        both = jnp.stack([along, onwards], axis=1).astype(basis.dtype)
        basis, products = matmul(basis, both), matmul(products, both)
        sizes = jnp.linalg.norm(basis, axis=0)
        sizes = jnp.where(sizes > 0, sizes, 1).astype(basis.dtype)[None, :]
        return (basis / sizes, products / sizes), k + 1

    x = _unit(x)
    start = jnp.stack([x, jnp.zeros_like(x)], axis=1)
    products = jnp.stack([multiply(x), jnp.zeros_like(x)], axis=1)
    (basis, products), _ = while_loop(going, step, ((start, products), jnp.zeros((), int)))
    return basis[:, 0], found(basis, products)


def _unit(x: Array) -> Array:
    size = jnp.linalg.norm(x)
    return x / jnp.where(size > 0, size, 1).astype(x.dtype)


def _least(H: Array, G: Array, tolerance: float) -> Array:
    """The c with the least cᴴHc/cᴴGc; directions where G is flat are left out."""
    sizes, vectors = jnp.linalg.eigh(G)
    kept = sizes > tolerance * sizes[-1]
    whitened = vectors / jnp.sqrt(jnp.where(kept, sizes, 1)).astype(G.dtype)[None, :]
    within = matmul(whitened.conj().T, matmul((H + H.conj().T) / 2, whitened))
    most = jnp.sum(jnp.where(kept, jnp.diagonal(within).real, 0)) + 1
    within = jnp.where(kept[:, None] & kept[None, :], within, 0)
    within = within + jnp.diag(jnp.where(kept, 0, most)).astype(G.dtype)
    return matmul(whitened, jnp.linalg.eigh(within)[1][:, 0])
