"""The first call of `als`, compilation included (P5), beside that of the simplest ALS in JAX.

Each call is the first of a fresh process: Python, JAX and jkr are imported, the tensor is there,
and nothing has been compiled. The simplest ALS is what one would write down first: einsum,
cho_solve, a while_loop, no check, no scaling, no derivative. Processes of both are interleaved;
medians are taken.
"""

import os
import subprocess
import sys
import time
from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

import jkr
from benchmarks.problems import einsum_mttkrp, label
from benchmarks.timing import ms, times

TITLE = "First call of `als` in a fresh process (float32, ms)"
HEADER = ("problem", "jkr", "simplest ALS", "jkr / simplest")
PROBLEMS = [((20, 21, 22), 4), ((10, 11, 12, 13), 4)]
CALLERS = ("jkr", "simplest")


def rows(compare, repeats):
    """One row an order."""
    for problem, (shape, rank) in enumerate(PROBLEMS):
        taken = {caller: [] for caller in CALLERS}
        for _ in range(min(repeats, 5)):
            for caller in CALLERS:
                taken[caller].append(_in_a_process(caller, problem))
        t = {caller: float(np.median(values)) for caller, values in taken.items()}
        yield label(shape, rank), *(ms(t[c]) for c in CALLERS), times(t["jkr"] / t["simplest"])


def _in_a_process(caller, problem):
    """Milliseconds of the first call, of a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.suite_first", caller, str(problem)]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    run = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


def first_call(caller, problem):
    """Milliseconds of a fit from a random start, nothing compiled before but the tensor."""
    shape, rank = PROBLEMS[problem]
    rng = np.random.default_rng(0)
    model, noise = np.zeros(shape), rng.standard_normal(shape)
    for _ in range(rank):
        model += reduce(np.multiply.outer, [rng.standard_normal(dim) for dim in shape])
    x = jnp.asarray(model + 0.1 * noise, jnp.float32)
    key = jax.block_until_ready(jax.random.key(0))
    fit = {"jkr": jkr.cp.als, "simplest": simplest_als}[caller]
    start = time.perf_counter()
    jax.block_until_ready(fit(x, rank, key=key))
    return 1e3 * (time.perf_counter() - start)


def simplest_als(x, rank, *, key, tol=1e-6, max_iters=500):
    """Factors, fit and number of sweeps."""

    @jax.jit
    def fit(x, key):
        keys, norm = jax.random.split(key, x.ndim), jnp.linalg.norm(x)
        factors = [jax.random.normal(k, (n, rank)) for k, n in zip(keys, x.shape, strict=True)]

        def sweep(carry):
            factors, before, _, count = carry
            a = gram = y = jnp.zeros(())
            for n in range(x.ndim):
                gram = prod(a.T @ a for m, a in enumerate(factors) if m != n)
                y = einsum_mttkrp(x, factors, n)
                a = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(gram), y.T).T
                factors = [*factors[:n], a, *factors[n + 1 :]]
            squared = norm**2 + jnp.sum(a * (a @ gram - 2 * y))
            now = 1 - jnp.sqrt(jnp.maximum(squared, 0)) / norm
            return factors, now, jnp.abs(now - before), count + 1

        def unfinished(carry):
            return (carry[2] >= tol) & (carry[3] < max_iters)

        begin = factors, jnp.array(-jnp.inf), jnp.array(jnp.inf), 0
        factors, now, _, count = jax.lax.while_loop(unfinished, sweep, begin)
        return factors, now, count

    return fit(x, key)


if __name__ == "__main__":
    print(first_call(sys.argv[1], int(sys.argv[2])))
