"""Whole fits to their own ends: missing entries, counts, and a batch of small tensors.

Each contestant starts from the same model and stops by its own rule; how far its objective is above
the least that any of the row found stands beside its time.
"""

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suite_gcp import RANK as COUNTS_RANK
from benchmarks.suite_gcp import SHAPE as COUNTS_SHAPE
from benchmarks.suite_gcp import _counts
from benchmarks.timing import times
from jkr import cp

TITLE = "Whole fits to their own ends (s), and how far above the least objective (relative)"
HEADER = (
    *("problem", "cp.fit", "above", "als or gcp", "above", "TensorLy", "above", "pyttb", "above"),
    "best peer / cp.fit",
)
BATCH, LOOPED = 256, 16  # of a batch, and how many of them a loop fits


class Contest(NamedTuple):
    """Contestants by name, each a call that returns models, and what judges them."""

    title: str
    calls: dict[str, Callable[[], Any]]
    objective: Callable[[Any], float]
    share: dict[str, float] = {}  # of the work that a contestant does


def rows(compare, repeats):
    """One row a problem."""
    logging.getLogger().setLevel(logging.ERROR)  # pyttb warns of every copy
    with jax.enable_x64(True):
        for contest in contests():
            yield _row(contest, compare, min(repeats, 3))


def _row(contest: Contest, compare, repeats: int) -> tuple[str, ...]:
    found = {}
    for name, call in contest.calls.items():
        if name in ("tensorly", "pyttb") and name not in compare:
            continue
        models = jax.block_until_ready(call())
        taken = []
        for _ in range(repeats if name in ("fit", "other") else 1):
            begin = time.perf_counter()
            models = jax.block_until_ready(call())
            taken.append(time.perf_counter() - begin)
        seconds = float(np.median(taken)) / contest.share.get(name, 1)
        found[name] = (seconds, contest.objective(models))
    least = min(value for _, value in found.values())
    cells = []
    for name in ("fit", "other", "tensorly", "pyttb"):
        if name not in found:
            cells += ["–", "–"]
            continue
        seconds, value = found[name]
        cells += [f"{seconds:.3g}", f"{(value - least) / abs(least):.0e}"]
    peers = [found[name][0] for name in ("tensorly", "pyttb") if name in found]
    ratio = times(min(peers) / found["fit"][0]) if peers else "–"
    return (contest.title, *cells, ratio)


def contests() -> Iterator[Contest]:
    """What the rows are about."""
    yield _missing()
    yield _poisson()
    yield _batch()


def _model(factors) -> cp.CPTensor:
    return cp.CPTensor(jnp.ones(factors[0].shape[1]), tuple(map(jnp.asarray, factors)))


def _noisy(rng, factors, noise):
    x = np.einsum("ir,jr,kr->ijk", *factors)
    e = rng.standard_normal(x.shape)
    return x + noise * np.linalg.norm(x) / np.linalg.norm(e) * e


def _missing() -> Contest:
    rng, shape, rank = np.random.default_rng(0), (50, 60, 70), 5
    x = _noisy(rng, [rng.uniform(size=(n, rank)) for n in shape], 0.01)
    w = rng.uniform(size=shape) < 0.5
    start = [rng.uniform(size=(n, rank)) for n in shape]
    data, init = (jnp.asarray(x), jnp.asarray(w)), _model(start)
    fit = lambda f, **options: f(data[0], rank, init=init, entry_weights=data[1], **options)  # noqa: E731

    def tensorly():
        from tensorly.cp_tensor import CPTensor
        from tensorly.decomposition import parafac

        options = {"init": CPTensor((np.ones(rank), start)), "mask": w, "tol": 1e-10}
        return _model(_scaled(parafac(np.where(w, x, 0), rank, n_iter_max=2000, **options)))

    def pyttb():
        return _pyttb(x, start, "GAUSSIAN", mask=w)

    calls = {
        "fit": lambda: fit(cp.fit).cp,
        "other": lambda: fit(cp.als, tol=1e-10, max_iters=2000).cp,
        "tensorly": tensorly,
        "pyttb": pyttb,
    }
    title = "50×60×70, R=5, half of the entries missing, noise 1 %, float64"
    return Contest(title, calls, lambda m: float(cp.loss(m, data[0], entry_weights=data[1])))


def _poisson() -> Contest:
    counts, _, start = _counts(0)
    x, init = jnp.asarray(counts), _model(start)
    poisson = cp.losses.poisson
    calls = {
        "fit": lambda: cp.fit(x, COUNTS_RANK, init=init, loss=poisson).cp,
        "other": lambda: cp.gcp(x, COUNTS_RANK, init=init, loss=poisson).cp,
        "pyttb": lambda: _pyttb(counts, start, "POISSON"),
    }
    title = f"{'×'.join(map(str, COUNTS_SHAPE))}, R={COUNTS_RANK}, Poisson counts, float64"
    return Contest(title, calls, lambda m: float(cp.loss(m, x, loss=poisson)))


def _batch() -> Contest:
    rng, shape, rank = np.random.default_rng(0), (20, 20, 20), 4
    xs = np.stack(
        [_noisy(rng, [rng.uniform(size=(n, rank)) for n in shape], 0.05) for _ in range(BATCH)]
    )
    start = [rng.uniform(size=(n, rank)) for n in shape]
    data, init = jnp.asarray(xs), _model(start)
    fit = jax.jit(jax.vmap(lambda x: cp.fit(x, rank, init=init).cp))
    tol = {"tol": 1e-12, "max_iters": 3000}
    als = jax.jit(jax.vmap(lambda x: cp.als(x, rank, init=init, **tol).cp))

    def loop():
        from tensorly.cp_tensor import CPTensor
        from tensorly.decomposition import parafac

        options = {"init": CPTensor((np.ones(rank), start)), "tol": 1e-12, "n_iter_max": 3000}
        found = [_model(_scaled(parafac(x, rank, **options))) for x in xs[:LOOPED]]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

    def objective(models):
        count = len(models.weights)
        return float(jnp.mean(jax.vmap(cp.loss)(models, data[:count])[:LOOPED]))

    calls = {"fit": lambda: fit(data), "other": lambda: als(data), "tensorly": loop}
    title = f"{BATCH} tensors 20×20×20, R=4, noise 5 %, by vmap, float64"
    return Contest(title, calls, objective, {"tensorly": LOOPED / BATCH})


def _scaled(found) -> list[np.ndarray]:
    """Factors, the weights in the first."""
    weights, factors = found
    return [factors[0] * weights[None, :], *factors[1:]]


def _pyttb(x, start, objective: str, mask=None) -> cp.CPTensor:
    import pyttb
    from pyttb.gcp.handles import Objectives
    from pyttb.gcp.optimizers import LBFGSB

    rank = start[0].shape[1]
    known: dict[str, Any] = {} if mask is None else {"mask": pyttb.tensor(mask.astype(float)).data}
    with contextlib.redirect_stdout(io.StringIO()):
        model, *_ = pyttb.gcp_opt(
            pyttb.tensor(np.where(mask, x, 0) if mask is not None else x),
            rank,
            getattr(Objectives, objective),
            LBFGSB(maxiter=1000),
            init=pyttb.ktensor([a.copy() for a in start], np.ones(rank)),
            printitn=0,
            **known,
        )
    return _model(_scaled((model.weights, model.factor_matrices)))
