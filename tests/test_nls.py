"""`cp.nls`: it ends where others should, at stationary points, whatever the problem."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jkr import cp
from jkr.tensors import Dense

KEY = jax.random.key(0)
SHAPE = (9, 8, 7)
PROBLEMS = (
    *("plain", "complex", "weighted", "l2"),
    *("fixed", "nonnegative", "poisson", "huber, missing"),
)


def noisy(rng, factors, noise, dtype=float):
    x = np.einsum("ir,jr,kr->ijk", *factors).astype(dtype)
    e = rng.standard_normal(x.shape)
    return jnp.asarray(x + noise * np.linalg.norm(x) / np.linalg.norm(e) * e)


def problem(rng, name):
    """Data, and options of a fit of three components."""
    factors = [rng.uniform(0, 1, (n, 3)) for n in SHAPE]
    x, w = noisy(rng, factors, 0.1), jnp.asarray(rng.uniform(size=SHAPE) < 0.6, float)
    counts = jnp.asarray(rng.poisson(9 * np.einsum("ir,jr,kr->ijk", *factors)), float)
    turned = [a * np.exp(1j * rng.uniform(0, 6, a.shape)) for a in factors]
    return {
        "plain": (x, {}),
        "complex": (noisy(rng, turned, 0.1, complex), {}),
        "weighted": (x, {"entry_weights": w}),
        "l2": (x, {"l2": 0.1}),
        "fixed": (x, {"fixed_modes": 0, "init": cp.als(x, 3, key=KEY, max_iters=3).cp}),
        "nonnegative": (x, {"nonnegative": True}),
        "poisson": (counts, {"loss": cp.losses.poisson}),
        "huber, missing": (x, {"loss": cp.losses.huber(0.1), "entry_weights": w}),
    }[name]


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_ends_at_a_stationary_point_no_worse_than_where_others_end(name, rng):
    x, options = problem(rng, name)
    options = {"key": None if "init" in options else KEY} | options
    ours = cp.nls(x, 3, **options)
    other = cp.gcp(x, 3, max_iters=5000, **(options | {"init": ours.cp, "key": None}))
    assert int(ours.status) in (0, 1)
    assert ours.stationarity < 1e-8
    # From there a generic optimiser finds nothing better.
    assert other.history[-1] > ours.history[-1] - 1e-9 * abs(ours.history[-1])
    assert ours.history[-1] <= ours.history[0]


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_state_has_the_objective_and_the_gradient_of_its_model(name, rng):
    x, options = problem(rng, name)
    start = {"init": options.pop("init")} if "init" in options else {"key": KEY}
    data, solver = Dense(x, options.pop("entry_weights", None)), cp.NLS(**options)
    state = solver.init(data, 3, **start)
    for _ in range(2):
        state = solver.step(data, state)
    objective = cp.nls(data, 3, **start, **options, max_iters=1).objective.on(data)
    whole, weights, free = objective.at(state.cp, state.scale)
    value, slopes = jax.value_and_grad(partial(whole.value, weights))(free)
    assert_allclose(state.value, value, rtol=1e-10)
    assert_allclose(state.objective, objective.value(*objective.balanced(state.cp)), rtol=1e-10)
    for ours, slope in zip(state.gradient, slopes, strict=True):
        rounding = 1e-9 * jnp.max(jnp.abs(slope)) + 1e-13
        assert_allclose(ours, slope.conj(), rtol=1e-7, atol=rounding)
    assert state.change == state.stationarity < 1


@pytest.mark.parametrize("noise", [1e-6, 1e-10])
def test_residuals_below_the_rounding_of_the_objective_are_fitted(noise, rng):
    # ½‖T − M‖² is less than eps·‖T‖²; the optimum is the truth and one linear step.
    factors = [rng.uniform(0, 1, (n, 3)) for n in SHAPE]
    x = noisy(rng, factors, noise)
    columns = [
        np.einsum(f"{'ijk'[n]}a,{others}->ijkar", np.eye(SHAPE[n]), *factors[:n], *factors[n + 1 :])
        for n, others in enumerate(("jr,kr", "ir,kr", "ir,jr"))
    ]
    J = np.concatenate([column.reshape(x.size, -1) for column in columns], axis=1)
    residual = np.ravel(x - np.einsum("ir,jr,kr->ijk", *factors))
    left = residual - J @ np.linalg.lstsq(J, residual, rcond=None)[0]
    result = cp.nls(x, 3, key=KEY)
    assert int(result.status) == 0
    assert_allclose(result.relative_error, np.linalg.norm(left) / np.linalg.norm(x), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_cancel_end_no_later(dtype, rng):
    """A constant that brings the sum of a loss to zero says nothing of where its minimum is."""
    factors = [rng.uniform(0.2, 2, (n, 3)) for n in SHAPE]
    counts = jnp.asarray(rng.poisson(np.einsum("ir,jr,kr->ijk", *factors)), dtype)
    plain = cp.nls(counts, 3, key=KEY, loss=cp.losses.poisson)
    mean = float(plain.history[-1]) / counts.size
    loss = cp.losses.Loss(
        lambda m, x: m - x * jnp.log(m + jnp.asarray(1e-10, m.dtype)) - mean, nonnegative=True
    )
    other = cp.nls(counts, 3, key=KEY, loss=loss)
    assert int(other.status) == int(plain.status)
    assert int(other.iterations) <= int(plain.iterations) + 3
    assert_allclose(other.cp.full(), plain.cp.full(), rtol=1e-2 if dtype == "float32" else 1e-6)


def test_starts_after_sweeps_are_in_normal_form(rng):
    x, options = problem(rng, "poisson")
    for a in cp.NLS(**options).init(x, 3, key=KEY).cp.factors:
        assert_allclose(np.linalg.norm(a, axis=0), 1, rtol=1e-12)


def test_a_stationary_start_takes_no_step(rng):
    x, _ = problem(rng, "plain")
    end = cp.nls(x, 3, key=KEY)
    again = cp.nls(x, 3, init=end.cp)
    assert (int(again.iterations), int(again.status)) == (0, 0)
    assert_allclose(again.cp.full(), end.cp.full(), atol=1e-7)


def test_collinear_components_are_found(rng):
    # Congruence 0.9 in every mode, as in Tensor Toolbox's own example, where ALS scores 0.37.
    gram = np.full((5, 5), 0.9) + 0.1 * np.eye(5)
    factors = [
        np.linalg.qr(rng.standard_normal((n, 5)))[0] @ np.linalg.cholesky(gram).T
        for n in (20, 22, 24)
    ]
    x, truth = noisy(rng, factors, 0.01), cp.CPTensor(jnp.ones(5), tuple(map(jnp.asarray, factors)))
    keys = jax.random.split(KEY, 4)
    results = jax.vmap(lambda key: cp.nls(x, 5, key=key))(keys)
    scores = jax.vmap(lambda model: cp.factor_match_score(model, truth))(results.cp)
    assert np.all(np.asarray(scores) > 0.99)
    assert np.all(np.asarray(results.iterations) < 100)
    assert np.all(np.asarray(results.stationarity) < 1e-8)


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 1e30), ("float32", 1e-30), ("float64", 1e-150)]
)
def test_scales_and_precisions(dtype, scale, rng):
    x = noisy(rng, [rng.uniform(0, 1, (n, 2)) for n in SHAPE], 0.1).astype(dtype)
    ours, unit = (cp.nls(x * jnp.asarray(s, dtype), 2, key=KEY) for s in (scale, 1))
    assert ours.converged
    assert_allclose(ours.fit, unit.fit, rtol=1e-5)
    assert_allclose(ours.cp.full() / scale, unit.cp.full(), rtol=1e-3, atol=1e-4)
    assert int(ours.iterations) < 60


def test_an_exact_fit_ends_at_rounding(rng):
    x = noisy(rng, [rng.standard_normal((n, 3)) for n in SHAPE], 0)
    assert cp.nls(x, 3, key=KEY, restarts=3).relative_error < 1e-9
    single = cp.nls(x.astype("float32"), 3, key=KEY, restarts=3)
    assert (int(single.status), bool(single.relative_error < 1e-5)) == (0, True)
    assert int(single.iterations) < 60


@pytest.mark.parametrize("trace", [1e-3, 3e-4])
def test_a_saddle_is_not_taken_for_the_end_in_float32(trace):
    # Two components of the start share one of the truth, with a trace of the third that is left.
    rng = np.random.default_rng(3)
    factors = [np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in SHAPE]
    x = noisy(rng, factors, 0.01).astype("float32")
    shared = [np.stack([a[:, 0], a[:, 1], a[:, 1] + trace * a[:, 2]], axis=1) for a in factors]
    start = cp.CPTensor(jnp.asarray([1, 0.5, 0.5]), tuple(map(jnp.asarray, shared)))
    result = cp.nls(x, 3, init=jax.tree.map(lambda a: a.astype("float32"), start))
    assert result.relative_error < 0.011  # it is 0.58 at the saddle


def test_gradients_through_a_fit_are_exact_by_default(rng):
    x = noisy(rng, [rng.uniform(0, 1, (n, 2)) for n in SHAPE], 0.1)
    direction = jnp.asarray(rng.standard_normal(SHAPE))
    f = jax.jit(lambda t: jnp.sum(jnp.sin(cp.nls(x + t * direction, 2, key=KEY).cp.full())))
    h = 1e-4
    assert_allclose(jax.jit(jax.grad(f))(0.0), (f(h) - f(-h)) / (2 * h), rtol=1e-6)


def test_other_constraints_are_refused():
    constraints = {0: cp.constraints.simplex()}
    with pytest.raises(ValueError, match=r"^cp.nls: takes nonnegative factors and fixed ones"):
        cp.nls(jnp.ones(SHAPE), 2, key=KEY, constraints=constraints)
