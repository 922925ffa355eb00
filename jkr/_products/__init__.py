"""The dense products of the family, one file per product or dual pair.

`_pairing` holds the one idea: a product of two matrices pairs their rows and pairs their
columns, and each axis is either *crossed* (every index with every index, the second one
fastest) or *matched* (equal indices).

| | columns crossed | columns matched |
| --- | --- | --- |
| rows crossed | Kronecker | Khatri–Rao |
| rows matched | face-splitting | Hadamard |

The products of partitioned matrices, in `_blocks`, do the same block by block.
All are multilinear, so their plain derivative is already the best one: each cotangent is the
output's, times the other matrices, summed over the crossed indices; nothing is saved but the
operands. No product here has a custom rule.
"""
