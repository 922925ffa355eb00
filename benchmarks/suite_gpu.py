"""How much of a device is used: shares of its own ceilings, measured in the same run.

For a graphics card, and it runs on a CPU, with smaller tensors. The ceilings are reading (a sum of
the tensor), copying, and a matrix product. TensorLy runs on PyTorch, on the same device, where both
are installed.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jkr
from benchmarks.problems import draw, label
from benchmarks.suite_als import marginal, sweeps_by
from benchmarks.suite_sparse import Problem
from benchmarks.timing import compiled, ms, race, temporaries, times
from jkr import cp
from jkr._linalg._psd import psd_solve
from jkr.tensors import Sparse

TITLE = "Shares of what the device can do (float32)"
HEADER = ("what", "ms", "beside it", "ms", "ratio")
# Shape, rank, and sweeps of the shorter of two fits.
ON_A_CARD = [((1000, 1000, 1000), 32, 5), ((400, 400, 400), 32, 20), ((200, 200, 200), 10, 50)]
ON_A_CPU = [((300, 300, 300), 32, 3), ((200, 200, 200), 10, 10)]
LOOPED = 200  # solves in a loop
BATCH, SWEEPS = 256, 100  # of small fits

Row = tuple[str, ...]


def rows(compare, repeats):
    """Ceilings, passes over tensors, solves, small fits, sparse tensors, second order, digits."""
    problems = ON_A_CPU if jax.default_backend() == "cpu" else ON_A_CARD
    for shape, rank, sweeps in problems:
        yield from _passes(shape, rank, sweeps, compare, repeats)
    yield from _solves(repeats)
    yield _small_fits(repeats)
    yield from _sparse(repeats)
    yield from _second_order(problems[-1], repeats)
    yield from _digits()


def _row(what: str, taken: float, beside: str = "", other: float | None = None) -> Row:
    """With the ratio of the other to what was taken: a share of a ceiling, or a gain."""
    ratio = "" if other is None else times(other / taken)
    return what, ms(taken), beside, "" if other is None else ms(other), ratio


# Passes over a tensor


def _passes(shape, rank, sweeps, compare, repeats) -> Iterator[Row]:
    x, factors = draw(shape, rank)
    size, name = x.nbytes, label(shape, rank)
    t = race({"read": compiled(jnp.sum, x), "copy": compiled(lambda x: x + 1, x)}, repeats)
    read = t["read"]
    yield _row(f"{name}: reading, {size / read / 1e6:.0f} GB/s", read)
    yield _row(f"{name}: copying, {2 * size / t['copy'] / 1e6:.0f} GB/s", t["copy"])

    start = cp.CPTensor(jnp.ones(rank), tuple(factors))
    calls = {"jkr": [sweeps_by("jkr", x, start, n) for n in (sweeps, 3 * sweeps)]}
    torch = _on_torch(x, start, compare)
    if torch:
        calls["torch"] = [partial(torch, n) for n in (2, 6)]
    found, _ = marginal({"jkr": calls["jkr"]}, sweeps, {}, repeats)
    yield _row(f"{name}: a sweep", found["jkr"], "two readings", 2 * read)
    if torch:
        other, _ = marginal({"torch": calls["torch"]}, 2, {}, 3)
        yield _row(f"{name}: a sweep", found["jkr"], "TensorLy on PyTorch", other["torch"])

    each = {
        n: compiled(lambda x, a, n=n: jkr.mttkrp(x, a, n), x, factors) for n in range(len(shape))
    }
    for n, taken in race(each, repeats).items():
        yield _row(f"{name}: MTTKRP of mode {n}", taken, "a reading", read)

    counts = jnp.abs(jnp.round(x))
    positive = jax.tree.map(jnp.abs, start)
    poisson = jax.value_and_grad(partial(cp.loss, loss=cp.losses.poisson))
    losses = {
        "loss and gradient": (jax.value_and_grad(cp.loss), start, x),
        "Poisson loss and gradient": (poisson, positive, counts),
    }
    t = race({name: compiled(*call) for name, call in losses.items()}, repeats)
    for what, call in losses.items():
        held = 1e6 * temporaries(*call) / size
        yield _row(f"{name}: {what}, temporaries {held:.2g} of it", t[what], "a reading", read)


def _on_torch(x: Array, start: cp.CPTensor, compare) -> Callable[[int], Any] | None:
    """So many sweeps of TensorLy on PyTorch, on a like device, where both are installed."""
    if "tensorly" not in compare or importlib.util.find_spec("torch") is None:
        return None
    torch: Any = importlib.import_module("torch")
    tensorly: Any = importlib.import_module("tensorly")
    from tensorly.cp_tensor import CPTensor
    from tensorly.decomposition import parafac

    on_card = jax.default_backend() != "cpu"
    if on_card and not torch.cuda.is_available():
        return None
    device = "cuda" if on_card else "cpu"
    array = torch.tensor(np.asarray(x), device=device)
    factors = [torch.tensor(np.asarray(a), device=device) for a in start.factors]
    ones = torch.ones(start.rank, device=device)

    def fit(sweeps: int):
        with tensorly.backend_context("pytorch"):
            init: Any = CPTensor((ones, [a.clone() for a in factors]))
            found = parafac(array, start.rank, n_iter_max=sweeps, init=init, tol=0)
        if on_card:
            torch.cuda.synchronize()
        return np.zeros(()) if found is None else np.ones(())

    return fit


# Solves


def _solves(repeats) -> Iterator[Row]:
    n = 1024 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (n, n))
    for precision in ("default", "highest"):
        product = compiled(partial(jnp.matmul, precision=precision), a, a)
        taken = race({"product": product}, repeats)["product"]
        rate = 2e-9 * n**3 / taken
        yield _row(f"product of two {n}×{n} matrices, {precision}: {rate:.3g} TFLOP/s", taken)

    def by_cholesky(G: Array, b: Array) -> Array:
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(G), b)

    for R in (4, 10, 32, 64, 128):
        G, b = _system(R)
        solves = {"jkr": psd_solve, "cholesky": by_cholesky}
        t = race({k: compiled(partial(_looped, f), G, b) for k, f in solves.items()}, repeats)
        each = {k: value / LOOPED for k, value in t.items()}
        yield _row(f"a solve in a loop, R={R}", each["jkr"], "Cholesky, untested", each["cholesky"])
    for R in (32, 64, 128):
        several = jax.tree.map(lambda a: jnp.broadcast_to(a, (BATCH, *a.shape)) + 0, _system(R))
        t = race({k: compiled(jax.vmap(f), *several) for k, f in solves.items()}, repeats)
        yield _row(f"{BATCH} solves, R={R}", t["jkr"], "Cholesky, untested", t["cholesky"])


def _system(R: int) -> tuple[Array, Array]:
    m = jax.random.normal(jax.random.key(0), (3 * R, R))
    return m.T @ m, jax.random.normal(jax.random.key(1), (R, 400))


def _looped(solve: Callable[[Array, Array], Array], G: Array, b: Array) -> Array:
    """Each waits for the one before it."""
    return jax.lax.fori_loop(0, LOOPED, lambda _, x: b + 1e-9 * solve(G + 1e-9 * x[0, 0], x), b)


# Small fits


def _small_fits(repeats) -> Row:
    xs = jax.random.normal(jax.random.key(0), (BATCH, 20, 20, 20))
    start = cp.random(jax.random.key(1), (20, 20, 20), 4)
    fit = jax.vmap(lambda x: cp.als(x, 4, init=start, tol=0.0, max_iters=SWEEPS).cp)
    one = partial(cp.als, rank=4, init=start, tol=0.0, max_iters=SWEEPS)
    t = race({"all": compiled(fit, xs), "one": compiled(one, xs[0])}, repeats)
    what = f"{BATCH} fits of 20×20×20, R=4, {SWEEPS} sweeps"
    return _row(what, t["all"], "one alone", t["one"])


# Sparse tensors


def _sparse(repeats) -> Iterator[Row]:
    for problem in (
        Problem((20000, 8000, 3000), 2_000_000),
        Problem((100000, 50000, 10000), 20_000_000),
    ):
        indices, values = problem.entries()
        for dtype in ("float32", "float64"):
            with jax.enable_x64(dtype == "float64"):
                x = Sparse(indices, values.astype(dtype), problem.shape, unstored="zero")
                factors = cp.random(jax.random.key(0), problem.shape, 16, dtype=dtype).factors
                calls = {
                    n: compiled(lambda x, *a, n=n: jkr.mttkrp(x, a, n), x, *factors)
                    for n in range(3)
                }
                t = race(calls, repeats)
            modes = ", ".join(ms(value) for value in t.values())
            yield _row(f"{problem.title}, {dtype}: MTTKRP ({modes})", float(np.mean([*t.values()])))
        if jax.default_backend() == "cpu":
            return


# Second order, and compression


def _second_order(problem, repeats) -> Iterator[Row]:
    shape, rank, _ = problem
    truth = cp.random(jax.random.key(0), shape, rank)
    x = truth.full()
    x = x + 0.1 * jnp.std(x) * jax.random.normal(jax.random.key(1), shape)
    start = cp.random(jax.random.key(2), shape, rank)
    steps = {n: partial(cp.nls, rank=rank, init=start, tol=0.0, max_iters=n) for n in (4, 12)}
    calls = {
        **{f"{n} steps": compiled(lambda x, f=f: f(x).cp, x) for n, f in steps.items()},
        "compress": compiled(lambda x: cp.compress(x, rank + 8, key=jax.random.key(0)).core, x),
        "read": compiled(jnp.sum, x),
        "fit": lambda: cp.fit(x, rank, key=jax.random.key(0)),
    }
    t = race(calls, repeats)
    name = label(shape, rank)
    step = (t["12 steps"] - t["4 steps"]) / 8
    yield _row(f"{name}: a step of nls", step, "a reading", t["read"])
    yield _row(f"{name}: compress", t["compress"], "a reading", t["read"])
    yield _row(f"{name}: cp.fit, from random", t["fit"], "a reading", t["read"])


# Digits


def _digits() -> Iterator[Row]:
    """Relative errors of float32 against float64, in place of times."""
    with jax.enable_x64(True):
        model = cp.random(jax.random.key(0), (100, 110, 120), 8, dtype=float)
        x = model.full()
        x32, m32 = jax.tree.map(lambda a: a.astype(jnp.float32), (x, model))
        vector = jax.random.normal(jax.random.key(1), (8, 3))
        pairs = {
            "full": lambda m, x: m.full(),
            "mttkrp": lambda m, x: jkr.mttkrp(x, m.factors, 0),
            "khatri_rao_matmul": lambda m, x: jkr.khatri_rao_matmul(
                m.factors[:2], vector.astype(x.dtype)
            ),
            "loss": lambda m, x: cp.loss(m, 1.5 * x),
        }
        for name, f in pairs.items():
            exact, found = f(model, x), f(m32, x32).astype(float)
            error = float(jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact))
            yield f"digits: {name}", f"{error:.1e}", "", "", ""
        error = float(cp.fit(x32, 8, key=jax.random.key(0)).relative_error)
        yield "digits: relative error of an exact fit", f"{error:.1e}", "", "", ""
