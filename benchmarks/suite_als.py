"""ALS sweeps against TensorLy and pyttb from one start (P1), and against two bare products (P2).

Marginal time of a sweep: that of 3k sweeps less that of k, over 2k. The whole call is one of 20
sweeps, with its start, its checks and its exact residual, against 20 marginal sweeps.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jkr
from benchmarks.problems import bare_dots, label
from benchmarks.timing import compiled, ms, samples, times

TITLE = "ALS, marginal time of a sweep (ms)"
HEADER = (
    "problem",
    "jkr",
    "TensorLy",
    "pyttb",
    "best / jkr",
    "two products",
    "jkr / products",
    "20 sweeps / 20 marginal",
)
# shape, rank, dtype, k
PROBLEMS = [
    ((64, 12, 10, 60), 4, "float64", 100),
    ((20, 20, 20), 4, "float64", 300),
    ((200, 200, 200), 10, "float32", 15),
    ((400, 400, 400), 32, "float32", 4),
    ((80, 80, 80, 80), 16, "float32", 5),
]


def tensor(shape, rank, dtype):
    """Kinetic fluorescence where its shape is asked for and TensorLy is there; else a noisy one."""
    if shape == (64, 12, 10, 60):
        try:
            from tensorly.datasets import load_kinetic

            return jnp.nan_to_num(jnp.asarray(np.asarray(load_kinetic().tensor), dtype))
        except ImportError:
            pass
    model = jkr.cp.random(jax.random.key(2), shape, rank, dtype=dtype)
    x = model.full()
    return x + 0.1 * jnp.std(x) * jax.random.normal(jax.random.key(3), shape, dtype)


def sweeps_by(peer, x, start, n):
    """A call that runs n sweeps from a start, by us or by a peer."""
    weights, factors = start
    if peer == "jkr":
        return lambda: jkr.cp.als(x, start.rank, init=start, tol=0, max_iters=n)
    if peer == "tensorly":
        from tensorly.cp_tensor import CPTensor
        from tensorly.decomposition import parafac

        array = np.asarray(x)

        def fit():
            init: Any = CPTensor((np.array(weights), [np.array(a) for a in factors]))
            return parafac(array, start.rank, n_iter_max=n, init=init, tol=0)

        return fit
    import pyttb

    # pyttb computes in float64 only.
    tensor = pyttb.tensor(np.asarray(x, float))
    model = pyttb.ktensor([np.array(a, float) for a in factors], np.array(weights, float))
    return lambda: pyttb.cp_als(tensor, start.rank, init=model, maxiters=n, stoptol=0, printitn=0)


def marginal(calls, k, others, repeats):
    """Milliseconds of a sweep, and of other calls, all taken in turn.

    Args:
        calls: contestants, each a pair of calls, of k and of 3k sweeps.
        k: number of sweeps.
        others: calls to be timed whole.
        repeats: number of turns.
    """
    pairs = {(name, part): pair[part] for name, pair in calls.items() for part in (0, 1)}
    t = samples(pairs | others, repeats)
    sweep = {name: float(np.median((t[name, 1] - t[name, 0]) / (2 * k))) for name in calls}
    return sweep, {name: float(np.median(t[name])) for name in others}


def rows(compare, repeats):
    """One row a problem, and the geometric mean of the gains."""
    gains = []
    for shape, rank, dtype, k in PROBLEMS:
        with jax.enable_x64(dtype == "float64"):
            x = tensor(shape, rank, dtype)
            start = jkr.cp.random(jax.random.key(1), shape, rank, dtype=dtype)
            peers = [p for p in ("tensorly", "pyttb") if p in compare]
            calls = {p: [sweeps_by(p, x, start, n) for n in (k, 3 * k)] for p in ("jkr", *peers)}
            floor = [compiled(dot, *operands) for dot, operands in bare_dots(x, start.factors)[1:]]
            others = {
                "whole": sweeps_by("jkr", x, start, 20),
                "floor": lambda floor=floor: [call() for call in floor],
            }
            t, _ = marginal(calls, k, {}, repeats)
            # Apart from the peers, whose threads go on spinning for a while after each call.
            own, whole = marginal({"jkr": calls["jkr"]}, k, others, repeats)
        gain = min((t[p] for p in peers), default=float("nan")) / t["jkr"]
        gains.append(gain)
        yield (
            f"{label(shape, rank)}, {dtype}",
            ms(t["jkr"]),
            ms(t.get("tensorly")),
            ms(t.get("pyttb")),
            times(gain) if peers else "–",
            ms(whole["floor"]),
            times(own["jkr"] / whole["floor"]),
            times(whole["whole"] / (20 * own["jkr"])),
        )
    yield ("geometric mean", "", "", "", times(float(np.exp(np.mean(np.log(gains))))), "", "", "")
