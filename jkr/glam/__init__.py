"""Generalised linear array models: regression of arrays on tensor products of bases.

With a basis Bₙ (Iₙ, Jₙ) for each mode, the model of an array Y (I_1, …, I_d) is X θ,
X = B_1 ⊗ ⋯ ⊗ B_d, with as many rows as the array has cells. X is never formed:

- `fitted` X θ and `cross_product` XᴴWy go a mode at a time, `weighted_gram` XᴴWX by the row
  tensors Bₙ • Bₙ of the bases (I15, I30), whatever the weights of the cells;
- `smooth`: penalised least squares with missing cells and weights, its effective degrees of freedom
  and generalised cross-validation, with derivatives in all of its arguments, the smoothing
  parameters among them; `Smooth` is its result;
- `bspline_basis`, `uniform_knots`, `difference_penalty`: P-splines.
"""

from jkr.glam._arrays import cross_product as cross_product
from jkr.glam._arrays import fitted as fitted
from jkr.glam._arrays import weighted_gram as weighted_gram
from jkr.glam._psplines import bspline_basis as bspline_basis
from jkr.glam._psplines import difference_penalty as difference_penalty
from jkr.glam._psplines import uniform_knots as uniform_knots
from jkr.glam._smooth import Smooth as Smooth
from jkr.glam._smooth import smooth as smooth

__all__ = [
    "Smooth",
    "bspline_basis",
    "cross_product",
    "difference_penalty",
    "fitted",
    "smooth",
    "uniform_knots",
    "weighted_gram",
]
