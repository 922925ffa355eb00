"""Kronecker products as operators: rows crossed, columns crossed."""

from jax import Array

from jkr._contractions._kronecker import kronecker_matmul
from jkr._linalg._dtypes import promoted
from jkr.operators._product import Product


class Kronecker(Product):
    """Lazy Kronecker product A ⊗ B ⊗ …, a pytree of its factors.

    `@` with a vector or matrix is one small product a factor; with an operator it follows the
    laws (see `jkr.operators`).

    Args:
        *ms: matrices (I_n, J_n); a Kronecker among them gives its factors (⊗ is associative).

    Attributes:
        factors: the matrices (I_n, J_n), in their common dtype.
        crossed: (True, True): rows and columns are crossed.

    Raises:
        ValueError: no matrix, not two dimensions, or a list of matrices (unpack it).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> K = jkr.operators.Kronecker(jnp.eye(3), jnp.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> K
        Kronecker((3, 3), (2, 2), dtype=float32)
        >>> K @ jnp.ones(6)
        Array([3., 7., 3., 7., 3., 7.], dtype=float32)

    Source: [KB09], section 2.6.
    """

    crossed = (True, True)

    @property
    def T(self) -> "Kronecker":
        """(A ⊗ B)ᵀ = Aᵀ ⊗ Bᵀ."""
        return Kronecker(*(a.T for a in self.factors))

    def _apply(self, x: Array) -> Array:
        x, *factors = promoted(x, *self.factors)
        return kronecker_matmul(factors, x)
