"""Lazy products: Kronecker, Khatri–Rao and face-splitting matrices that are never formed.

An operator is its factors: a pytree with `shape`, `dtype`, `.T`, `.H`, `*` and `@`, under every
transform as an array would be, and an array only when `to_dense()` is called. `@` with a vector or
matrix, on either side, is a contraction. `@` of two operators rewrites by a law
(`jkr.operators._laws` holds the table; transposes follow by I1), and keeps the form that the law
gives:

=========================  =================================================  ===================
left @ right               is                                                 law
=========================  =================================================  ===================
FaceSplitting @ KhatriRao  an array, (AC)∘(BD)                                I8; I7, I9, I10
FaceSplitting @ Kronecker  FaceSplitting(AC, BD); of column vectors an array  I15; I21
Kronecker @ KhatriRao      KhatriRao(AC, BD); of row vectors an array         I13; I21
Kronecker @ Kronecker      Kronecker(AC, BD)                                  (A⊗B)(C⊗D) = AC⊗BD
any other                  an array, column by column of the right one
=========================  =================================================  ===================

Longer chains follow (I16, I22, I31–I34). Shapes that conform as matrices are multiplied right
whatever the factors' own: factors are grouped to blocks that fit, or else go column by column.

- `Kronecker`, `KhatriRao`, `FaceSplitting`: the operators. Weights: `scale_rows`,
  `scale_columns`, or `*` with a scalar, a (rows, 1) or a (1, columns) array.
- `KhatriRao.gram`, `norm`, `lstsq`, `leverage_scores`: by the R×R Gram, whatever the row count.
- `to_lineax`: the same operator for lineax's solvers.
"""

from jkr.operators._khatri_rao import FaceSplitting as FaceSplitting
from jkr.operators._khatri_rao import KhatriRao as KhatriRao
from jkr.operators._kronecker import Kronecker as Kronecker
from jkr.operators._to_lineax import to_lineax as to_lineax

__all__ = ["FaceSplitting", "KhatriRao", "Kronecker", "to_lineax"]
