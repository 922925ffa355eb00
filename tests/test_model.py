"""CPTensor: a pytree with a shape, a rank, a dense form and normal forms."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.optimize
from numpy.testing import assert_allclose

from jkr import cp


def draw(shape, rank, dtype="float64", seed=0):
    model = cp.random(jax.random.key(seed), shape, rank, dtype=dtype)
    return cp.CPTensor(-jnp.arange(1, rank + 1).astype(dtype), model.factors)


def test_unpacks_and_is_a_pytree():
    model = draw((2, 3, 4), 2)
    weights, factors = model
    assert weights.shape == (2,)
    assert len(jax.tree.leaves(model)) == 4
    assert (model.shape, model.rank) == ((2, 3, 4), 2)
    assert isinstance(jax.tree.map(lambda x: x, model), cp.CPTensor)
    assert cp.CPTensor([1.0], [np.ones((2, 1)), np.ones((3, 1))]).shape == (2, 3)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_full_norm_and_inner(dtype):
    a, b = draw((2, 3, 4), 2, dtype), draw((2, 3, 4), 3, dtype, seed=1)
    x, y = (oracles.full(np.asarray(m.weights), [np.asarray(f) for f in m.factors]) for m in (a, b))
    assert_allclose(a.full(), x, atol=1e-13)
    assert_allclose(a.norm(), np.linalg.norm(x))
    assert_allclose(a.inner(b), np.vdot(x, y))
    assert a.norm().dtype == "float64"


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("form", ["normalize", "arrange"])
def test_normal_forms_keep_the_tensor(form, dtype):
    model = draw((4, 3, 5), 3, dtype)
    other = getattr(model, form)()
    assert_allclose(other.full(), model.full(), atol=1e-12)
    for a in other.factors:
        assert_allclose(jnp.linalg.norm(a, axis=0), np.ones(3))


def test_arrange_sorts_and_fixes_signs():
    weights, factors = draw((4, 3, 5), 3, "complex128").arrange()
    assert np.all(np.diff(weights.real) < 0)
    assert_allclose(weights.imag, 0)
    assert np.all(weights.real > 0)
    for a in factors[1:]:
        largest = np.take_along_axis(np.asarray(a), abs(np.asarray(a)).argmax(0)[None], 0)
        assert np.all(largest.real > 0)
        assert_allclose(largest.imag, 0, atol=1e-15)


def test_zero_columns_stay_finite_with_their_gradients():
    zero = cp.CPTensor(jnp.ones(2), (jnp.zeros((2, 2)), jnp.ones((3, 2))))
    for form in (cp.CPTensor.normalize, cp.CPTensor.arrange):
        assert_allclose(form(zero).weights, 0)
        gradient = jax.grad(lambda m, form=form: form(m).full().sum())(zero)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.isfinite(jax.grad(lambda m: m.norm())(zero).weights).all()


def test_random_is_reproducible_and_typed():
    a, b = (cp.random(jax.random.key(7), (3, 4), 2) for _ in range(2))
    assert_allclose(a.factors[1], b.factors[1], rtol=0)
    assert a.factors[0].dtype == "float64"
    assert cp.random(jax.random.key(7), (3, 4), 2, dtype="bfloat16").weights.dtype == "bfloat16"
    big = cp.random(jax.random.key(0), (20000,), 1, dtype="complex128").factors[0]
    assert_allclose(np.var(big.real), 0.5, rtol=0.05)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e25])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_extreme_scales_are_kept(scale, dtype):
    unit = cp.random(jax.random.key(1), (2, 3), 2, dtype=dtype)
    model = cp.CPTensor(unit.weights, (scale * unit.factors[0], unit.factors[1]))
    assert_allclose(model.norm(), scale * unit.norm(), rtol=1e-5)
    for form in (cp.CPTensor.normalize, cp.CPTensor.arrange):
        assert_allclose(form(model).full() / scale, unit.full(), atol=1e-5)
        assert_allclose(form(model).weights, scale * form(unit).weights, rtol=1e-5)


def test_weights_and_factors_of_different_dtypes():
    factors = cp.random(jax.random.key(1), (2, 3), 2, dtype="complex128").factors
    with jax.numpy_dtype_promotion("standard"):
        mixed = cp.CPTensor(jnp.ones(2, int), factors)
        plain = cp.CPTensor(jnp.ones(2, complex), factors)
        real = cp.CPTensor(jnp.ones(2), tuple(a.real for a in factors))
        assert_allclose(mixed.inner(plain), plain.inner(plain))
        assert_allclose(mixed.normalize().full(), plain.full(), atol=1e-12)
        assert_allclose(real.inner(plain), np.vdot(real.full(), plain.full()))
        assert_allclose(plain.inner(real), np.vdot(plain.full(), real.full()))


def test_an_empty_mode_has_normal_forms_too():
    model = cp.CPTensor(jnp.ones(1), (jnp.ones((2, 1)), jnp.ones((0, 1))))
    assert model.arrange().full().shape == (2, 0)
    assert model.norm() == 0


def test_half_precision_norms_do_not_overflow_on_the_way():
    model = cp.CPTensor(
        jnp.ones(1, "float16"), (jnp.full((300, 1), 20, "float16"), jnp.full((1, 1), 2, "float16"))
    )
    assert_allclose(model.norm().astype("float32"), np.sqrt(300) * 40, rtol=2e-3)
    assert cp.loss(model, model.full()) == 0


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_algebra_is_that_of_tensors(dtype):
    a, b = draw((2, 3, 4), 2, dtype), draw((2, 3, 4), 3, dtype, seed=1)
    x, y = np.asarray(a.full()), np.asarray(b.full())
    for ours, theirs in [
        (a + b, x + y),
        (a - b, x - y),
        (-a, -x),
        (3 * a, 3 * x),
        (np.float64(3) * a, 3 * x),
        (a * jnp.asarray(3.0), 3 * x),
        (a / 4, x / 4),
        (a / np.float64(4), x / 4),
        (sum([a, b, a]), 2 * x + y),
        (a - tuple(b), x - y),
        (tuple(a) - b, x - y),
        (0 - a, -x),
        (jnp.asarray(3.0) * a, 3 * x),
        (a.take([0]) + a.take(1), x),
        (b.take(np.array([True, False, True])) + b.take(slice(1, 2)), y),
        (a.take([True, False, True], 1), x[:, ::2]),
        (jax.jit(lambda m, i: m.take(i, 1))(a, 2), x[:, 2]),
    ]:
        assert isinstance(ours, cp.CPTensor)
        assert ours.weights.dtype == dtype
        assert_allclose(ours.full(), theirs, atol=1e-12)
    assert a[0] is a.weights
    assert a.take(1).rank == 1


def test_weights_that_are_not_given_are_ones():
    model = cp.CPTensor(None, draw((2, 3), 2, "float32").factors)
    assert model.rank == 2
    assert model.full().dtype == "float32"
    assert_allclose(model.full(), model.factors[0] @ model.factors[1].T, rtol=1e-6)
    assert_allclose(cp.loss(model, model.full()), 0, atol=1e-5)


def test_scores_of_new_samples():
    a, others = draw((3, 4, 5), 2), (0, 2)
    model = cp.CPTensor(jnp.array([-2.0, 0.0]), a.factors)  # a weight of either kind
    scores = jnp.asarray(np.random.default_rng(0).uniform(0.5, 2, (6, 2)))
    x = model._replace(factors=(a.factors[0], scores, a.factors[2])).full()
    for nonnegative in (False, True):
        found = cp.project(model, x, 1, nonnegative=nonnegative)
        assert_allclose(found[:, 0], scores[:, 0], rtol=1e-8)
        assert_allclose(found[:, 1], 0)
    K = np.asarray(oracles.khatri_rao(*(np.asarray(a.factors[n]) for n in others)))
    y = np.random.default_rng(1).standard_normal((3, 6, 5))
    found = cp.project(cp.CPTensor(None, a.factors), y, 1, nonnegative=True)
    expected = [scipy.optimize.nnls(K, row)[0] for row in oracles.unfold(y, 1)]
    assert_allclose(found, expected, atol=1e-6)
    seen = np.random.default_rng(2).uniform(size=y.shape) > 0.3
    seen[:, 2] = False
    found = cp.project(
        cp.CPTensor(None, a.factors), np.where(seen, y, np.nan), 1, entry_weights=seen
    )
    rows = zip(oracles.unfold(y, 1), oracles.unfold(seen, 1), strict=True)
    expected = [np.linalg.lstsq(K[s], row[s])[0] if s.any() else np.zeros(2) for row, s in rows]
    assert_allclose(found, expected, atol=1e-8)
