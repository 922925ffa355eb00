"""Gradient of a fit with respect to its tensor (R7): time in sweeps (P6), memory, unrolled sweeps.

The time of the gradient is what it adds to the fit. Unrolled is reverse mode through 50 scanned
sweeps, which is exact only where they have converged.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jkr
from benchmarks.problems import label
from benchmarks.suite_als import tensor
from benchmarks.timing import compiled, ms, samples, temporaries, times

TITLE = "Gradient through a fit of 50 sweeps"
HEADER = (
    "problem",
    "sweep ms",
    "gradient ms",
    "in sweeps",
    "unrolled ms",
    "MB, 50 sweeps",
    "MB, 5000 sweeps",
    "unrolled MB",
)
PROBLEMS = [
    ((100, 100, 100), 10, "float32"),
    ((100, 100, 100), 10, "float64"),
    ((64, 12, 10, 60), 4, "float64"),
]


def rows(compare, repeats):
    """One row a problem; the factors' weights are what is differentiated."""
    for shape, rank, dtype in PROBLEMS:
        with jax.enable_x64(dtype == "float64"):
            x = tensor(shape, rank, dtype)
            start = jkr.cp.random(jax.random.key(1), shape, rank, dtype=dtype)

            def weights(x, sweeps, start=start):
                result = jkr.cp.als(x, start.rank, init=start, tol=0, max_iters=sweeps)
                return jnp.sum(result.cp.weights)

            def unrolled(x, start=start):
                solver = jkr.cp.ALS()
                first = solver.init(x, start.rank, init=start)
                step = lambda state, _: (solver.step(x, state), None)  # noqa: E731
                return jnp.sum(lax.scan(step, first, length=50)[0].cp.weights)

            def gradient(sweeps, weights=weights):
                return jax.value_and_grad(partial(weights, sweeps=sweeps))

            calls = {
                "fit": compiled(partial(weights, sweeps=50), x),
                "longer": compiled(partial(weights, sweeps=150), x),
                "gradient": compiled(gradient(50), x),
                "unrolled": compiled(jax.grad(unrolled), x),
            }
            t = samples(calls, repeats)
            memory = [temporaries(gradient(sweeps), x) for sweeps in (50, 5000)]
            unrolled_memory = temporaries(jax.grad(unrolled), x)
        sweep = float(np.median(t["longer"] - t["fit"])) / 100
        added = float(np.median(t["gradient"] - t["fit"]))
        yield (
            f"{label(shape, rank)}, {dtype}",
            ms(sweep),
            ms(added),
            times(added / sweep),
            ms(float(np.median(t["unrolled"]))),
            *(f"{megabytes:.3g}" for megabytes in (*memory, unrolled_memory)),
        )
