"""What every fit does alike: stepping, driving, transforms, restarts, stopping, and bad data.

A case is a fit, a problem and the kind of its tensor; the tests go round them, because each case is
a program to compile.
"""

import gc
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from structure import work_of

from jkr import cp
from jkr.cp import losses
from jkr.cp._fit import _run
from jkr.tensors import Dense

KEY = jax.random.key(0)
SHAPE = (4, 5, 6)


class Fit(NamedTuple):
    """A fit: its call, its solver and states, what they take, and how exactly runs agree."""

    call: Callable
    solver: type[cp.Solver]
    state: type
    options: dict[str, Any] = {}
    close: float = 1e-8


FITS = {
    "als": Fit(cp.als, cp.ALS, cp.ALSState, close=1e-10),
    "nls": Fit(cp.nls, cp.NLS, cp.NLSState),
    "gaussian": Fit(cp.gcp, cp.GCP, cp.GCPState),
    "huber, adam": Fit(
        cp.gcp, cp.GCP, cp.GCPState, {"loss": losses.huber(1), "optimizer": optax.adam(0.1)}
    ),
    "poisson": Fit(cp.gcp, cp.GCP, cp.GCPState, {"loss": losses.poisson}),
}


@partial(jax.jit, static_argnums=0)
def draw(dtype):
    """A model of which noisy data are made, and a larger one that is itself the data."""
    truth, larger = (cp.random(jax.random.key(k), SHAPE, 2 * k, dtype=dtype) for k in (1, 2))
    return truth.full() + 0.3 * jax.random.normal(jax.random.key(4), SHAPE, dtype), larger


# By NumPy, because what is drawn here every worker would compile.
RNG = np.random.default_rng(0)
WEIGHTS = jnp.asarray(RNG.uniform(0.1, 1.1, SHAPE))
SEEN = jnp.asarray(RNG.uniform(size=SHAPE) < 0.8)
START = cp.CPTensor(
    jnp.ones(2), tuple(jnp.asarray(np.abs(RNG.standard_normal((n, 2)))) for n in SHAPE)
)
RATES = np.einsum("ir,jr,kr->ijk", *(np.abs(RNG.standard_normal((n, 2))) for n in SHAPE))
COUNTS = jnp.asarray(RNG.poisson(3 * RATES).astype(float))
# Options of the solver; weights and the start beside them.
PROBLEMS = {
    "plain": {},
    "weighted": {"entry_weights": WEIGHTS},
    "missing": {"entry_weights": SEEN},
    "nonnegative": {"nonnegative": [0]},
    "fixed": {"fixed_modes": 1, "init": START},
    "l2": {"l2": 0.1},
    "complex": {},
}


class Case(NamedTuple):
    """What a case stands for: an array with weights, the same as a tensor, and how to fit it."""

    fit: Fit
    x: jax.Array
    w: jax.Array | None
    tensor: Any
    start: dict[str, Any]
    options: dict[str, Any]

    def called(self, rank=2, **options):
        """The function of arrays."""
        options = self.start | self.options | options
        return self.fit.call(self.x, rank, entry_weights=self.w, **options)

    def solved(self, rank=2, **options):
        """The solver, of the tensor."""
        return self.fit.solver(**self.options, **options)(self.tensor, rank, **self.start)


def made(name, problem, kind):
    fit, words = FITS[name], problem.split(", ")
    x, larger = draw(complex if "complex" in words else float)
    x = COUNTS if name == "poisson" else x
    given = {option: value for word in words for option, value in PROBLEMS[word].items()}
    w, init = given.pop("entry_weights", None), given.pop("init", None)
    start = {"key": KEY}
    if init is not None:
        start = {"init": jax.tree.map(lambda a: a.astype(x.dtype), init)}
    if "missing" in words:
        x = jnp.where(w, x, jnp.nan)
    tensor = {"array": x, "Dense": Dense(x, w), "CPTensor": larger}[kind]
    x = larger.full() if kind == "CPTensor" else x
    return Case(fit, x, w, tensor, start, fit.options | given)


def cases(*several):
    """The first argument of a test, a case."""
    return pytest.mark.parametrize("case", several, ids=" / ".join)


