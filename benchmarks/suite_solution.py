"""Time to solution (P8): whole fits from the same start, until they are as good as any of the run.

`cp.fit` and `cp.als` to their own ends are single calls, compiled before. What else there is runs
in turns of 20 iterations, each from where the last one ended, until they gain nothing or time is
over; what counts are the seconds until it was within reach of the least relative error that any
contestant found. Checking is not timed.
"""

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems import label
from benchmarks.timing import times
from jkr import cp

TITLE = "Time to solution (s), from the same start, and the fit that was reached"
HEADER = (
    *("problem", "cp.fit", "passes", "fit", "score", "cp.als", "fit", "stationarity, fit and als"),
    *("TensorLy", "fit", "pyttb", "fit", "best peer / cp.fit"),
)
SECONDS = 20  # of each contestant
_TURN = 20  # iterations
CLOSE = {"float32": 3e-4, "float64": 1e-6}  # relative to the least error, and absolute


class Problem(NamedTuple):
    """A tensor, of what it was made, and a start."""

    title: str
    x: Any
    truth: list[np.ndarray]
    start: list[np.ndarray]


def _collinear(rng: np.random.Generator, n: int, rank: int, congruence: float) -> np.ndarray:
    gram = np.full((rank, rank), congruence) + (1 - congruence) * np.eye(rank)
    return np.linalg.qr(rng.standard_normal((n, rank)))[0] @ np.linalg.cholesky(gram).T


def _made(
    title: str,
    factors: list[np.ndarray],
    noise: float,
    dtype: str,
    rng: np.random.Generator,
    rank: int | None = None,
) -> Problem:
    shape, components = [len(a) for a in factors], rank or factors[0].shape[1]
    s = len(factors) // 2
    paired = lambda group: reduce(  # noqa: E731
        lambda a, b: (a[:, None] * b[None]).reshape(-1, a.shape[1]), group
    )
    x = (paired(factors[:s]) @ paired(factors[s:]).T).reshape(shape)
    e = rng.standard_normal(shape)
    x += noise * np.linalg.norm(x) / np.linalg.norm(e) * e
    start = [rng.standard_normal((n, components)).astype(dtype) for n in shape]
    where = f"{label(shape, components)}, {title}, {dtype}"
    return Problem(where, jnp.asarray(x, dtype), factors, start)


def problems() -> Iterator[Problem]:
    """Congruent, uniform and normal factors."""
    rng = np.random.default_rng(0)
    draw = {"uniform": rng.uniform, "normal": lambda size: rng.standard_normal(size)}
    for congruence in (0.5, 0.9, 0.99):
        factors = [_collinear(rng, n, 5, congruence) for n in (200, 300, 400)]
        yield _made(f"congruence {congruence}, noise 1 %", factors, 0.01, "float64", rng)
    for shape, rank, kind, noise, dtype in (
        ((64, 12, 10, 60), 4, "uniform", 0.1, "float64"),
        ((200, 200, 200), 10, "uniform", 0.1, "float32"),
        ((80, 80, 80, 80), 16, "uniform", 0.1, "float32"),
        ((400, 400, 400), 32, "normal", 0.1, "float32"),
        ((100, 100, 100), 10, "normal", 0.0, "float64"),
    ):
        factors = [draw[kind](size=(n, rank)) for n in shape]
        yield _made(f"{kind} factors, noise {100 * noise:.0f} %", factors, noise, dtype, rng)
    factors = [rng.uniform(size=(n, 4)) for n in (50, 60, 70)]
    yield _made("of which 4 are there, noise 1 %", factors, 0.01, "float64", rng, rank=6)
    factors = [rng.uniform(size=(n, 3)) for n in (5, 201, 61)]
    yield _made("uniform factors, noise 2 %", factors, 0.02, "float64", rng)


def rows(compare, repeats):
    """One row a problem."""
    logging.getLogger().setLevel(logging.ERROR)  # pyttb warns of every copy
    with jax.enable_x64(True):
        for problem in problems():
            yield _row(problem, compare, min(repeats, 3))


