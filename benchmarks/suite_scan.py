"""Differentiating scanned steps that call `mttkrp` for every mode (R2): memory and time."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

import jkr
from benchmarks.problems import draw, label
from benchmarks.timing import compiled, ms, race, temporaries, times
from jkr._contractions import _partial, _passes

TITLE = "Gradient of 50 scanned steps of `mttkrp` for all modes (float32)"
HEADER = (
    "problem",
    "with respect to",
    "jkr ms",
    "without rule ms",
    "time",
    "jkr MB",
    "MB",
    "memory",
)


def _scanned(mttkrp, with_tensor):
    def step(x, factors, _):
        ys = tuple(mttkrp(x, factors, n) for n in range(len(factors)))
        return tuple(y / (1 + jnp.max(jnp.abs(y))) for y in ys), None

    def f(x, factors):
        last, _ = lax.scan(partial(step, x), factors, length=50)
        return sum(jnp.sum(a) for a in last)

    return jax.grad(f, (0, 1) if with_tensor else 1)


def rows(compare, repeats):
    """With respect to the factors alone, and to the tensor too."""
    x, factors = draw((100, 100, 100), 10)
    for with_tensor in (False, True):
        ours = _scanned(jkr.mttkrp, with_tensor)
        calls = {"jkr": compiled(ours, x, factors)}
        memory = temporaries(ours, x, factors)
        # The same two stages without the rule: no checkpoint, and plain autodiff of both products.
        rule, _partial._right_product = _partial._right_product, _partial.plain_right_product
        try:
            plain = _scanned(lambda x, f, n: _passes.one_mode(x, f, n, None), with_tensor)
            calls["plain"] = compiled(plain, x, factors)
            plain_memory = temporaries(plain, x, factors)
        finally:
            _partial._right_product = rule
        t = race(calls, repeats)
        yield (
            label(x.shape, 10),
            "tensor and factors" if with_tensor else "factors",
            ms(t["jkr"]),
            ms(t["plain"]),
            times(t["jkr"] / t["plain"]),
            f"{memory:.3g}",
            f"{plain_memory:.3g}",
            times(plain_memory / memory),
        )