def finite(result):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result[:8]))


# Stepping and driving


@cases(
    ("als", "plain", "array"),
    ("als", "weighted, l2, nonnegative", "Dense"),
    ("als", "fixed, complex", "CPTensor"),
    ("nls", "weighted, nonnegative", "Dense"),
    ("gaussian", "missing", "Dense"),
    ("huber, adam", "plain", "array"),
)
def test_stepping_is_the_same_fit(case):
    fit, *_, tensor, start, options = case = made(*case)
    result = case.called(tol=0, max_iters=6)
    solver = fit.solver(**options)
    first = solver.init(tensor, 2, **start)

    @jax.jit
    def last(tensor, state):
        return jax.lax.fori_loop(0, 6, lambda _, s: solver.step(tensor, s), state)

    state = last(tensor, first)
    assert isinstance(state, fit.state)
    assert int(state.iteration) == 6
    assert_allclose(state.cp.full(), result.cp.full(), atol=fit.close)
    watched = getattr(state, solver.algorithm.watches)
    assert_allclose(watched, result.history[-1], **{"atol" if fit.call is cp.als else "rtol": 1e-8})
    for n in result.objective.free:
        assert_allclose(np.linalg.norm(state.cp.factors[n], axis=0), 1)
    if "fixed_modes" in options:
        assert np.array_equal(state.cp.factors[1], start["init"].factors[1])


@cases(("als", "plain", "array"), ("gaussian", "missing", "Dense"))
def test_progress_and_callback_see_every_step(case, capsys):
    case, seen = made(*case), []
    driven = case.solved(tol=1e-4, progress=True, callback=seen.append)
    plain = case.solved(tol=1e-4)
    assert int(driven.iterations) == int(plain.iterations) == len(seen)
    assert_allclose(driven.history, plain.history, rtol=1e-9, atol=1e-12)
    assert_allclose(driven.cp.full(), plain.cp.full(), atol=case.fit.close)
    assert isinstance(seen[-1], case.fit.state)
    word = "fit 0." if case.fit.call is cp.als else "objective"
    assert word in capsys.readouterr().err