def _row(problem: Problem, compare, repeats: int) -> tuple[str, ...]:
    rank = problem.start[0].shape[1]
    init = cp.CPTensor(
        jnp.ones(rank, problem.x.dtype), tuple(jnp.asarray(a) for a in problem.start)
    )
    ours, seconds = _called(lambda: cp.fit(problem.x, rank, init=init), repeats)
    als = lambda: cp.als(problem.x, rank, init=init, tol=1e-10, max_iters=2000)  # noqa: E731
    sweeps, als_seconds = _called(als, 1)
    errors = [float(ours.relative_error), float(sweeps.relative_error)]
    peers: dict[str, list[tuple[float, float]]] = {}
    if "tensorly" in compare:
        peers["tensorly"] = _run(problem, _tensorly)
    if "pyttb" in compare:
        peers["pyttb"] = _run(problem, _pyttb)
    least = min([*errors, *(error for run in peers.values() for _, error in run)])
    close = least + CLOSE[str(problem.x.dtype)] * (least if problem.x.dtype == "float32" else 1)
    found = {name: _reached(run, close) for name, run in peers.items()}
    best = min((seconds for seconds, reached in found.values() if reached), default=None)
    spent = max((seconds for seconds, _ in found.values()), default=0.0)
    ratio = "–"
    if found and errors[0] <= close:
        ratio = times(best / seconds) if best else f"> {times(spent / seconds)}"
    return (
        problem.title,
        _s(seconds, errors[0] <= close),
        str(sum(stage.passes or 0 for stage in ours.stages)),
        f"{1 - errors[0]:.8f}",
        _score(ours.cp, problem.truth),
        _s(als_seconds, errors[1] <= close),
        f"{1 - errors[1]:.8f}",
        f"{float(ours.stationarity):.0e}, {float(sweeps.stationarity):.0e}",
        *(
            cell
            for name in ("tensorly", "pyttb")
            for cell in (
                (_s(*found[name]), f"{1 - peers[name][-1][1]:.8f}") if name in found else ("–", "–")
            )
        ),
        ratio,
    )


def _called(call: Callable[[], cp.CPResult], repeats: int) -> tuple[cp.CPResult, float]:
    """The result, and the median of the seconds of calls that are compiled."""
    result, taken = jax.block_until_ready(call()), []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = jax.block_until_ready(call())
        taken.append(time.perf_counter() - begin)
    return result, float(np.median(taken))


def _run(problem: Problem, turn: Callable) -> list[tuple[float, float]]:
    """(seconds, relative error) after each turn, the error from the residual in float64."""
    x, model = np.asarray(problem.x), (np.ones(problem.start[0].shape[1]), problem.start)
    seconds, found, data = 0.0, [], jnp.asarray(x, float)
    ones, whole = jnp.ones(x.shape), float(jnp.linalg.norm(data.ravel()))
    while seconds < SECONDS:
        begin = time.perf_counter()
        model = turn(x, model)
        seconds += time.perf_counter() - begin
        weights, factors = model
        dense = cp.CPTensor(
            jnp.asarray(weights, float), tuple(jnp.asarray(a, float) for a in factors)
        )
        squared = 2 * float(cp.loss(dense, data, entry_weights=ones))
        found.append((seconds, squared**0.5 / whole))
        if len(found) > 1 and found[-2][1] - found[-1][1] < 1e-10:
            break
    return found


def _reached(run: list[tuple[float, float]], close: float) -> tuple[float, bool]:
    """Seconds until it was good enough, or all there were, and whether it was."""
    good = [seconds for seconds, error in run if error <= close]
    return (good[0], True) if good else (run[-1][0], False)


def _tensorly(x: np.ndarray, model: tuple) -> tuple:
    from tensorly.cp_tensor import CPTensor
    from tensorly.decomposition import parafac

    rank = len(model[0])
    options: dict[str, Any] = {"init": CPTensor(model), "tol": 1e-16, "linesearch": True}
    found = parafac(x, rank, n_iter_max=_TURN, **options)
    return found.weights, found.factors


def _pyttb(x: np.ndarray, model: tuple) -> tuple:
    import pyttb

    weights, factors = model
    with contextlib.redirect_stdout(io.StringIO()):
        found, *_ = pyttb.cp_als(
            pyttb.tensor(x),
            len(weights),
            stoptol=0,
            maxiters=_TURN,
            init=pyttb.ktensor([np.array(a, float) for a in factors], np.asarray(weights, float)),
            printitn=0,
        )
    return found.weights, found.factor_matrices


def _score(model: cp.CPTensor, truth: list[np.ndarray]) -> str:
    """Factor match score, of as many components as there are."""
    rank = truth[0].shape[1]
    if model.rank != rank:
        return "–"
    weights, factors = model
    other = cp.CPTensor(jnp.ones(rank), tuple(map(jnp.asarray, truth)))
    wide = cp.CPTensor(weights.astype(float), tuple(a.astype(float) for a in factors))
    return f"{float(cp.factor_match_score(wide, other)):.4f}"


def _s(seconds: float, reached: bool) -> str:
    """Seconds, in brackets where the solution was not reached in them."""
    said = f"{float(f'{seconds:.3g}'):g}"
    return said if reached else f"({said})"
