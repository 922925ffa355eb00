"""Whole fits of sparse tensors: time, memory, and what they reach; each in a process of its own.

Counts are Poisson, one entry in a hundred not zero, and all methods start from the same model; a
method's likelihood is that of the model it returns, whatever it watched. Ratings are 5 M of 10⁹
entries of a model of rank 5, with 1 % noise. The memory is the most that the process ever held,
data and compilation included. The first call is not timed, except of peers; the second is, once.
"""

import json
import logging
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suite_sparse import PROBLEMS
from jkr import cp
from jkr.tensors import Sparse

TITLE = "Fits of sparse tensors"
HEADER = ("problem", "method", "s", "GB held at most", "reached")
POISSON = cp.losses.poisson


def rows(compare, repeats):
    """One row a problem and method."""
    for problem, (title, methods, _) in CASES.items():
        for method, (name, peer, _) in methods.items():
            if peer is None or peer in compare:
                command = [sys.executable, "-m", "benchmarks.suite_sparse_fits", problem, method]
                run = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds, held, reached = json.loads(run.stdout.splitlines()[-1])
                yield title, name, f"{seconds:.3g}", f"{held:.2g}", reached


def _counts():
    """Counts, and a start."""
    jax.config.update("jax_enable_x64", True)
    rng, n, rank = np.random.default_rng(0), 300, 5
    mean = np.einsum("ir,jr,kr->ijk", *(rng.gamma(0.3, 1, (n, rank)) for _ in range(3)))
    size = 1.0
    for _ in range(40):  # to one entry in a hundred that is not zero
        size *= 0.01 / np.mean(1 - np.exp(-size * mean))
    x = Sparse.of(rng.poisson(size * mean).astype(float), unstored="zero")
    factors = tuple(jnp.asarray(rng.uniform(size=(n, rank))) for _ in range(3))
    return x, cp.CPTensor(jnp.ones(rank), factors)


def _likelihood(x, start, found):
    return f"loss {float(cp.loss(getattr(found, 'cp', found), x, loss=POISSON)):.2f}"


def _of_pyttb(x, start, fit):
    """The model that a function of pyttb's finds."""
    import pyttb

    logging.getLogger().setLevel(logging.ERROR)  # pyttb warns of every copy
    data = pyttb.sptensor(np.asarray(x.indices), np.asarray(x.values)[:, None], x.shape)
    begin = pyttb.ktensor([np.array(a) for a in start.factors], np.ones(start.rank))
    found, *_ = fit(pyttb, data, start.rank, begin)
    return cp.CPTensor(jnp.asarray(found.weights), tuple(map(jnp.asarray, found.factor_matrices)))


def _multiplicative(pyttb, data, rank, begin):
    return pyttb.cp_apr(data, rank, init=begin, maxiters=20, printitn=0)


def _stochastic(pyttb, data, rank, begin):
    from pyttb.gcp.handles import Objectives
    from pyttb.gcp.optimizers import Adam

    adam = Adam(max_iters=2, epoch_iters=200, printitn=0)
    return pyttb.gcp_opt(data, rank, Objectives.POISSON, adam, init=begin, printitn=0)


def _ratings():
    """Known entries, and the truth."""
    jax.config.update("jax_enable_x64", True)
    rng, shape = np.random.default_rng(0), (1000,) * 3
    factors = [rng.standard_normal((n, 5)) for n in shape]
    known = np.stack(np.unravel_index(np.unique(rng.integers(0, 1000**3, 5_000_000)), shape), 1)
    values = np.prod([a[known[:, n]] for n, a in enumerate(factors)], axis=0).sum(axis=1)
    noise = rng.standard_normal(len(values))
    values += 0.01 * np.linalg.norm(values) / np.linalg.norm(noise) * noise
    x = Sparse(known, values, shape, unstored="missing")
    return x, cp.CPTensor(jnp.ones(5), tuple(map(jnp.asarray, factors)))


def _score(x, truth, found):
    score = float(cp.factor_match_score(found.cp, truth))
    return f"score {score:.6f}, stationarity {float(found.stationarity):.0e}"


def _large(dtype):
    """Twenty million entries, and a start."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    problem = PROBLEMS[4]
    indices, values = problem.entries()
    indices, values = indices.astype(np.int32), values.astype(dtype)
    x = Sparse(indices, values, problem.shape, unstored="zero")
    return x, cp.random(jax.random.key(0), problem.shape, 16, dtype=dtype)


def _fit(x, start, found):
    return f"{int(found.iterations)} sweeps"


KEY = jax.random.key(0)
SWEEPS = {
    "als": ("als, R=16", None, lambda x, start: cp.als(x, 16, init=start, tol=0, max_iters=10))
}
CASES = {
    "counts": (
        "counts 300×300×300, R=5",
        {
            "gcp": ("gcp", None, lambda x, a: cp.gcp(x, 5, init=a, loss=POISSON)),
            "fit": ("fit", None, lambda x, a: cp.fit(x, 5, init=a, loss=POISSON)),
            "apr": (
                "pyttb cp_apr, 20 iterations",
                "pyttb",
                lambda x, a: _of_pyttb(x, a, _multiplicative),
            ),
            "adam": (
                "pyttb gcp_opt, 400 steps",
                "pyttb",
                lambda x, a: _of_pyttb(x, a, _stochastic),
            ),
        },
        (_counts, _likelihood),
    ),
    "ratings": (
        "ratings 1000×1000×1000, 5 M, R=5",
        {
            "als": ("als", None, lambda x, _: cp.als(x, 5, key=KEY)),
            "fit": ("fit", None, lambda x, _: cp.fit(x, 5, key=KEY)),
        },
        (_ratings, _score),
    ),
    "float32": (f"{PROBLEMS[4].title}, float32", SWEEPS, (lambda: _large("float32"), _fit)),
    "float64": (f"{PROBLEMS[4].title}, float64", SWEEPS, (lambda: _large("float64"), _fit)),
}


def one(problem, method):
    """Seconds, gigabytes, and what was reached, as JSON."""
    _, methods, (make, reached) = CASES[problem]
    _, peer, fit = methods[method]
    x, beside = make()
    for _ in range(1 if peer else 2):
        begin = time.perf_counter()
        found = jax.block_until_ready(fit(x, beside))
        seconds = time.perf_counter() - begin
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return json.dumps((seconds, held, reached(x, beside, found)))


if __name__ == "__main__":
    print(one(*sys.argv[1:]))
