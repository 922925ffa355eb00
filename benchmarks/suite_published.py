"""What others have published, and what is found here: fits of real data, and exact decompositions.

Amino acids: five samples of three of them, fluorescence, from the `pygenten` wheel; fits as in the
Tensor Toolbox's documentation (`gcp_opt_amino_doc`). Missing entries: mean factor match scores of
its `cp_wopt_doc`. A product of n×n matrices is a tensor of n² × n² × n², and each of its exact
decompositions is a way to multiply with as many products as there are components (Strassen's has 7,
Laderman's 23).
"""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jkr
from benchmarks.timing import ms
from jkr import cp

TITLE = "Published figures, met"
HEADER = ("problem", "published", "jkr", "s")
DRAWS = 20  # of missing entries
_EXACT = 1e-6  # a relative error at which a decomposition is exact, in float64


def rows(compare, repeats):
    """One row a figure."""
    with jax.enable_x64(True):
        if "pygenten" in compare:
            yield from _amino_acids()
        yield _missing((15, 10, 5), 0.25, ".9977")
        yield _missing((150, 100, 50), 0.95, ".9983")
        yield _multiplication(2, 7, starts=200, schedule=[(0.0, 500)])
        fading = [(1e-2, 100), (1e-3, 100), (1e-4, 50), (0.0, 150)]
        yield _multiplication(3, 23, starts=16, schedule=fading)


def _amino_acids() -> Iterator[tuple[str, ...]]:
    spec = importlib.util.find_spec("pygenten")
    (root,) = spec.submodule_search_locations  # pyright: ignore
    file = Path(root) / "share" / "genten" / "data" / "aminoacid_data_dense.txt"
    x = jnp.asarray(jkr.io.read(file))
    for name, loss, published in (
        ("gaussian", cp.losses.gaussian, ".974951"),
        ("huber(0.25)", cp.losses.huber(0.25), ".973484"),
        ("gamma", cp.losses.gamma, ".403596"),
    ):
        y = jnp.maximum(x, 0) if name == "gamma" else x
        begin = time.perf_counter()
        found = cp.fit(y, 3, key=jax.random.key(0), loss=loss, restarts=3).cp
        fit = 1 - float(jnp.linalg.norm(found.full() - y) / jnp.linalg.norm(y))
        seconds = time.perf_counter() - begin
        title = f"amino acids 5×201×61, R=3, {name}, three starts: fit, compilation included"
        yield title, published, f"{fit:.6f}".lstrip("0"), ms(seconds)


def _missing(shape: tuple[int, ...], share: float, published: str) -> tuple[str, ...]:
    """Rank 2, 10 % noise, five starts: the score against the truth, the mean of many draws."""
    found, begin = [], time.perf_counter()
    fit = jax.jit(lambda x, w, key: cp.fit(x, 2, key=key, entry_weights=w, restarts=5).cp)
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        factors = [jnp.asarray(rng.standard_normal((n, 2))) for n in shape]
        truth = cp.CPTensor(jnp.ones(2), tuple(factors))
        x, noise = np.asarray(truth.full()), rng.standard_normal(shape)
        x = x + 0.1 * np.linalg.norm(x) / np.linalg.norm(noise) * noise
        w = rng.uniform(size=shape) >= share
        model = fit(jnp.asarray(x), jnp.asarray(w), jax.random.key(draw))
        found.append(float(cp.factor_match_score(model, truth)))
    seconds = (time.perf_counter() - begin) / DRAWS
    title = f"{'×'.join(map(str, shape))}, R=2, {share:.0%} missing, noise 10 %: mean score"
    return title, published, f"{np.mean(found):.4f}".lstrip("0"), ms(seconds)


def _multiplication(n: int, rank: int, starts: int, schedule) -> tuple[str, ...]:
    """How many of so many random starts, side by side, end at an exact decomposition.

    The schedule is of l2, and of the steps with it: without any, models of larger matrices run off
    to components without bound.
    """
    x = jnp.asarray(product_of_matrices(n))

    def fit(key):
        model, error = cp.random(key, x.shape, rank, dtype=float), jnp.inf
        for l2, steps in schedule:
            found = cp.nls(x, rank, init=model, l2=l2, max_iters=steps, tol=1e-10)
            model, error = found.cp, found.relative_error
        return error

    keys = jax.random.split(jax.random.key(0), starts)
    program = jax.jit(jax.vmap(fit)).lower(keys).compile()
    begin = time.perf_counter()
    errors = np.asarray(program(keys))
    seconds = time.perf_counter() - begin
    found = f"{np.sum(errors < _EXACT)} of {starts}, {starts / seconds:.2g} starts a second"
    l2 = ", ".join(f"{value:g}" for value, _ in schedule)
    title = f"product of {n}×{n} matrices, R={rank}, l2 {l2}: exact from so many starts"
    return title, "–", found, ms(seconds)


def product_of_matrices(n: int) -> np.ndarray:
    """T (n², n², n²), over (i, j), (j, k) and (k, i): what Σⱼ A_ij B_jk = C_ik multiplies."""
    e = np.eye(n)
    return np.einsum("ip,jq,kr->ijqkrp", e, e, e).reshape((n * n,) * 3)
