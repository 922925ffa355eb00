"""Contractions: what uses a Khatri–Rao product without ever forming it.

- `_split`, `_partial`: the two matrix products that work with a whole tensor goes through;
  `_passes`: which of them serves which modes; `_slices`: slice by slice about a long middle mode.
- `_mttkrp`, `_reconstruct`: MTTKRP and CP reconstruction, each other's transposes (J5).
- `_matmul`: products with Khatri–Rao and face-splitting matrices, as the former two.
- `_kronecker`: Kronecker products with a vector or matrix, a mode at a time.
- `_gram`: Grams and weighted Grams (I10ᴴ, J3ᴴ); `_lstsq`: least squares by J1.
- `_elementwise`: sums over functions of the entries of a model and of a tensor, block by block.

Custom derivative rules, here and in `cp`; each stands under its function, which gives the formula:

| rule | function | law | what it does |
| --- | --- | --- | --- |
| R1 | `khatri_rao_gram` | I10ᴴ | Ā = conj(A)((Ḡ+Ḡᴴ)∘G₋), one product a factor: `custom_jvp` |
| R2 | `mttkrp`, `mttkrps`, products, `full` | J5 | saves arguments only: `jax.checkpoint` |
| R2 | the right partial product | J5 | no transposed copy of X in its transpose: `custom_jvp` |
| R3 | `khatri_rao_lstsq`, `glam.smooth` | J1 | one more solve: `lax.custom_linear_solve` |
| R4 | `cp.loss` | J6, J5 | gradient matrices with the value, two passes over T: `custom_jvp` |
| R5 | `cp.loss` with entry weights or another loss | J5 | the same block by block: `custom_jvp` |
| R6 | `CPTensor.normalize`, `norm` | | zero, not NaN, at zero columns: a guarded root |
| R7 | `cp.als`, `cp.gcp` | stationarity | one system at the solution: `custom_linear_solve` |

All hold in forward and reverse mode and at any order; there is no `custom_vjp`, which would
refuse forward mode.
"""
