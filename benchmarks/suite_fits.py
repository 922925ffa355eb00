"""Whole fits: 256 of them in one call (P4), and the first call, whatever the number of sweeps.

The first call beside that of the simplest ALS (P5) is `suite_first`.
"""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jkr
from benchmarks.suite_als import sweeps_by
from benchmarks.timing import ms, race, times

TITLE = "Whole fits (ms)"
HEADER = ("what", "jkr", "TensorLy", "TensorLy / jkr")


def rows(compare, repeats):
    """256 fits by vmap, and the first call with ten and with a hundred sweeps."""
    shape, rank, sweeps, count = (20, 20, 20), 4, 50, 256
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            draw = jax.vmap(partial(jkr.cp.random, shape=shape, rank=rank, dtype=dtype))
            truths, starts = (draw(jax.random.split(jax.random.key(k), count)) for k in (0, 1))
            tensors = jax.vmap(jkr.cp.CPTensor.full)(truths)

            def fit(x, start):
                return jkr.cp.als(x, rank, init=start, tol=0, max_iters=sweeps)

            batch = jax.jit(jax.vmap(fit))
            calls: dict[str, Any] = {"jkr": partial(batch, tensors, starts)}
            if "tensorly" in compare:
                one = [
                    sweeps_by("tensorly", x, start, sweeps)
                    for x, start in zip(tensors, _each(starts, count), strict=True)
                ]
                calls["tensorly"] = partial(_all, one)
            t = race(calls, max(3, repeats // 2))
        gain = times(t["tensorly"] / t["jkr"]) if "tensorly" in t else "–"
        what = f"{count} fits of 20³, R={rank}, {sweeps} sweeps, {dtype}"
        yield what, ms(t["jkr"]), ms(t.get("tensorly")), gain
    for sweeps in (10, 100):
        seconds = np.median([_first_call(sweeps) for _ in range(3)])
        yield f"first call, 20×21×22, R=3, {sweeps} sweeps", ms(1e3 * seconds), "–", "–"


def _all(calls):
    return [call() for call in calls]


def _each(stacked, count):
    return [jax.tree.map(lambda a, k=k: a[k], stacked) for k in range(count)]


def _first_call(sweeps):
    """Seconds of the first call of `als`, with nothing compiled before."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((20, 21, 22)), jnp.float32)
    jax.clear_caches()
    start = time.perf_counter()
    result = jkr.cp.als(x, 3, key=jax.random.key(0), tol=0, max_iters=sweeps)
    jax.block_until_ready(result)
    return time.perf_counter() - start
