"""Condition and standard errors: what they say against what happens."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jkr import cp

KEY = jax.random.key(0)
SHAPE, SIGMA = (6, 3, 9), 0.02
MASK = jax.random.bernoulli(jax.random.key(7), 0.8, SHAPE)
WEIGHTS = jnp.where(MASK, jax.random.uniform(jax.random.key(8), SHAPE) + 0.2, 0)


@jax.jit
@partial(jax.vmap, in_axes=(None, None, 0))
def simulated(truth, w, key):
    """A model fitted to the truth with noise, by its components, and its standard errors."""
    noise = SIGMA * jax.random.normal(key, SHAPE, truth.weights.dtype)
    if w is not None:
        noise = noise / jnp.sqrt(jnp.where(w == 0, 1, w)).astype(noise.dtype)
    x = truth.full() + noise
    result = cp.als(x, 2, init=truth, entry_weights=w, tol=1e-11)
    return cp.align(result.cp, truth), cp.standard_errors(result, x, entry_weights=w)


@pytest.mark.parametrize("w", [None, MASK, WEIGHTS], ids=["all", "missing", "weighted"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_standard_errors_cover_the_truth(w, dtype):
    truth = cp.random(KEY, SHAPE, 2, dtype=dtype).arrange()
    # One program for all weights; bool ones are read as such in the tests below.
    keys = jax.random.split(jax.random.key(5), 200)
    found, errors = simulated(truth, None if w is None else w.astype(float), keys)
    truth, found, errors = jax.tree.map(np.asarray, (truth, found, errors))
    turn = [np.einsum("kir,ir->kr", a.conj(), t) for a, t in zip(found[1], truth[1], strict=True)]
    turned = (a * (z / np.abs(z))[:, None] for a, z in zip(found[1], turn, strict=True))
    found = cp.CPTensor(found.weights, tuple(turned))
    off = jax.tree.map(lambda a, t: np.abs(a - t), found, truth)
    squares = jax.tree.map(lambda d, e: np.mean((d / e) ** 2), off, errors)
    assert_allclose(jax.tree.leaves(squares), 1, atol=0.2)
    # Of |complex numbers| the nominal rate of 1.96 root mean squares is 1 − exp(−1.96²) at most.
    inside = jax.tree.map(lambda d, e: np.mean(d < 1.96 * e), off, errors)
    nominal = 0.95 if dtype == "float64" else 0.975
    assert_allclose(inside.factors, nominal, atol=0.02)
    assert_allclose(inside.weights, 0.95, atol=0.03)


@pytest.mark.parametrize("shape", [(5, 3, 4), (2,) * 7 + (3,)], ids=str)
@pytest.mark.parametrize("size", [1e-8, 3.0, 1e8])
def test_equal_weights_are_no_weights(shape, size):
    x = cp.random(KEY, shape, 2).full() + 0.1 * jax.random.normal(KEY, shape)
    result = cp.als(x, 2, key=KEY)
    plain, same = (
        cp.standard_errors(result, x, entry_weights=w) for w in (None, jnp.full(x.shape, size))
    )
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(same), strict=True):
        assert_allclose(a, b, rtol=1e-8)


@pytest.mark.parametrize("size", [1e-18, 1e18])
def test_standard_errors_are_in_the_units_of_the_data(size):
    x = cp.random(KEY, SHAPE, 2).full() + 0.1 * jax.random.normal(KEY, SHAPE)
    x = x.astype("float32")
    result = cp.als(x, 2, key=KEY)
    plain = cp.standard_errors(result, x)
    larger = result.cp._replace(weights=(size * result.cp.weights).astype(x.dtype))
    scaled = cp.standard_errors(
        larger, (size * x).astype(x.dtype), entry_weights=jnp.ones(SHAPE, bool)
    )
    assert_allclose(scaled.weights / size, plain.weights, rtol=1e-3)
    for a, b in zip(scaled.factors, plain.factors, strict=True):
        assert_allclose(a, b, rtol=1e-3)


def test_what_is_not_observed_is_not_read():
    x = cp.random(KEY, SHAPE, 2).full() + 0.1 * jax.random.normal(KEY, SHAPE)
    result = cp.als(x, 2, key=KEY, entry_weights=MASK)
    plain, missing = (
        cp.standard_errors(result, y, entry_weights=MASK) for y in (x, jnp.where(MASK, x, jnp.nan))
    )
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(missing), strict=True):
        assert_allclose(a, b, rtol=1e-12)


def test_condition_is_how_far_components_move():
    # To first order, over all small changes of the tensor within reach.
    model = cp.random(jax.random.key(3), (4, 3, 5), 2)
    x = model.full()

    def components(x):
        weights, factors = cp.als(x, 2, init=model, tol=0, max_iters=400).cp
        one = lambda r: cp.CPTensor(weights[r : r + 1], tuple(a[:, r : r + 1] for a in factors))  # noqa: E731
        return jnp.stack([one(r).full() for r in range(2)])

    jacobian = jax.jit(jax.jacrev(components))(x).reshape(-1, x.size)
    assert_allclose(
        cp.condition(model).number, np.linalg.svd(jacobian, compute_uv=False)[0], rtol=1e-6
    )


def test_condition_tells_what_the_observed_entries_do_not_determine():
    model = cp.random(KEY, (8, 8, 8), 2)
    blocks = np.zeros(model.shape, bool)
    blocks[:4, :4, :4] = blocks[4:, 4:, 4:] = True
    # Two models that meet nowhere: the scales of one against the other are free.
    assert cp.condition(model, entry_weights=blocks).number == jnp.inf
    assert cp.condition(model).number < 10
    of_weights = jax.jit(lambda w: cp.condition(model, entry_weights=w))
    seen = np.random.default_rng(0).uniform(size=model.shape) < 0.5
    found = of_weights(seen.astype(float))
    assert cp.condition(model).number < found.number < 100
    assert_allclose(found.number, found.spectrum[-1] ** -0.5)
    seen[3] = False
    assert of_weights(seen.astype(float)).number == jnp.inf


def test_a_result_stands_for_its_model():
    x = cp.random(KEY, (5, 3, 4), 2).full() + 0.1 * jax.random.normal(KEY, (5, 3, 4))
    result = cp.als(x, 2, key=KEY)
    for a, b in zip(cp.condition(result), cp.condition(result.cp), strict=True):
        assert_allclose(a, b)


@pytest.mark.parametrize("case", ["parallel", "vanished", "matrix"])
def test_what_is_not_unique_is_infinitely_conditioned(case):
    weights, factors = cp.random(KEY, (5, 3, 4), 2)
    if case == "parallel":
        factors = tuple(jnp.tile(a[:, :1], 2) for a in factors)
    if case == "vanished":
        factors = (factors[0].at[:, 1].set(0), *factors[1:])
    if case == "matrix":
        factors = factors[:2]
    model = cp.CPTensor(weights, factors)
    assert cp.condition(model).number == jnp.inf
    x = model.full() + 0.1 * jax.random.normal(KEY, model.shape)
    errors = cp.standard_errors(model, x)
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(errors))
    huge = max(float(leaf.max(where=jnp.isfinite(leaf), initial=0)) for leaf in errors.factors)
    assert huge > 1e3 or case == "vanished"
    assert np.isinf(errors.factors[0][:, 1]).all() == (case == "vanished")


def test_no_more_observations_than_parameters():
    model = cp.random(KEY, (2, 2, 2), 3)
    for leaf in jax.tree.leaves(cp.standard_errors(model, jnp.ones((2, 2, 2)))):
        assert np.isinf(leaf).all()
    short = cp.standard_errors(cp.random(KEY, (1, 2, 2), 3), jnp.ones((1, 2, 2)))
    for leaf in jax.tree.leaves(short):
        assert np.isinf(leaf).all()


def test_low_precision_is_computed_in_single():
    model = cp.random(KEY, (5, 3, 4), 2, dtype="bfloat16")
    assert cp.condition(model).number.dtype == jnp.float32
    x = jnp.ones(model.shape, "bfloat16")
    assert cp.standard_errors(model, x).weights.dtype == jnp.float32
