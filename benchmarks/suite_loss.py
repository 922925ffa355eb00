"""Value and gradient of the least-squares loss (R4, R5) against autodiff of the dense residual."""

import jax
import jax.numpy as jnp

import jkr
from benchmarks.problems import bare_dots, draw, label
from benchmarks.timing import compiled, ms, race, temporaries, times

TITLE = "Loss, value and gradient (float32, ms and MB of temporaries)"
HEADER = (
    *("problem", "entry weights", "jkr", "dense, ⟦A…⟧", "dense, ⟦λ; A…⟧", "⟦A…⟧ / jkr"),
    *("⟦λ; A…⟧ / jkr", "jkr / floor", "jkr MB", "dense MB", "dense / jkr MB"),
)
PROBLEMS = [((200,) * 3, 8), ((400,) * 3, 32), ((100,) * 4, 16)]


def _dense(weights, factors, x, w):
    order = x.ndim
    operands = [p for n, a in enumerate(factors) for p in (a, [n, order])]
    operands += [] if weights is None else [weights, [order]]
    residual = x - jnp.einsum(*operands, list(range(order)))
    return jnp.sum(residual**2 if w is None else w * residual**2) / 2


def rows(compare, repeats):
    """With and without entry weights."""
    for shape, rank in PROBLEMS:
        x, factors = draw(shape, rank)
        ones = jnp.ones(rank, x.dtype)
        for w in (None, jnp.abs(x)):

            def ours(weights, factors, x, w):
                return jkr.cp.loss(jkr.cp.CPTensor(weights, factors), x, entry_weights=w)

            def without(factors, x, w):
                return _dense(None, factors, x, w)

            f, g = jax.value_and_grad(ours, (0, 1)), jax.value_and_grad(_dense, (0, 1))
            args = (ones, factors, x, w)
            floor = [compiled(dot, *operands) for dot, operands in bare_dots(x, factors)[1:]]
            t = race(
                {
                    "jkr": compiled(f, *args),
                    "plain": compiled(jax.value_and_grad(without), *args[1:]),
                    "weighted": compiled(g, *args),
                    "floor": lambda floor=floor: [call() for call in floor],
                },
                repeats,
            )
            memory, dense_memory = temporaries(f, *args), temporaries(g, *args)
            yield (
                label(shape, rank),
                "no" if w is None else "yes",
                *(ms(t[name]) for name in ("jkr", "plain", "weighted")),
                times(t["plain"] / t["jkr"]),
                times(t["weighted"] / t["jkr"]),
                times(t["jkr"] / t["floor"]),
                f"{memory:.3g}",
                f"{dense_memory:.4g}",
                times(dense_memory / memory),
            )
