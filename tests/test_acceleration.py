"""Sweeps of ALS that begin ahead: fewer of them, to the same models, and never to worse ones."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jkr import cp
from jkr.cp.constraints import ball, l1, simplex
from jkr.tensors import Dense

KEY = jax.random.key(0)
SHAPE, RANK = (9, 8, 7), 3
RNG = np.random.default_rng(0)
FACTORS = [0.2 + RNG.uniform(size=(n, RANK)) for n in SHAPE]  # columns that are much alike
X = jnp.asarray(np.einsum("ir,jr,kr->ijk", *FACTORS) + 0.05 * RNG.standard_normal(SHAPE))
SEEN = jnp.asarray(RNG.uniform(size=SHAPE) < 0.7, float)
WEIGHTS = jnp.asarray(RNG.uniform(0.1, 1, SHAPE))

# Entry weights and options.
PROBLEMS = {
    "nonnegative": (None, {"nonnegative": True}),
    "missing, l2": (SEEN, {"l2": 1e-2}),
    "weighted, nonnegative, l2": (WEIGHTS, {"nonnegative": (0, 2), "l2": 1e-2}),
    "shares": (None, {"constraints": {0: simplex()}, "nonnegative": (1, 2)}),
    "ball, weighted": (WEIGHTS, {"constraints": {1: ball(0.8)}, "nonnegative": 0}),
    "sparse": (None, {"constraints": {2: l1(0.3)}}),
}
problems = pytest.mark.parametrize("name", PROBLEMS)


def solver(*, accelerated=True, **options):
    """`cp.ALS`, or the same with plain sweeps."""
    return cp.Solver(replace(cp.ALS().algorithm, accelerated=accelerated), **options)


def fitted(name, x=X, key=KEY, **options):
    w, given = PROBLEMS[name]
    return solver(**given, **options)(Dense(x, w), RANK, key=key, init="uniform")


def objective(name, result):
    """What was minimised, of the model."""
    whole = result.objective.on(Dense(X, PROBLEMS[name][0]))
    return float(whole.value(*whole.balanced(result.cp)))


@problems
def test_fewer_sweeps_to_no_worse_a_model(name):
    ahead, plain = (
        fitted(name, accelerated=accelerated, tol=1e-8, max_iters=3000)
        for accelerated in (True, False)
    )
    assert ahead.converged
    assert plain.converged
    assert 2 * ahead.iterations < plain.iterations
    # Both stop short of the optimum; the one whose sweeps go further is nearer to it.
    assert objective(name, ahead) <= objective(name, plain) * (1 + 1e-6)
    assert_allclose(objective(name, ahead), objective(name, plain), rtol=1e-4)
    a = [np.asarray(a) for a in ahead.cp.factors]
    for n, constraint in PROBLEMS[name][1].get("constraints", {}).items():
        if constraint.kind == "bounded":
            assert_allclose(a[n], constraint.prox(jnp.asarray(a[n]), 1.0), atol=1e-12)
    for n in range(3):
        norms = np.linalg.norm(a[n], axis=0)
        if n in ahead.objective.bearers:
            assert_allclose(norms, 1)
        if ahead.objective.constraints[n] == cp.constraints.nonnegative():
            assert (a[n] >= 0).all()


def test_the_fit_never_falls():
    history = fitted("nonnegative", tol=0, max_iters=150).history
    assert np.diff(history).min() > -1e-12
    assert (np.diff(history[:60]) == 0).any()  # where a sweep was not taken


def test_complex_data_take_fewer_sweeps_too():
    factors = [1 + a for a in cp.random(KEY, SHAPE, 2, dtype=complex).factors]
    x = Dense(cp.CPTensor(jnp.ones(2, complex), tuple(factors)).full(), WEIGHTS)
    options = {"tol": 1e-9, "max_iters": 3000}
    ahead, plain = (solver(accelerated=a, **options)(x, 2, key=KEY) for a in (True, False))
    assert 2 * ahead.iterations < plain.iterations
    assert ahead.relative_error < 1e-4


# A sweep by itself


def test_a_sweep_after_which_the_objective_rose_is_not_taken():
    w, given = PROBLEMS["ball, weighted"]
    tensor, ahead, plain = Dense(X, w), solver(**given), solver(accelerated=False, **given)
    state = ahead.init(tensor, RANK, key=KEY, init="uniform")
    for _ in range(10):
        state = ahead.step(tensor, state)
    far = jax.tree.map(lambda a: -5 * a, state.cp.factors)
    momentum = state.momentum._replace(
        before=cp.CPTensor(state.cp.weights, far), t=jnp.asarray(9.0)
    )
    astray = state._replace(momentum=momentum)
    after = ahead.step(tensor, astray)
    assert int(after.iteration) == int(state.iteration) + 1
    assert float(after.momentum.t) == 1
    same = state._replace(iteration=after.iteration, momentum=after.momentum)
    assert jax.tree.all(jax.tree.map(np.array_equal, after, same))
    # The next one is plain.
    by_itself = plain.step(tensor, after._replace(momentum=None))
    then = ahead.step(tensor, after)
    assert_allclose(then.cp.full(), by_itself.cp.full(), rtol=1e-10)
    assert float(then.momentum.t) > 1


@pytest.mark.parametrize("name", ["weighted, nonnegative, l2", "sparse"])
def test_a_saved_state_goes_on_as_the_fit(name):
    w, given = PROBLEMS[name]
    tensor, seen = Dense(X, w), []
    whole = fitted(name, tol=0, max_iters=24)
    driven = fitted(name, tol=0, max_iters=24, callback=seen.append)
    als = cp.ALS(**given)
    state = als.init(tensor, RANK, key=KEY, init="uniform")
    for _ in range(24):
        leaves, tree = jax.tree.flatten(state)
        state = als.step(tensor, tree.unflatten([jnp.asarray(np.asarray(a)) for a in leaves]))
    for other in (driven.cp, state.cp, seen[-1].cp):
        assert_allclose(other.full(), whole.cp.full(), atol=1e-9)
    assert_allclose([s.fit for s in seen], driven.history, atol=1e-8)


def test_each_lane_of_a_vmap_goes_by_itself():
    xs = jnp.stack([X, X + 0.2 * jax.random.normal(KEY, SHAPE), jnp.roll(X, 2, axis=1)])
    alone = [fitted("nonnegative", x) for x in xs]
    together = jax.vmap(partial(fitted, "nonnegative"))(xs)
    assert together.iterations.tolist() == [int(result.iterations) for result in alone]
    assert len(set(together.iterations.tolist())) > 1
    for k, result in enumerate(alone):
        ours = jax.tree.map(lambda a, k=k: a[k], together.cp)
        assert_allclose(ours.full(), result.cp.full(), atol=1e-8)


# Where there is none


def test_plain_least_squares_is_as_ever():
    runs = [solver(accelerated=accelerated, max_iters=20) for accelerated in (True, False)]
    ours, plain = (run(X, RANK, key=KEY) for run in runs)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, plain))
    assert runs[0].init(X, RANK, key=KEY).momentum is None
    held = solver(fixed_modes=1).init(X, RANK, init=ours.cp)
    assert held.momentum is None


def test_zeros_and_data_that_are_no_numbers_end_as_they_do_in_plain_sweeps():
    result = fitted("nonnegative", jnp.zeros(SHAPE))
    assert np.isfinite(result.cp.full()).all()
    assert result.cp.weights.max() == 0
    lost = jax.jit(partial(fitted, "nonnegative"))(X.at[0, 0, 0].set(jnp.nan))
    assert not lost.converged