@pytest.fixture
def interruptible():
    """Python's own answer to Ctrl-C: what runs in the background was started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@cases(("als", "l2", "array"), ("poisson", "weighted", "Dense"))
def test_interrupting_returns_the_best_so_far(case):
    case = made(*case)

    def interrupt(state):
        if int(state.iteration) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = case.solved(tol=0, max_iters=50, callback=interrupt)
    assert (int(result.status), bool(result.converged)) == (4, False)
    assert "resume with init=result.cp" in result.message
    steps = int(result.iterations)
    assert steps in (3, 4)
    assert result.history.shape == (50,)
    finite(result)
    assert_allclose(result.fit, case.called(tol=0, max_iters=steps).fit, atol=1e-9)


# Transforms


def test_eager_calls_compile_once():
    for name, problem in (("als", "plain"), ("huber, adam", "weighted")):
        case = made(name, problem, "Dense")
        case.called(tol=1e-3, max_iters=11)
        compiled = _run.fit._cache_size()
        again = case._replace(
            x=case.x + 1, tensor=Dense(case.x, case.w), start={"key": jax.random.key(9)}
        )
        again.called(tol=1e-5, max_iters=11)
        again.solved(tol=1e-7, max_iters=11)
        if name != "als":
            options = case.options | {"loss": losses.huber(1.0)}
            again._replace(options=options).called(max_iters=11)
        assert _run.fit._cache_size() == compiled


SORTED = cp.constraints.prox(lambda a, step: jnp.sort(a, axis=0))
EAGER = {
    "a prox": lambda x, m: cp.als(x, 2, init=m, max_iters=2, constraints={0: SORTED}),
    "weights": lambda x, m: cp.loss(m, x, entry_weights=WEIGHTS),
    "scores": lambda x, m: (cp.factor_match_score(m, m), cp.align(m, m), cp.project(m, x, 0)),
    "judged": lambda x, m: (
        cp.core_consistency(m, x, entry_weights=WEIGHTS),
        cp.standard_errors(m, x, entry_weights=WEIGHTS),
    ),
}


@pytest.mark.parametrize("name", EAGER)
def test_a_second_eager_call_traces_nothing_and_keeps_nothing(name):
    x, larger = draw(float)
    model = larger.take([0, 1])
    EAGER[name](x, model)
    gc.collect()
    before = len(jax.live_arrays())
    assert not work_of(lambda: EAGER[name](x, model), ())
    gc.collect()
    assert len(jax.live_arrays()) == before


@pytest.mark.parametrize(
    ("case", "several"),
    [
        # axes of the tensor, the key, the entry weights, l2 and tol
        (
            ("als", "weighted", "array"),
            [(0, 0, 0, 0, 0), (None, 0) + (None,) * 3, (None, None) + (0,) * 3],
        ),
        (("als", "complex", "array"), [(0, 0, None, None, 0)]),
        (("poisson", "plain", "array"), [(0, None, None, None, 0)]),
    ],
    ids=["als, weighted", "als, complex", "poisson"],
)
def test_vmap_over_everything_equals_the_loop(case, several):
    fit, x, w, *_, options = made(*case)
    lanes = 3
    xs = jnp.stack([x, jnp.roll(x, 1, 0), x[::-1] + 1])
    ws = None if w is None else jnp.stack([w, w[::-1], 1 - w / 2])
    l2, tol = jnp.array([0.0, 0.1, 1.0]), jnp.array([1e-2, 1e-4, 1e-6])

    def fitted(x, key, w, l2, tol):
        given = options | {"key": key, "entry_weights": w, "l2": l2, "tol": tol, "max_iters": 80}
        result = fit.call(x, 2, **given)
        return result.cp.full(), result.iterations, result.history

    arguments, counts, alone = (xs, jax.random.split(KEY, lanes), ws, l2, tol), [], jax.jit(fitted)
    first = [None if a is None else a[0] for a in arguments]
    for axes in several:
        given = [a if n == 0 else f for a, f, n in zip(arguments, first, axes, strict=True)]
        batch = jax.jit(jax.vmap(fitted, axes))(*given)
        counts.append(batch[1].tolist())
        for k in range(lanes):
            one = alone(*(a[k] if n == 0 else a for a, n in zip(given, axes, strict=True)))
            assert int(batch[1][k]) == int(one[1])
            if fit.call is cp.als:
                assert_allclose(batch[0][k], one[0], atol=1e-8)
            assert_allclose(batch[2][k], one[2], rtol=1e-7, atol=1e-9)
    assert len(set(counts[0])) > 1


@cases(("als", "weighted", "array"), ("poisson", "weighted", "array"))
def test_bad_data_under_jit_are_flagged(case):
    fit, x, _, _, start, options = made(*case)
    w = jnp.ones(SHAPE)
    fitted = jax.jit(lambda x, w: fit.call(x, 2, entry_weights=w, max_iters=5, **start, **options))
    hostile = [
        (x.at[0, 0, 0].set(jnp.nan), w, 6, "NaN"),
        (x + jnp.nan, w, 6, "NaN"),
        (jnp.where(x > 0, jnp.inf, x), w, 6, "inf"),
        (x, -w, 7, "nonnegative"),
        (x, jnp.nan * w, 7, "finite"),
    ]
    if fit.options:
        hostile.append((x.at[0, 0, 0].set(-1), w, 6, "that the loss is not for"))
    for bad_x, bad_w, status, word in hostile:
        result = fitted(bad_x, bad_w)
        assert (int(result.status), int(result.iterations)) == (status, 0)
        assert not result.converged
        assert word in result.message
        assert all(np.isfinite(a).all() for a in result.cp.factors)


# Restarts and stopping


@cases(("als", "plain", "array"), ("poisson", "plain", "Dense"))
def test_restarts_return_the_best(case):
    case, options = made(*case), {"tol": 0, "max_iters": 4}
    best = case.solved(3, restarts=4, **options)
    alone = [case._replace(start={"key": k}).called(3, **options) for k in jax.random.split(KEY, 4)]
    if case.fit.call is cp.als:
        assert_allclose(best.fit, max(float(result.fit) for result in alone), atol=1e-12)
    else:
        least = min(float(result.history[-1]) for result in alone)
        assert_allclose(best.history[-1], least, rtol=1e-10)
    again = case.solved(3, restarts=4, **options)
    assert np.array_equal(best.cp.weights, again.cp.weights)
    driven = case.solved(3, restarts=4, callback=lambda state: None, **options)
    assert_allclose(driven.fit, best.fit, atol=1e-12)
    assert_allclose(driven.history[-1], best.history[-1], rtol=1e-10)


def test_an_exact_step_has_converged():
    x, larger = draw(float)
    result = cp.als(x, 4, init=larger, fixed_modes=(0, 1), max_iters=1)
    assert (int(result.status), bool(result.converged)) == (0, True)


@pytest.mark.parametrize("fit", [cp.nls, cp.fit])
def test_an_exact_step_of_other_solvers_has_converged(fit):
    x, larger = draw(float)
    result = fit(x, 4, init=larger, fixed_modes=(0, 1), max_iters=2)
    assert (int(result.status), bool(result.converged)) == (0, True)
    assert result.stationarity < 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {"loss": lambda m, x: jnp.log(m - 100)},
        {"penalty": lambda factors: jnp.sum(jnp.log(factors[0] - 100))},
    ],
    ids=["loss", "penalty"],
)
def test_losses_and_penalties_that_are_nan_are_named(options):
    sgd = optax.sgd(0.1)  # quick to compile
    result = cp.gcp(draw(float)[0], 2, key=KEY, max_iters=3, optimizer=sgd, **options)
    assert (int(result.status), bool(result.converged)) == (9, False)
    assert "or they are NaN themselves" in result.message
    finite(result._replace(stationarity=jnp.zeros(()), history=jnp.zeros(1)))


def test_a_prox_that_is_nan_is_named():
    nowhere = {0: cp.constraints.prox(lambda a, step: jnp.sqrt(a - 100))}
    result = cp.als(draw(float)[0], 2, key=KEY, max_iters=3, constraints=nowhere)
    assert int(result.status) == 5
    assert "NaN in a prox of your own" in result.message


def test_steps_that_lead_nowhere_have_not():
    case = made("gaussian", "plain", "array")
    result = case.called(optimizer=optax.sgd(1e-9), tol=1e-4)
    assert (int(result.status), bool(result.converged)) == (8, False)
    assert result.stationarity > 3e-2
    assert "far from a minimum" in result.message


def test_a_penalty_without_a_derivative_is_named():
    case = made("gaussian", "plain", "array")
    group = lambda factors: jnp.sum(jnp.sqrt(jnp.sum(factors[0] ** 2, axis=1)))  # noqa: E731
    unseen = jnp.ones(SHAPE).at[1].set(0)  # whose row starts at zero
    result = case._replace(w=unseen).called(penalty=group)
    assert int(result.status) == 9
    assert "penalty, is NaN or inf" in result.message
    finite(result._replace(stationarity=jnp.zeros(()), history=jnp.zeros(1)))
    status = jnp.array([8, 3, 0])
    assert "raise max_iters" in result._replace(status=status).message  # the worst of a batch
    assert "float16" in result._replace(status=jnp.array([8, 5])).message


@cases(("als", "plain", "array"), ("gaussian", "plain", "array"))
def test_tol_zero_runs_all_steps_and_history_is_padded(case):
    case = made(*case)
    tol, upwards = (1e-3, 1) if case.fit.call is cp.als else (1e-2, -1)
    result = case.called(tol=0, max_iters=37)
    assert int(result.iterations) == 37
    assert int(result.status) == (0 if result.stationarity < 64 * np.finfo(float).eps else 3)
    assert np.all(upwards * np.diff(result.history) >= -1e-9)
    early = case.called(tol=tol, max_iters=37)
    steps, history = int(early.iterations), early.history
    assert steps < 37
    assert history.shape == (37,)
    assert np.all(history[steps - 1 :] == history[-1])
    size = 1 if case.fit.call is cp.als else 1.1 * history[-1]
    assert abs(history[steps - 1] - history[steps - 2]) < tol * size
