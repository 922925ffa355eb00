"""Dumb definitions in plain NumPy, independent of the library: loops over rows, columns, blocks."""

from functools import reduce

import numpy as np


def kronecker(*ms):
    return reduce(np.kron, ms)


def khatri_rao(*ms):
    columns = [reduce(np.kron, [m[:, r] for m in ms]) for r in range(ms[0].shape[1])]
    return np.stack(columns, axis=1)


def face_splitting(*ms):
    rows = [reduce(np.kron, [m[i] for m in ms]) for i in range(ms[0].shape[0])]
    return np.stack(rows, axis=0)


def hadamard(*ms):
    return reduce(np.multiply, ms)


def penetrating_face(a, b):
    g = a.shape[1]
    return np.hstack([a * b[:, k : k + g] for k in range(0, b.shape[1], g)])


def _blocks(a, partition):
    rows, columns = (np.cumsum([0, *sizes]) for sizes in partition)
    return [
        [a[i:k, j:m] for j, m in zip(columns, columns[1:], strict=False)]
        for i, k in zip(rows, rows[1:], strict=False)
    ]


def blockwise(product, a, b, pa, pb):
    """The product of matching blocks."""
    pairs = zip(_blocks(a, pa), _blocks(b, pb), strict=True)
    return np.block([[product(x, y) for x, y in zip(r, s, strict=True)] for r, s in pairs])


def tracy_singh(a, b, pa, pb):
    return np.block(
        [
            [np.block([[np.kron(x, y) for y in row_b] for row_b in _blocks(b, pb)]) for x in row_a]
            for row_a in _blocks(a, pa)
        ]
    )


def unfold(x, n):
    return np.stack([np.take(x, i, axis=n).ravel() for i in range(x.shape[n])])


def full(weights, factors):
    """⟦λ; A…⟧, one outer product a component."""
    return sum(
        w * reduce(np.multiply.outer, [a[:, r] for a in factors]) for r, w in enumerate(weights)
    )


def mttkrp(x, factors, n):
    others = [a for m, a in enumerate(factors) if m != n]
    return unfold(x, n) @ (khatri_rao(*others) if others else np.ones((1, factors[n].shape[1])))
