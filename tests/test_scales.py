"""Numbers that hold at every scale: public functions of models and data times s give s^k as much.

What is in range comes out in range, though its square may not be. Rows take turns with dtypes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jkr
from jkr import cp, glam, sketch

KEY = jax.random.key(0)
SHAPE = (4, 3, 2)
SCALES = {"float32": (1e-30, 1e30), "float64": (1e-150, 1e150), "complex64": (1e-30, 1e30)}
W = np.random.default_rng(3).uniform(0.5, 2, SHAPE)


def drawn(dtype):
    """A model and noisy data of it."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        x = rng.standard_normal((2, *shape))
        return (x[0] + 1j * x[1] if dtype == "complex64" else x[0]).astype(dtype)

    weights, factors = 1 + np.abs(normal(2)).astype(dtype), [normal(n, 2) for n in SHAPE]
    x = np.einsum("r,ir,jr,kr->ijk", weights, *factors) + 0.1 * normal(*SHAPE)
    return cp.CPTensor(jnp.asarray(weights), tuple(map(jnp.asarray, factors))), x.astype(dtype)


def fitted(m, x, **options):
    return cp.als(x, 2, init=m, max_iters=20, **options)


def pulled(m, x):
    result = fitted(m, x)
    ones = jnp.ones_like(result.cp.weights)
    zeros = tuple(map(jnp.zeros_like, result.cp.factors))
    return cp.pullback(result, x, cp.CPTensor(ones, zeros)).tensor


# A function of a model, data, and the model at scale one; and the power of the scale. The history
# of `cp.gcp` is the objective itself, whose range is narrower: `test_gcp.py`.
ROWS = {
    "norm": (lambda m, x, one: m.norm(), 1),
    "full": (lambda m, x, one: m.full(), 1),
    "inner": (lambda m, x, one: m.inner(one), 1),
    "normalize": (lambda m, x, one: m.normalize().weights, 1),
    "arrange": (lambda m, x, one: m.arrange().weights, 1),
    "mode_dot": (lambda m, x, one: m.mode_dot(one.factors[1].T, 1).full(), 1),
    "take": (lambda m, x, one: m.take([1, 0], 0).full(), 1),
    "sums": (lambda m, x, one: (2 * m - m / 4).full(), 1),
    "congruence": (lambda m, x, one: cp.congruence(m, one), 0),
    "factor_match_score": (lambda m, x, one: cp.factor_match_score(m, one), 0),
    "align": (lambda m, x, one: cp.align(m, one).full(), 1),
    "degeneracy": (lambda m, x, one: cp.degeneracy(m), 0),
    "condition": (lambda m, x, one: cp.condition(m).number, 0),
    "core_consistency": (lambda m, x, one: cp.core_consistency(m, x), 0),
    "core_consistency, weighted": (
        lambda m, x, one: cp.core_consistency(m, x, entry_weights=W.astype(x.real.dtype)),
        0,
    ),
    "standard_errors of weights": (lambda m, x, one: cp.standard_errors(m, x).weights, 1),
    "standard_errors of factors": (lambda m, x, one: cp.standard_errors(m, x).factors, 0),
    "project": (lambda m, x, one: cp.project(m, x, 0), 0),
    "project, nonnegative": (
        lambda m, x, one: cp.project(m, abs(x), 0, nonnegative=True, entry_weights=x != 0),
        0,
    ),
    "standard_errors, weighted": (
        lambda m, x, one: cp.standard_errors(m, x, entry_weights=W.astype(x.real.dtype)).weights,
        1,
    ),
    "als from singular vectors": (
        lambda m, x, one: cp.als(x, 2, init="svd", max_iters=5).cp.weights,
        1,
    ),
    "at": (lambda m, x, one: m.at([[0, 1, 1], [2, 2, 0]]), 1),
    "project on a large factor": (
        lambda m, x, one: cp.project(
            cp.CPTensor(one.weights, (one.factors[0], one.factors[1] * m.norm(), one.factors[2])),
            x,
            0,
        ),
        0,
    ),
    "als": (lambda m, x, one: fitted(m, x)[:2], (1, 0)),
    "als, weighted": (lambda m, x, one: fitted(m, x, entry_weights=W.astype(x.real.dtype)).fit, 0),
    "nls": (lambda m, x, one: cp.nls(x, 2, init=m, max_iters=20)[:2], (1, 0)),
    "fit": (lambda m, x, one: cp.fit(x, 2, init=m, max_iters=20).fit, 0),
    "compress": (lambda m, x, one: tuple(cp.compress(x, 2, key=KEY)), (1, 0, 0)),
    "pullback": (lambda m, x, one: pulled(m, x), 0),
    "rank_scan": (
        lambda m, x, one: cp.rank_scan(x, (1,), key=KEY, restarts=2, max_iters=20)[1:4],
        0,
    ),
}


