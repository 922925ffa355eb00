"""Derivatives through generalised fits (R7), against central differences.

Those of second order, and batches, are in the transforms table.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from readings import along, direction_of, gauge_free, moved

from jkr import cp
from jkr.cp import losses

SHAPE = (4, 5, 6)


@jax.jit
def drawn():
    """In one program: every operation outside of one is compiled by itself."""
    truth = cp.random(jax.random.key(0), SHAPE, 2)
    positive = cp.CPTensor(truth.weights, tuple(map(jnp.abs, truth.factors)))
    noisy = truth.full() + 0.3 * jax.random.normal(jax.random.key(7), SHAPE)
    # Not zero: there the data of a Poisson loss would leave their range.
    counts = 1 + jax.random.poisson(jax.random.key(1), 3 * positive.full()).astype(float)
    noise = jax.random.normal(jax.random.key(3), SHAPE, complex)
    shares = 0.1 + 0.8 * jax.nn.sigmoid(noisy)
    in_the_plane = cp.random(jax.random.key(0), SHAPE, 2, dtype=complex).full() + 0.2 * noise
    weights = jax.random.uniform(jax.random.key(8), SHAPE) + 0.3
    mask = jax.random.bernoulli(jax.random.key(9), 0.75, SHAPE)
    start = cp.random(jax.random.key(1), SHAPE, 2)
    return noisy, counts, shares, in_the_plane, weights, mask, start


NOISY, COUNTS, SHARES, COMPLEX, WEIGHTS, MASK, START = drawn()


def fit(x, loss=losses.gaussian, **options):
    options = {"key": jax.random.key(1), "tol": 0, "max_iters": 300} | options
    return cp.gcp(x, 2, loss=loss, **options)


def smooth(factors):
    return 0.1 * jnp.sum(jnp.diff(factors[2], axis=0) ** 2)


def with_frozen(x, frozen):
    first, _, last = START.factors
    init = START._replace(factors=(first, frozen, last))
    return cp.gcp(x, 2, init=init, fixed_modes=1, tol=0, max_iters=300)


CASES = {
    "penalty": (lambda x: fit(x, penalty=smooth, l2=0.05), NOISY),
    "poisson, data and entry weights": (
        lambda at: fit(at[0], losses.poisson, entry_weights=at[1]),
        (COUNTS, WEIGHTS),
    ),
    "l2": (lambda l2: fit(SHARES, losses.bernoulli_logit, l2=l2), jnp.array(0.05)),
    "huber, missing": (
        lambda x: fit(jnp.where(MASK, x, jnp.nan), losses.huber(0.3), entry_weights=MASK, l2=0.05),
        NOISY,
    ),
    "complex": (fit, COMPLEX),
    "nonnegative": (lambda x: fit(x, nonnegative=True), jnp.abs(NOISY)),
    "the frozen mode": (lambda a: with_frozen(NOISY, a), START.factors[1]),
}
COTANGENT = jnp.array([0.7, -1.2, 0.4])


@pytest.mark.parametrize("case", CASES)
def test_against_central_differences(case):
    fitted, at = CASES[case]
    direction, h = direction_of(at), 1e-5

    @jax.jit
    def everything(at, direction):
        f = lambda z: gauge_free(fitted(z))  # noqa: E731
        value, forward = jax.jvp(f, (at,), (direction,))
        gradient = jax.grad(lambda z: f(z) @ COTANGENT)(at)
        return value, forward, along(gradient, direction)

    values = [everything(moved(at, s * h, direction), direction)[0] for s in (1, -1)]
    _, forward, reverse = everything(at, direction)
    assert_allclose(forward, (values[0] - values[1]) / (2 * h), rtol=1e-4, atol=1e-7)
    assert_allclose(reverse, forward @ COTANGENT, rtol=1e-7)


def roughness(size, factors):
    return size * jnp.sum(jnp.diff(factors[2], axis=0) ** 2)


@pytest.mark.parametrize("case", ["poisson, weighted", "penalty"])
def test_pullback_is_the_gradient_of_every_loss(case):
    w, size = (WEIGHTS, None) if case == "poisson, weighted" else (None, jnp.array(0.1))
    x, loss = (NOISY, losses.gaussian) if w is None else (COUNTS, losses.poisson)

    def energy(model):
        return jnp.sum(jnp.sin(model.full())) + jnp.sum(model.weights**1.5)

    def f(x, w, size, l2):
        penalty = None if size is None else jax.tree_util.Partial(roughness, size)
        result = fit(x, loss, entry_weights=w, penalty=penalty, l2=l2)
        return energy(result.cp), result

    arguments, over = (x, w, size, jnp.array(0.05)), (0, 1 if size is None else 2, 3)
    cotangents, result = jax.jit(jax.grad(f, over, has_aux=True))(*arguments)
    back = cp.pullback(result, x, jax.grad(energy)(result.cp), entry_weights=w)
    assert back.residual < 1e-8
    of_penalty = jax.tree.leaves(back.objective.penalty)
    other = back.entry_weights if size is None else of_penalty[0]
    for ours, gradient in zip((back.tensor, other, back.l2), cotangents, strict=True):
        assert_allclose(ours, gradient, rtol=1e-6, atol=1e-9)


def test_nothing_else_has_derivatives_and_none_is_nan():
    def f(x):
        result = fit(x, losses.poisson, max_iters=20)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(result[:3]))

    gradient = jax.jit(jax.grad(f))
    for x in (jnp.zeros(SHAPE), COUNTS.at[1].set(0)):
        assert np.isfinite(gradient(x)).all()
    change = jax.jvp(lambda x: fit(x, max_iters=20), (NOISY,), (jnp.ones(SHAPE),))[1]
    assert np.all(change.history == 0)
    assert change.fit != 0
