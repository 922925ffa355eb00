"""Losses against the distributions that they are minus the log-likelihood of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

from jkr import cp
from jkr.cp import losses

COUNTS = np.arange(6.0)
REALS = np.linspace(0.3, 4, 6)
BITS = np.array([0.0, 1, 0, 1, 1, 0])
MEANS = np.linspace(0.4, 3, 6)


def bernoulli(p, x):
    return -scipy.stats.bernoulli.logpmf(x.astype(int), p)


def named(case):
    return repr(case) if isinstance(case, losses.Loss) else ""


# loss, data, models, and minus the log-likelihood up to terms without the model
LIKELIHOODS = [
    (losses.gaussian, REALS, -MEANS, lambda m, x: -scipy.stats.norm.logpdf(x, m)),
    (losses.poisson, COUNTS, MEANS, lambda m, x: -scipy.stats.poisson.logpmf(x, m)),
    (
        losses.poisson_log,
        COUNTS,
        MEANS - 1,
        lambda m, x: -scipy.stats.poisson.logpmf(x, np.exp(m)),
    ),
    (losses.bernoulli_odds, BITS, MEANS, lambda m, x: bernoulli(m / (1 + m), x)),
    (losses.bernoulli_logit, BITS, MEANS - 2, lambda m, x: bernoulli(1 / (1 + np.exp(-m)), x)),
    (
        losses.negative_binomial(3),
        COUNTS,
        MEANS,
        lambda m, x: -scipy.stats.nbinom.logpmf(x, 3, 1 / (1 + m)),
    ),
    (losses.gamma, REALS, MEANS, lambda m, x: -scipy.stats.expon.logpdf(x, scale=m)),
    (
        losses.rayleigh,
        REALS,
        MEANS,
        lambda m, x: -scipy.stats.rayleigh.logpdf(x, scale=m * np.sqrt(2 / np.pi)),
    ),
    (losses.beta_divergence(1), COUNTS, MEANS, lambda m, x: -scipy.stats.poisson.logpmf(x, m)),
    (losses.beta_divergence(0), REALS, MEANS, lambda m, x: -scipy.stats.expon.logpdf(x, scale=m)),
    (losses.beta_divergence(2), REALS, MEANS, lambda m, x: -scipy.stats.norm.logpdf(x, m)),
]


@pytest.mark.parametrize(("loss", "x", "m", "minus_log"), LIKELIHOODS, ids=named)
def test_losses_are_likelihoods(loss, x, m, minus_log):
    f = np.asarray(loss(jnp.asarray(m)[:, None], jnp.asarray(x)[None, :]))
    g = minus_log(m[:, None], x[None, :])
    assert_allclose(f - f[:1], g - g[:1], atol=1e-8)


@pytest.mark.parametrize(
    ("loss", "mean"),
    [
        (losses.gaussian, lambda m: m),
        (losses.huber(2), lambda m: m),
        (losses.poisson, lambda m: scipy.stats.poisson(m).mean()),
        (losses.poisson_log, lambda m: scipy.stats.poisson(np.exp(m)).mean()),
        (losses.bernoulli_odds, lambda m: scipy.stats.bernoulli(m / (1 + m)).mean()),
        (losses.bernoulli_logit, lambda m: scipy.stats.bernoulli(1 / (1 + np.exp(-m))).mean()),
        (losses.negative_binomial(3), lambda m: scipy.stats.nbinom(3, 1 / (1 + m)).mean()),
        (losses.gamma, lambda m: scipy.stats.expon(scale=m).mean()),
        (losses.rayleigh, lambda m: scipy.stats.rayleigh(scale=m * np.sqrt(2 / np.pi)).mean()),
        (losses.beta_divergence(1.5), lambda m: m),
    ],
    ids=named,
)
def test_expected_data(loss, mean):
    assert_allclose(loss.expected(jnp.asarray(MEANS)), mean(MEANS), rtol=1e-12)


def test_huber_is_gaussian_near_and_linear_far():
    near, far = jnp.array([0.1, -0.2]), jnp.array([5.0, -7.0])
    loss = losses.huber(0.5)
    assert_allclose(loss(near, 0 * near), losses.gaussian(near, 0 * near))
    assert_allclose(loss(far, 0 * far), 0.5 * jnp.abs(far) - 0.125)
    assert_allclose(jax.grad(lambda m: loss(m, 0.0))(0.0), 0)
    assert_allclose(jax.grad(lambda m: loss(m, 0.0))(9.0), 0.5)


def test_beta_divergence_between_its_named_cases_is_that_of_its_formula():
    m, x, b = jnp.asarray(MEANS), jnp.asarray(REALS), 0.5
    assert_allclose(losses.beta_divergence(b)(m, x), m**b / b - x * m ** (b - 1) / (b - 1))


def test_the_same_parameter_gives_the_same_loss():
    assert losses.huber(1) is losses.huber(1.0)
    assert losses.negative_binomial(2) is losses.negative_binomial(2.0)
    assert losses.beta_divergence(0.5) is losses.beta_divergence(0.5)
    assert losses.huber(1) != losses.huber(2)


ALL = [loss for loss, *_ in LIKELIHOODS] + [losses.huber(0.5), losses.beta_divergence(0.5)]


@pytest.mark.parametrize(
    ("loss", "weighted"),
    [pytest.param(loss, bool(k % 2), id=repr(loss)) for k, loss in enumerate(ALL)],
)
def test_loss_of_a_model_and_its_gradient_are_those_of_the_dense_sum(loss, weighted, rng):
    factors = tuple(jnp.asarray(rng.uniform(0.2, 1.5, (n, 2))) for n in (4, 5, 6))
    model = cp.CPTensor(jnp.asarray(rng.uniform(0.5, 1, 2)), factors)
    x = jnp.asarray(rng.integers(0, 2, (4, 5, 6)).astype(float))
    w = jnp.asarray(rng.uniform(size=x.shape)) if weighted else None

    def dense(model, x, w):
        full = jnp.einsum("r,ir,jr,kr->ijk", model.weights, *model.factors)
        return jnp.sum(loss(full, x) if w is None else w * loss(full, x))

    def ours(model, x, w):
        return cp.loss(model, x, loss=loss, entry_weights=w)

    both = [jax.jit(jax.value_and_grad(f, (0, 1, 2)))(model, x, w) for f in (ours, dense)]
    for a, b in zip(*map(jax.tree.leaves, both), strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_at_a_model_of_zeros_values_and_derivatives_are_finite(loss):
    model = cp.CPTensor(jnp.ones(2), (jnp.zeros((3, 2)), jnp.ones((4, 2))))
    of = jax.jit(jax.value_and_grad(lambda m: cp.loss(m, jnp.zeros((3, 4)), loss=loss)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(of(model)))


def test_any_function_is_a_loss():
    model = cp.random(jax.random.key(0), (3, 4), 2)
    x = jnp.ones((3, 4))
    value = cp.loss(model, x, loss=lambda m, x: jnp.log(jnp.cosh(m - x)))
    assert_allclose(value, np.sum(np.log(np.cosh(np.asarray(model.full()) - 1))))
