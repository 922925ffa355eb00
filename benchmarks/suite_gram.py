"""Gradient through a Khatri–Rao Gram (R1): rule, plain autodiff of ∘AᴴA, and forming A∗B."""

import jax
import jax.numpy as jnp

import jkr
from benchmarks.timing import compiled, ms, race, times

TITLE = "Gram, value and gradient of Σ cos(G) (float32, ms)"
HEADER = ("matrices", "jkr", "plain autodiff", "forming A∗B", "plain / jkr")
PROBLEMS = [((200, 200), 10), ((5000, 5000), 32), ((20000, 20000), 64), ((300, 400, 500), 32)]


def _plain(*ms):
    grams = [jnp.matmul(a.T, a, precision="highest") for a in ms]
    product = grams[0]
    for g in grams[1:]:
        product = product * g
    return product


def _formed(*ms):
    K = jkr.khatri_rao(*ms)
    return jnp.matmul(K.T, K, precision="highest")


def rows(compare, repeats):
    """One row a set of matrices; A∗B is formed only where it fits in 200 MB."""
    for sizes, rank in PROBLEMS:
        matrices = [
            jax.random.normal(jax.random.key(n), (i, rank)) / i**0.5 for n, i in enumerate(sizes)
        ]
        everything = tuple(range(len(sizes)))
        contestants = {"jkr": jkr.khatri_rao_gram, "plain": _plain}
        formed_rows = 1
        for i in sizes:
            formed_rows *= i
        if formed_rows * rank * 4 <= 2e8:
            contestants["formed"] = _formed
        calls = {
            name: compiled(
                jax.value_and_grad(lambda *m, g=g: jnp.sum(jnp.cos(g(*m))), everything), *matrices
            )
            for name, g in contestants.items()
        }
        t = race(calls, 3 * repeats)
        yield (
            " ∗ ".join(f"{i}×{rank}" for i in sizes),
            *(ms(t.get(name)) for name in ("jkr", "plain", "formed")),
            times(t["plain"] / t["jkr"]),
        )
