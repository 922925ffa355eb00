"""Contractions: what uses a Khatri–Rao product without ever forming it.

- `_split`, `_partial`: the two matrix products that work with a whole tensor goes through;
  `_passes`: which of them serves which modes; `_slices`: slice by slice about a long middle mode.
- `_mttkrp`, `_reconstruct`: MTTKRP and CP reconstruction, each other's transposes (J5).
- `_matmul`: products with Khatri–Rao and face-splitting matrices, as the former two.
- `_kronecker`: Kronecker products with a vector or matrix, a mode at a time.
- `_gram`: Grams and weighted Grams (I10ᴴ, J3ᴴ); `_lstsq`: least squares by J1.
- `_elementwise`: sums over functions of the entries of a model and of a tensor, block by block.

Custom derivative rules stand under their functions, each with its formula; `docs/rules.md` lists
them, R1 to R7, with what they gain.
"""
