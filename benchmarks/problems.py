"""The tensors that suites share, balanced and lopsided, and the peers' view of them."""

import jax
import jax.numpy as jnp
import numpy as np

import jkr
from jkr._contractions._split import best_split

# shape, rank
SHAPES = [
    ((64, 12, 10, 60), 4),
    ((200, 200, 200), 10),
    ((400, 400, 400), 32),
    ((20000, 40, 40), 16),
    ((40, 20000, 40), 16),
    ((40, 40, 20000), 16),
    ((1000, 1000, 10), 10),
    ((80, 80, 80, 80), 16),
    ((30, 30, 30, 30, 30), 16),
]


def label(shape, rank):
    """200×200×200, R=10."""
    return f"{'×'.join(map(str, shape))}, R={rank}"


def draw(shape, rank):
    """A tensor and factors, float32, normal."""
    x = jax.random.normal(jax.random.key(0), shape, jnp.float32)
    return x, jkr.cp.random(jax.random.key(1), shape, rank, dtype=jnp.float32).factors


def einsum_mttkrp(x, factors, n):
    """The MTTKRP as one einsum, left to its own path."""
    order = x.ndim
    others = [p for m, a in enumerate(factors) if m != n for p in (a, [m, order])]
    return jnp.einsum(x, list(range(order)), *others, [n, order])


def bare_dots(x, factors):
    """The two matrix products at the split, with the Khatri–Rao products given: the floor."""
    s = best_split(x.shape)
    k_left, k_right = jkr.khatri_rao(*factors[:s]).T, jkr.khatri_rao(*factors[s:])
    x = x.reshape(k_left.shape[1], k_right.shape[0])
    return s, (lambda x, k: x @ k, (x, k_right)), (lambda k, x: k @ x, (k_left, x))


def numpy_of(x, factors):
    """NumPy arrays."""
    return np.asarray(x), [np.asarray(a) for a in factors]
