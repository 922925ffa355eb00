"""The least-squares loss: cancellation near an exact fit, missing data, singular models."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jkr import cp

KEY = jax.random.key(0)
SHAPE = (12, 10, 8)


def exact_loss(model, x, w=1.0):
    wide = jax.tree.map(lambda z: np.asarray(z, "float64"), model)
    full = np.einsum("r,ir,jr,kr->ijk", wide[0], *wide[1])
    return float(np.sum(w * (np.asarray(x, "float64") - full) ** 2) / 2)


@pytest.mark.parametrize("residual", [1e-1, 1e-2, 1e-3, 1e-4])
def test_relative_errors_near_an_exact_fit_are_as_documented(residual):
    model = cp.random(KEY, SHAPE, 3, dtype="float32")
    noise = jax.random.normal(jax.random.key(1), SHAPE, "float32")
    x = model.full()
    x = x + residual * jnp.linalg.norm(x.ravel()) / jnp.linalg.norm(noise.ravel()) * noise
    true, eps = exact_loss(model, x), float(np.finfo("float32").eps)
    if residual >= 1e-2:  # below, no digit is promised
        assert abs(float(cp.loss(model, x)) - true) / true <= 10 * eps / residual**2
    entry_by_entry = float(cp.loss(model, x, entry_weights=jnp.ones(SHAPE, "float32")))
    assert_allclose(entry_by_entry, true, rtol=10 * eps / residual)
    wide = jax.tree.map(lambda z: z.astype("float64"), (model, x))
    ours, exact = (
        jax.flatten_util.ravel_pytree(jax.grad(cp.loss)(*z))[0] for z in ((model, x), wide)
    )
    error = float(jnp.linalg.norm(ours.astype("float64") - exact) / jnp.linalg.norm(exact))
    assert error <= 30 * eps / residual


def test_the_value_s_derivative_is_the_same_at_second_hand():
    # Differentiating value_and_grad's value goes through the rule, not through the function.
    model = cp.random(KEY, SHAPE, 3, dtype="float32")
    x, v = model.full(), jax.tree.map(jnp.ones_like, model)
    direct = jax.jvp(lambda m: cp.loss(m, x), (model,), (v,))[1]
    again = jax.jvp(lambda m: jax.value_and_grad(cp.loss)(m, x)[0], (model,), (v,))[1]
    assert_allclose(again, direct, atol=1e-2)
    x = x + 1
    direct = jax.jvp(lambda m: cp.loss(m, x), (model,), (v,))[1]
    again = jax.jvp(lambda m: jax.value_and_grad(cp.loss)(m, x)[0], (model,), (v,))[1]
    assert_allclose(again, direct, rtol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_keep_the_dtype_of_each_argument(weighted):
    model, x = cp.random(KEY, SHAPE, 3, dtype="float32"), jnp.ones(SHAPE, "float32")
    w = jnp.ones(SHAPE, "float32") if weighted else None
    for n in (0, 1):
        gradient = jax.grad(lambda m, x: cp.loss(m, x, entry_weights=w), n)(model, x)
        assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_an_empty_tensor_has_no_loss():
    model = cp.CPTensor(jnp.ones(2), (jnp.ones((0, 2)), jnp.ones((3, 2))))
    for w in (None, np.ones((0, 3))):
        assert cp.loss(model, np.ones((0, 3)), entry_weights=w) == 0


def test_the_loss_is_never_negative():
    model = cp.random(KEY, SHAPE, 3, dtype="float32")
    assert cp.loss(model, model.full()) >= 0


@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_of_any_size_give_the_same(block, monkeypatch, rng):
    from jkr._contractions import _elementwise

    monkeypatch.setattr(_elementwise, "BLOCK", block)
    monkeypatch.setattr(_elementwise, "FEW", block)
    jax.clear_caches()  # programs of other blocks
    model, x = cp.random(KEY, SHAPE, 2), rng.standard_normal(SHAPE)
    w = rng.uniform(size=SHAPE)
    of = jax.jit(jax.value_and_grad(lambda m: cp.loss(m, x, entry_weights=w)))
    value, gradient = of(model)
    assert_allclose(value, exact_loss(model, x, w))

    @jax.jit
    @jax.grad
    def dense(m):
        full = jnp.einsum("r,ir,jr,kr->ijk", m.weights, *m.factors)
        return jnp.sum(w * (x - full) ** 2) / 2

    for g, h in zip(*map(jax.tree.leaves, (gradient, dense(model))), strict=True):
        assert_allclose(g, h, atol=1e-10)


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf])
def test_what_lies_under_a_zero_weight_is_never_read(hidden, rng):
    model, x = cp.random(KEY, SHAPE, 2), rng.standard_normal(SHAPE)
    w = (rng.uniform(size=SHAPE) > 0.4).astype(float)
    broken = np.where(w == 0, hidden, x)
    f = jax.jit(jax.value_and_grad(lambda m, x, w: cp.loss(m, x, entry_weights=w), (0, 1, 2)))
    for z, y in zip(*map(jax.tree.leaves, (f(model, broken, w), f(model, x, w))), strict=True):
        assert_allclose(z, y, atol=1e-12)
    assert_allclose(cp.loss(model, broken, entry_weights=w), exact_loss(model, x, w))
    mask = w.astype(bool)
    assert_allclose(cp.loss(model, broken, entry_weights=mask), exact_loss(model, x, w))


def test_derivatives_are_finite_at_zero_and_repeated_columns():
    x = jax.random.normal(KEY, SHAPE)
    model = cp.random(KEY, SHAPE, 2)
    zero = jax.tree.map(jnp.zeros_like, model)
    same = jax.tree.map(lambda a: jnp.repeat(a[..., :1], 2, axis=-1), model)
    for w in (None, jnp.ones(SHAPE)):
        gradient = jax.grad(lambda m, w=w: cp.loss(m, x, entry_weights=w))
        both = jax.jit(lambda m, v, g=gradient: jax.jvp(g, (m,), (v,)))
        for m in (zero, same):
            leaves = jax.tree.leaves(both(m, jax.tree.map(jnp.ones_like, m)))
            assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_gradient_with_respect_to_the_tensor_is_the_residual(rng):
    model, x = cp.random(KEY, SHAPE, 2), jnp.asarray(rng.standard_normal(SHAPE))
    assert_allclose(jax.grad(cp.loss, 1)(model, x), x - model.full(), atol=1e-12)


def test_a_vector_and_a_matrix_are_tensors_too(rng):
    for shape in ((5,), (5, 4)):
        model, x = cp.random(KEY, shape, 2), rng.standard_normal(shape)
        expected = 0.5 * np.sum((x - np.asarray(model.full())) ** 2)
        assert_allclose(cp.loss(model, x), expected)
        assert_allclose(cp.loss(model, x, entry_weights=np.ones(shape)), expected)
