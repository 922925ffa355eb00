"""A CP model as a tensor: what is asked of it comes from Grams, and it is never formed (J6).

With T = ⟦μ; B_1, …, B_M⟧, its MTTKRP with any columns is T₍ₙ₎(∗_{m≠n} C_m) =
Bₙ diag(μ) ∘_{m≠n} (B_mᵀC_m), and its norm that of the Grams. So models can be added, re-compressed
and compared at the cost of small products.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jkr._contractions import _elementwise
from jkr._contractions._reconstruct import dense
from jkr._linalg._dtypes import Precision
from jkr._linalg._norms import column_norms, square_root
from jkr._linalg._order import in_turn
from jkr._linalg._small import gram, inner, matmul, product_of_others
from jkr._products._hadamard import hadamard
from jkr.tensors._tensor import BAD_ENTRIES, GOOD, AtZero, Entrywise, Factors, Pass, Scale, Tensor


@partial(
    jax.tree_util.register_dataclass, data_fields=("weights", "factors"), meta_fields=("sharded",)
)
@dataclass(frozen=True)
class Modelled(Tensor):
    """The tensor that a CP model stands for.

    Attributes:
        weights: μ (M,).
        factors: Bₙ (I_n, M), one a mode.
        sharded: whether they are spread over devices.
    """

    weights: Array
    factors: tuple[Array, ...]
    sharded: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(I_1, …, I_N)."""
        return tuple(b.shape[0] for b in self.factors)

    @property
    def dtype(self) -> DTypeLike:
        """That of weights and factors."""
        return self.weights.dtype

    def passes(self, precision: Precision = None) -> tuple[Pass, ...]:
        """One, which reads nothing but factors."""

        def contract(columns: Factors) -> None:
            return None

        def mttkrp(partial: Any, columns: Factors, mode: int) -> Array:
            crossed = [gram(b.conj(), c) for b, c in zip(self.factors, columns, strict=True)]
            return matmul(
                self.factors[mode] * self.weights[None, :], product_of_others(crossed, mode)
            )

        def of_grams(partial: Any, factors: Factors, grams: Factors, mode: int) -> Array:
            return product_of_others(grams, mode)

        return (Pass(tuple(range(self.ndim)), contract, mttkrp, of_grams),)

    def astype(self, dtype: DTypeLike) -> "Modelled":
        """The same model in another precision."""
        factors = tuple(b.astype(dtype) for b in self.factors)
        return replace(self, weights=self.weights.astype(dtype), factors=factors)

    def entrywise(
        self,
        f: Entrywise,
        model: tuple[Array, Factors],
        columns: Factors | None = None,
        *,
        precision: Precision = None,
        at_zero: AtZero | None = None,
    ) -> tuple[Array, tuple[Array, ...]]:
        """Blocks of both models at a time."""
        return _elementwise.entrywise(
            f,
            [model, (self.weights, self.factors)],
            [],
            columns,
            sharded=self.sharded,
            precision=precision,
        )

    def beside(self, model: tuple[Array, Factors]) -> tuple[Tensor, tuple[Array, Factors]]:
        """Both in bases of what their factors span together: the R of [Bₙ Aₙ] = QR.

        Where both are near each other Grams would tell the distance to half of its digits only.
        """
        weights, factors = model
        if self.sharded:
            return self, model
        pairs = zip(self.factors, factors, strict=True)
        joint = in_turn(_triangular, [jnp.concatenate(pair, axis=1) for pair in pairs])
        count = len(self.weights)
        small = replace(self, factors=tuple(r[:, :count] for r in joint))
        return small, (weights, tuple(r[:, count:] for r in joint))

    def project(self, matrices: Factors) -> Array:
        """⟦μ; U_1ᴴB_1, …⟧, formed: it is as small as the matrices say."""
        small = tuple(gram(u, b) for u, b in zip(matrices, self.factors, strict=True))
        return dense(self.weights, small, "highest")

    def scale(self, low: float = -inf, high: float = inf) -> Scale:
        """The norm of its largest component, its norm, and whether all is finite and in range."""
        norms = [column_norms(b) for b in self.factors]
        sizes = hadamard(*(n[None, :] for n in norms))[0] * jnp.abs(self.weights)
        largest = jnp.max(sizes)
        finite = jnp.all(jnp.isfinite(sizes))
        unit = jnp.where(finite & (largest > 0), largest, 1)
        units = [
            b / jnp.where(n > 0, n, 1)[None, :].astype(b.dtype)
            for b, n in zip(self.factors, norms, strict=True)
        ]
        lengths = jnp.abs(self.weights).astype(self.dtype)
        turn = self.weights / jnp.where(lengths == 0, 1, lengths)
        mu = sizes.astype(self.dtype) * turn / unit.astype(self.dtype)
        squared = inner(mu, matmul(hadamard(*(gram(u, u) for u in units)), mu))
        status = jnp.where(finite, GOOD, BAD_ENTRIES)
        if (low, high) != (-inf, inf):
            outside = lambda m, t: (jnp.where((t < low) | (t > high), 1.0, 0.0), None)  # noqa: E731
            count = self.entrywise(outside, (self.weights, self.factors))[0]
            status = jnp.where(count > 0, BAD_ENTRIES, status)
        return Scale(unit, square_root(squared.real), jnp.ones_like(unit), status)


def _triangular(a: Array) -> Array:
    """R with A = QR, or A where that is no larger."""
    return jnp.linalg.qr(a, mode="r") if a.shape[0] > a.shape[1] else a


def sum_over_zeros(
    at_zero: AtZero, model: tuple[Array, Factors], columns: Factors | None
) -> tuple[Array, tuple[Array, ...]]:
    """`entrywise` of a model and a tensor of zeros, in closed form.

    Σ M = Σ_r λ_r ∏ₙ (1ᵀAₙ)_r, Σ |M|² from Grams (J6), and the MTTKRPs of ones, which are products
    of column sums, and of M (J5).
    """
    (none, once, twice), (constant, slope) = at_zero
    weights, factors = model
    total = jnp.zeros((), weights.real.dtype)
    if _counts(none):
        total = total + none * math.prod(float(len(a)) for a in factors)
    if _counts(once):
        total = total + once * jnp.sum(weights * _column_sums(factors)).real
    if _counts(twice):
        crossed = hadamard(*(gram(a, a) for a in factors))
        total = total + twice * inner(weights, matmul(crossed, weights)).real
    if columns is None:
        return total, ()
    (part,) = Modelled(weights, tuple(factors)).passes()
    ys = []
    for n, c in enumerate(columns):
        others = _column_sums([a for m, a in enumerate(columns) if m != n])
        y = jnp.broadcast_to(constant * others[None, :], c.shape).astype(c.dtype)
        if _counts(slope):
            y = y + (slope * part.mttkrp(None, columns, n)).astype(c.dtype)
        ys.append(y)
    return total, tuple(ys)


def _counts(coefficient: Any) -> bool:
    """Whether it is not known to be zero; zero times what is out of range would be NaN."""
    return not (isinstance(coefficient, int | float) and coefficient == 0)


def _column_sums(matrices: Factors) -> Array:
    """∏ₙ 1ᵀAₙ, (R,)."""
    return hadamard(*(jnp.sum(a, axis=0)[None, :] for a in matrices))[0]
