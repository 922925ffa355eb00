"""Sparse tensors of two and of twenty million stored entries: MTTKRP, a sweep of ALS, and memory.

GenTen (the `pygenten` wheel) runs on OpenMP threads of its own, pyttb on NumPy. A sweep is the
difference between fits of many and of few sweeps; the peers compute in float64, once a tensor.
"""

import contextlib
import gc
import importlib
import io
import logging
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jkr
from benchmarks.timing import ms, samples, times
from jkr.tensors import Sparse

TITLE = "Sparse tensors, R=16 (ms)"
HEADER = (
    *("problem", "MTTKRP, each mode", "pyttb, mode 0", "sweep", "GenTen", "GenTen / jkr"),
    *("made in s", "memory / COO", "in a fit / COO"),
)
RANK = 16
_FEW, _MANY = 2, 6  # sweeps
_LARGE = 10_000_000  # entries, of which nothing is measured more than once


class Problem(NamedTuple):
    """Stored entries at random, uniform, or with the frequencies of a long tail."""

    shape: tuple[int, ...]
    count: int
    tail: float | None = None

    @property
    def title(self) -> str:
        """Shape, entries, and how they lie."""
        lie = "" if self.tail is None else ", long tails"
        return f"{'×'.join(map(str, self.shape))}, {self.count / 1e6:g} M{lie}"

    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct indices (nnz, N), and values."""
        rng = np.random.default_rng(0)
        columns = [self._column(rng, n) for n in self.shape]
        indices = np.stack(columns, axis=1)
        _, first = np.unique(np.ravel_multi_index(columns, self.shape), return_index=True)
        return indices[np.sort(first)], rng.standard_normal(len(first))

    def _column(self, rng: np.random.Generator, n: int) -> np.ndarray:
        if self.tail is None:
            return rng.integers(0, n, self.count)
        return (rng.pareto(self.tail, self.count) * n / 20).astype(np.int64) % n


PROBLEMS = [
    Problem((20000, 8000, 3000), 2_000_000),
    Problem((20000, 8000, 3000), 2_000_000, tail=1.0),
    Problem((500_000, 400_000, 300_000), 2_000_000),
    Problem((2000, 3000, 20000, 30), 2_000_000),
    Problem((100_000, 50_000, 10_000), 20_000_000),
]


def rows(compare, repeats):
    """One row a tensor and dtype."""
    logging.getLogger().setLevel(logging.ERROR)  # pyttb warns of every copy
    for problem in PROBLEMS:
        indices, values = problem.entries()
        often = min(repeats, 5) if problem.count < _LARGE else 1
        entries = indices, values, problem.shape
        peers = (
            _pyttb(*entries) if "pyttb" in compare else None,
            _genten(*entries, min(often, 3)) if "pygenten" in compare else None,
        )
        for dtype in ("float32", "float64"):
            with jax.enable_x64(dtype == "float64"):
                yield _row(problem, indices, values.astype(dtype), peers, often)
                gc.collect()


def _row(problem, indices, values, peers, repeats):
    begin = time.perf_counter()
    x = Sparse(indices, values, problem.shape, unstored="zero")
    made = time.perf_counter() - begin
    ready = jax.jit(lambda x: x.prepared())(x)
    start = jkr.cp.random(jax.random.key(0), problem.shape, RANK, dtype=values.dtype)
    programs = {
        n: jax.jit(lambda x, a, n=n: jkr.mttkrp(x, a, n)).lower(ready, start.factors).compile()
        for n in range(len(problem.shape))
    }
    calls: dict[int, Any] = {n: partial(f, ready, start.factors) for n, f in programs.items()}
    for sweeps in (_FEW, _MANY):
        calls[-sweeps] = partial(jkr.cp.als, x, RANK, init=start, tol=0, max_iters=sweeps)
    t = {name: float(np.median(taken)) for name, taken in samples(calls, repeats).items()}
    sweep = _marginal(t[-_FEW], t[-_MANY])
    pyttb, genten = peers
    coo = 8 * indices.size + values.nbytes
    size = lambda tree: sum(a.nbytes for a in jax.tree.leaves(tree)) / coo  # noqa: E731
    return (
        f"{problem.title}, {values.dtype}",
        ", ".join(ms(t[n]) for n in programs),
        ms(pyttb),
        ms(sweep),
        ms(genten),
        times(genten / sweep) if genten else "–",
        f"{made:.2g}",
        times(size(x)),
        times(size(ready)),
    )


def _marginal(few: float, many: float) -> float:
    return (many - few) / (_MANY - _FEW)


def _pyttb(indices, values, shape) -> float:
    import pyttb

    x = pyttb.sptensor(indices, values[:, None], shape)
    factors = [np.ones((n, RANK)) for n in shape]
    begin = time.perf_counter()
    x.mttkrp(factors, 0)
    return 1e3 * (time.perf_counter() - begin)


def _genten(indices, values, shape, repeats) -> float:
    """Its tensors are gone before the interpreter is, or it aborts."""
    pygenten: Any = importlib.import_module("pygenten")  # often absent, where types are checked
    subs = np.ascontiguousarray(indices, np.uint64)
    x = pygenten.Sptensor(tuple(shape), subs, values)

    def fit(sweeps, x=x):
        with contextlib.redirect_stdout(io.StringIO()):
            found = pygenten.cp_als(
                x, rank=RANK, maxiters=sweeps, tol=0.0, printitn=0, timings=False
            )
        del found

    calls = {sweeps: partial(fit, sweeps) for sweeps in (_FEW, _MANY)}
    t = samples(calls, repeats)
    del x, fit, calls
    gc.collect()
    time.sleep(0.5)  # its threads spin on
    return _marginal(float(np.median(t[_FEW])), float(np.median(t[_MANY])))
