"""The dual pair: Khatri–Rao products (columns matched) and face-splitting products (rows matched).

(A • B)ᵀ = Aᵀ ∗ Bᵀ (I1), so `.T` and `.H` lead from one to the other. What a tall Khatri–Rao matrix
K = A ∗ B ∗ … is mostly wanted for (Gram, norm, least squares, leverage scores) goes by its Gram
G = KᴴK = ∘ₙ AₙᴴAₙ (I10ᴴ), R×R, and K⁺ = G⁺Kᴴ (J1).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jkr import _check
from jkr._contractions._gram import khatri_rao_gram
from jkr._contractions._lstsq import khatri_rao_lstsq, normal_solve
from jkr._contractions._matmul import face_splitting_matmul, khatri_rao_matmul
from jkr._linalg._dtypes import accumulator
from jkr._linalg._small import matmul, pair_columns
from jkr._mesh import any_mesh
from jkr.operators._product import Product


class KhatriRao(Product):
    """Lazy Khatri–Rao product K = A ∗ B ∗ …, a pytree of its factors.

    `@` with a vector or matrix is `khatri_rao_matmul`; with an operator it follows the laws (see
    `jkr.operators`).

    Args:
        *ms: matrices (I_n, R) with equal column counts; a KhatriRao among them gives its factors.

    Attributes:
        factors: the matrices (I_n, R), in their common dtype.
        crossed: (True, False): rows are crossed, columns matched.

    Raises:
        ValueError: no matrix, not two dimensions, unequal column counts, or a list of matrices
            (unpack it).

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> ms = [jax.random.normal(jax.random.key(n), (5000, 8)) for n in range(4)]
        >>> K = jkr.operators.KhatriRao(*ms)
        >>> K.shape, K.gram().shape
        ((625000000000000, 8), (8, 8))
        >>> jnp.allclose(K.lstsq(2 * K), 2 * jnp.eye(8), atol=1e-4)
        Array(True, dtype=bool)

    Source: laws I1–I10, I13, J1; Khatri & Rao, Sankhya 30 (1968) 167–180.
    """

    crossed = (True, False)

    @property
    def T(self) -> "FaceSplitting":
        """(A ∗ B)ᵀ = Aᵀ • Bᵀ (I1)."""
        return FaceSplitting(*(a.T for a in self.factors))

    @any_mesh
    def gram(self) -> Array:
        """Gram matrix KᴴK = ∘ₙ AₙᴴAₙ (I10ᴴ), by `khatri_rao_gram`, whose derivative rule is R1.

        Returns:
            Array (R, R), Hermitian, of the operator's dtype.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> jkr.operators.KhatriRao(jnp.ones((300, 1)), jnp.ones((400, 1))).gram()
            Array([[120000.]], dtype=float32)

        Source: law I10ᴴ, rule R1; Khatri & Rao, Sankhya 30 (1968) 167–180.
        """
        return khatri_rao_gram(*self.factors)

    @any_mesh
    def lstsq(self, y: Any, l2: ArrayLike = 0.0) -> Array:
        """argmin ‖K x − y‖² + l2‖x‖², of minimum norm, as `khatri_rao_lstsq` (J1, R3).

        x = (KᴴK + l2 I)⁺ Kᴴy. A right-hand side that is itself a product is never formed: Kᴴy is
        an operator's product with it (I8, I15), and for a CP tensor y = (∗factors) weights.

        Args:
            y: (rows,) or (rows, k); an operator of that many rows; or a CP tensor (anything with
                `weights` and `factors`) of that many entries, read in C order.
            l2: nonnegative real scalar, in the units of ‖K‖²; a traced one below 0 gives NaN.

        Returns:
            Array (R,) or (R, k), of the operands' (promoted) dtype, k the columns of y. This is the
            solution, so for an operator y of many columns it is as wide.

        Raises:
            ValueError: y of another number of rows, or a CP tensor of another number of weights
                than components; l2 that is no real scalar, or negative.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> a, b = jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [1.0], [3.0]])
            >>> model = jkr.cp.CPTensor(jnp.array([5.0]), (a, b))
            >>> jkr.operators.KhatriRao(a, b).lstsq(model)
            Array([5.], dtype=float32)

        Derivative (R3): as that of `khatri_rao_lstsq`.

        Source: laws I8, I15, J1, rule R3.
        """
        name = self._name("lstsq")
        if isinstance(y, Product):
            right, weights = y, None
        elif hasattr(y, "weights") and hasattr(y, "factors"):
            right = KhatriRao(*y.factors)
            weights = _check.inexact(
                name, _check.weights(name, y.weights, right.shape[1], right.dtype)
            )
        else:
            _check.right_hand_side(name, "y", y, self.shape[0])
            return khatri_rao_lstsq(self.factors, y, l2=l2)
        _check.same_rows(name, self.shape[0], right.shape)
        K, right = self._inexact("lstsq"), right._inexact("lstsq")
        dtype = jnp.result_type(K.dtype, right.dtype, *([] if weights is None else [weights.dtype]))
        K, right, weights = jax.tree.map(
            lambda a: a.astype(accumulator(dtype)), (K, right, weights)
        )
        b = K.H @ right
        b = b.to_dense() if isinstance(b, Product) else b
        b = b if weights is None else matmul(b, weights)
        return normal_solve(name, K.factors, b, l2).astype(dtype)

    @partial(any_mesh, large=True)
    def leverage_scores(self) -> Array:
        """Leverage of every row, the diagonal of K K⁺ = K G⁺Kᴴ (J1).

        Between 0 and 1; they add up to the rank of K. With the face-split factors of the Gram
        (J2), ℓ = Re Σ_{r≤s} w_rs ∏ₙ conj(Aₙ[iₙ, r]) Aₙ[iₙ, s], w_rs = G⁺[s, r], doubled off the
        diagonal: a product of R(R+1)/2 columns with a vector.

        Returns:
            Real array (rows,), of the operator's precision; integers become the default float.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> K = jkr.operators.KhatriRao(jnp.ones((2, 1)), jnp.ones((2, 1)))
            >>> K.leverage_scores()
            Array([0.25, 0.25, 0.25, 0.25], dtype=float32)

        Derivative (R3): as that of `khatri_rao_lstsq`.

        Source: laws J1, J2; [DMM08].
        """
        factors = self._inexact("leverage_scores").factors
        R = factors[0].shape[1]
        inverse = normal_solve(
            self._name("leverage_scores"), factors, jnp.eye(R, dtype=factors[0].dtype), 0.0
        )
        rows, columns = np.triu_indices(R)
        both = jnp.asarray(np.where(rows == columns, 1, 2), inverse.real.dtype)
        weights = inverse[columns, rows] * both.astype(inverse.dtype)
        pairs = [pair_columns(a.astype(inverse.dtype)) for a in factors]
        scores = khatri_rao_matmul(pairs, weights, precision="highest")
        return scores.real.astype(factors[0].real.dtype)

    def _apply(self, x: Array) -> Array:
        return khatri_rao_matmul(self.factors, x)


class FaceSplitting(Product):
    """Lazy face-splitting product A • B • …, a pytree of its factors.

    `@` with a vector or matrix is `face_splitting_matmul`; with an operator it follows the laws
    (see `jkr.operators`).

    Args:
        *ms: matrices (I, J_n) with equal row counts; a FaceSplitting among them gives its factors.

    Attributes:
        factors: the matrices (I, J_n), in their common dtype.
        crossed: (False, True): rows are matched, columns crossed.

    Raises:
        ValueError: no matrix, not two dimensions, unequal row counts, or a list of matrices
            (unpack it).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> a, b = jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 4.0]])
        >>> F = jkr.operators.FaceSplitting(a, b)
        >>> F, F.T
        (FaceSplitting((1, 2), (1, 2), dtype=float32), KhatriRao((2, 1), (2, 1), dtype=float32))
        >>> F @ F.T  # (AAᵀ)∘(BBᵀ), an array (I7)
        Array([[125.]], dtype=float32)
        >>> F.scale_columns(jnp.array([1.0, 10.0]), jnp.array([1.0, 0.0])).to_dense()
        Array([[ 3.,  0., 60.,  0.]], dtype=float32)

    Source: laws I1–I9, I15; [Sly99].
    """

    crossed = (False, True)

    @property
    def T(self) -> KhatriRao:
        """(A • B)ᵀ = Aᵀ ∗ Bᵀ (I1)."""
        return KhatriRao(*(a.T for a in self.factors))

    def _apply(self, x: Array) -> Array:
        return face_splitting_matmul(self.factors, x)