@pytest.mark.parametrize(
    ("row", "dtype"), [(row, list(SCALES)[k % 3]) for k, row in enumerate(ROWS)]
)
def test_every_scale(row, dtype):
    f, power = ROWS[row]
    one, x = drawn(dtype)
    plain = f(one, x, one)
    powers = power if isinstance(power, tuple) else (power,)
    for scale in SCALES[dtype]:
        scaled = f(one._replace(weights=(scale * one.weights).astype(dtype)), scale * x, one)
        found, expected = (z if isinstance(power, tuple) else (z,) for z in (scaled, plain))
        for k, a, b in zip(powers, found, expected, strict=True):
            a = a.full() if isinstance(a, cp.CPTensor) else a
            b = b.full() if isinstance(b, cp.CPTensor) else b
            for y, z in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
                y = np.asarray(y) / np.asarray(scale**k, y.dtype)
                size = np.abs(z).max()
                assert_allclose(y, z, rtol=0, atol=size * (1e-9 if dtype == "float64" else 1e-3))


@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 1e19), ("float64", 1e154), ("complex64", 1e19)]
)
def test_a_loss_is_in_range_where_the_squares_of_the_data_are_not(dtype, size):
    x = jnp.full((3, 2, 2), size, dtype)
    model = cp.CPTensor(
        jnp.array([0.9], dtype), (jnp.full((3, 1), size, dtype), *[jnp.ones((2, 1), dtype)] * 2)
    )
    with np.errstate(over="ignore"):
        assert not np.isfinite(np.sum(np.abs(np.asarray(x)) ** 2))
    residual = size / 10
    value, gradient = jax.jit(jax.value_and_grad(cp.loss))(model, x)
    assert_allclose(value, 12 * residual**2 / 2, rtol=1e-3)
    assert_allclose(gradient.factors[0], -4 * 0.9 * residual, rtol=1e-4)
    assert_allclose(jax.jit(jax.grad(cp.loss, 1))(model, x), residual, rtol=1e-4)


@pytest.mark.parametrize("size", [1.0, 1e10])
def test_a_loss_of_columns_whose_sizes_make_up_for_each_other(size):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 2)), rng.standard_normal((4, 2))
    x = rng.standard_normal((3, 4)).astype("float32")
    scale = np.array([size, 1 / size])
    factors = [jnp.asarray(z, "float32") for z in (a * scale, b / scale)]
    model = cp.CPTensor(jnp.ones(2, "float32"), tuple(factors))
    value, gradient = jax.jit(jax.value_and_grad(cp.loss))(model, x)
    assert_allclose(value, np.sum((x - a @ b.T) ** 2) / 2, rtol=1e-4)
    of_a = np.asarray(gradient.factors[0]) * scale
    assert_allclose(of_a, (a @ b.T - x) @ b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [1e-29, 1e-28, 1e29])
def test_core_consistency_of_exact_models_in_single_precision(size):
    model = cp.random(KEY, (2, 2, 2), 1, dtype="float32").normalize()
    model = model._replace(weights=jnp.full(1, size, "float32"))
    assert_allclose(cp.core_consistency(model, model.full()), 100, atol=1e-3)


def test_what_is_below_zero_where_it_may_not_be_is_flagged():
    """Known values are refused (`test_errors.py`); traced ones give NaN, not the value at zero."""
    S = sketch.tensor_sketch(KEY, (2, 2), 4)
    features = jax.jit(lambda c: sketch.polynomial_features(jnp.ones(1), S, coef0=c))
    solution = jax.jit(lambda l2: jkr.khatri_rao_lstsq([jnp.ones((2, 1))] * 2, jnp.ones(4), l2=l2))
    shrunk = jax.jit(lambda weight: cp.constraints.l1(weight).prox(jnp.ones((2, 1)), 1.0))
    within = jax.jit(lambda radius: cp.constraints.ball(radius).prox(jnp.ones((2, 1)), 1.0))
    splines = jax.jit(lambda h: glam.bspline_basis(jnp.zeros(1), h * jnp.arange(4.0), 1))
    one, x = drawn("float64")
    judged = jax.jit(lambda w: cp.core_consistency(one, x, entry_weights=w + jnp.asarray(W)))
    errors = jax.jit(lambda w: cp.standard_errors(one, x, entry_weights=w + jnp.asarray(W)).weights)
    for f in (features, solution, shrunk, within, splines, judged, errors):
        assert np.isnan(f(-1.0)).any()
        assert np.isfinite(f(0.0)).all()
