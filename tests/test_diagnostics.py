"""Core consistency and degeneracy: their definitions, and what they say of known models."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jkr
from jkr import cp

KEY = jax.random.key(0)


def densely(x, model, w=1.0):
    """vec(G) = (W½(A_1 ⊗ … ⊗ A_N))⁺ W½vec(T), the Kronecker product formed."""
    weights, factors = model.normalize()
    share = np.abs(weights) ** (1 / len(factors))
    factors = [np.asarray(a) * share for a in factors]
    factors[0] = factors[0] * (np.asarray(weights) / np.abs(weights))
    root = np.sqrt(np.broadcast_to(w, x.shape)).ravel()
    core = np.linalg.pinv(root[:, None] * reduce(np.kron, factors)) @ (root * np.asarray(x).ravel())
    ideal = np.zeros((model.rank,) * len(factors))
    ideal[(np.arange(model.rank),) * len(factors)] = 1
    return 100 * (1 - np.sum(np.abs(core - ideal.ravel()) ** 2) / model.rank)


@pytest.mark.parametrize(
    ("shape", "rank", "dtype"),
    [((4, 5, 6), 3, "complex128"), ((4, 3), 2, "float64"), ((3, 4, 2, 3), 2, "float64")],
)
def test_core_consistency_is_its_definition(shape, rank, dtype):
    model = cp.random(jax.random.key(1), shape, rank, dtype=dtype)
    x = model.full() + jax.random.normal(jax.random.key(2), shape, dtype)
    assert_allclose(cp.core_consistency(model, x), densely(x, model), rtol=1e-8)


def test_100_at_the_truth_and_low_above_it():
    truth = cp.random(jax.random.key(3), (8, 9, 10), 3)
    x = truth.full()
    assert_allclose(cp.core_consistency(truth, x), 100, atol=1e-8)
    x = x + 0.1 * jnp.std(x) * jax.random.normal(KEY, x.shape)
    found = [cp.als(x, rank, key=KEY, restarts=4).cp for rank in (2, 3, 4, 5)]
    two, three, four, five = (float(cp.core_consistency(model, x)) for model in found)
    assert min(two, three) > 95
    assert max(four, five) < 60


def test_dependent_and_vanished_components():
    weights, factors = cp.random(KEY, (4, 5, 6), 2)
    x = cp.CPTensor(weights, factors).full()
    half = cp.CPTensor(weights.at[1].set(0), factors)
    assert_allclose(cp.core_consistency(half, half.full()), 50, atol=1e-8)
    twice = cp.CPTensor(weights, tuple(jnp.tile(a[:, :1], 2) for a in factors))
    assert np.isfinite(cp.core_consistency(twice, x))
    assert np.isfinite(cp.core_consistency(half, jnp.zeros_like(x)))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_core_is_fitted_to_the_observed_entries_as_they_are_weighed(dtype):
    model = cp.random(jax.random.key(1), (5, 6, 7), 3, dtype=dtype)
    x = model.full() + jax.random.normal(jax.random.key(2), model.shape, dtype)
    consistency = jax.jit(lambda x, w: cp.core_consistency(model, x, entry_weights=w))
    uneven = jax.random.uniform(jax.random.key(9), x.shape)
    for seed, share in enumerate((0.4, 0.7, 0.95)):
        seen = jax.random.bernoulli(jax.random.key(seed), share, x.shape)
        for w in (seen.astype(float), jnp.where(seen, uneven, 0)):
            ours = consistency(jnp.where(seen, x, jnp.nan), w)
            assert_allclose(ours, densely(jnp.where(seen, x, 0), model, np.asarray(w)), rtol=1e-6)
    assert_allclose(cp.core_consistency(model, model.full(), entry_weights=seen), 100, atol=1e-6)


def test_holes_of_every_kind_of_data():
    model = cp.random(jax.random.key(1), (5, 4, 3), 2)
    x = model.full() + jax.random.normal(jax.random.key(2), model.shape)
    seen = np.random.default_rng(0).uniform(size=(2, *x.shape)) < 0.6
    dense = [densely(x, model, 1.0 * w) for w in seen]
    hidden = np.where(seen, x, np.nan)
    # As `rank_scan` asks, in a batch; a tensor with its own weights; a masked array.
    judge = jax.vmap(lambda x, w: cp.core_consistency(model, x, entry_weights=w))
    assert_allclose(judge(hidden, seen), dense, rtol=1e-6)
    for tensor in (
        jkr.tensors.Dense(jnp.asarray(hidden[0]), jnp.asarray(seen[0])),
        np.ma.masked_array(hidden[0], ~seen[0]),
    ):
        assert_allclose(cp.core_consistency(model, tensor), dense[0], rtol=1e-6)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_scale_does_not_count(size):
    model = cp.random(KEY, (4, 5, 6), 2)
    x = model.full() + jax.random.normal(KEY, model.shape)
    scaled = model._replace(weights=size * model.weights)
    assert_allclose(cp.core_consistency(scaled, size * x), cp.core_consistency(model, x))


def test_opposed_components_are_told():
    model = cp.random(KEY, (4, 5, 6), 1)
    (w,), factors = model
    nearly = tuple(a + 0.01 * jnp.roll(a, 1, axis=0) for a in factors)
    pair = cp.CPTensor(
        jnp.array([100, -99.0]), tuple(jnp.hstack(ab) for ab in zip(factors, nearly, strict=True))
    )
    assert -1 <= cp.degeneracy(pair) < -0.99
    assert cp.degeneracy(model) == 1
    assert_allclose(cp.degeneracy(cp.CPTensor(jnp.ones(2), (jnp.eye(2),) * 3)), 0)
    assert cp.degeneracy(cp.CPTensor(jnp.zeros(2), pair.factors)) == 0


def test_a_rank_scan_finds_the_rank_and_is_made_of_fits():
    truth = cp.random(jax.random.key(4), (9, 10, 11), 3)
    x = truth.full()
    x = x + 0.2 * jnp.std(x) * jax.random.normal(jax.random.key(1), x.shape)
    scan = cp.rank_scan(x, (3, 4), key=jax.random.key(5), restarts=6)
    assert scan.suggested == 3
    assert np.all(np.diff(scan.fit, axis=1) <= 0)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(5), 3), 6)
    results = [cp.als(x, 3, key=key) for key in keys]
    assert_allclose(scan.fit[0], sorted((float(r.fit) for r in results), reverse=True), atol=1e-10)
    best = max(results, key=lambda r: float(r.fit))
    assert_allclose(scan.core_consistency[0, 0], cp.core_consistency(best.cp, x), atol=1e-6)
    better = sorted(results, key=lambda r: -float(r.fit))[:3]
    scores = [
        float(cp.factor_match_score(better[i].cp, better[j].cp)) for i in range(3) for j in range(i)
    ]
    assert_allclose(scan.stability[0], np.mean(scores), atol=1e-8)
