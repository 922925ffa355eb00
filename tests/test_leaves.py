"""Derivatives of a fit in every leaf that its solution depends on (R7): none is silently zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from numpy.testing import assert_allclose

from jkr import cp, tensors

SHAPE = (4, 5, 3)
START = cp.random(jax.random.key(1), SHAPE, 2)
X = cp.random(jax.random.key(0), SHAPE, 2).full()
X = X + 0.3 * jax.random.normal(jax.random.key(2), SHAPE)
W = 0.5 + jax.random.uniform(jax.random.key(3), SHAPE)
MODEL = cp.random(jax.random.key(4), SHAPE, 3)
TIGHT = {"tol": 0, "max_iters": 400}


def als(tensor, l2=0.1, init=START, **options):
    return cp.ALS(l2=l2, **TIGHT, **options)(tensor, 2, init=init)


def roughness(weight, factors):
    return weight * jnp.sum(jnp.diff(factors[1], axis=0) ** 2)


def with_frozen(factor):
    init = START._replace(factors=(START.factors[0], factor, START.factors[2]))
    return als(X, init=init, fixed_modes=1)


LEAVES = {
    "the array": (als, X),
    "the array of a Dense": (lambda x: als(tensors.Dense(x, W)), X),
    "its entry weights": (lambda w: als(tensors.Dense(X, w)), W),
    "weights of a model as data": (lambda w: als(MODEL._replace(weights=w)), MODEL.weights),
    "a factor of a model as data": (
        lambda b: als(MODEL._replace(factors=(b, *MODEL.factors[1:]))),
        MODEL.factors[0],
    ),
    "l2": (lambda l2: als(X, l2), jnp.array(0.1)),
    "a fixed factor": (with_frozen, START.factors[1]),
    "what a penalty binds": (
        lambda v: cp.gcp(X, 2, init=START, l2=0.1, penalty=Partial(roughness, v), **TIGHT),
        jnp.array(0.2),
    ),
}


@pytest.mark.parametrize("leaf", LEAVES)
def test_the_derivative_is_that_of_central_differences(leaf):
    fitted, at = LEAVES[leaf]
    direction, h = jax.random.normal(jax.random.key(5), at.shape, at.dtype), 1e-5

    @jax.jit
    def value_and_derivative(at):
        f = lambda z: jnp.sum(jnp.sin(fitted(z).cp.full()))  # noqa: E731
        value, gradient = jax.value_and_grad(f)(at)
        return value, jnp.sum(gradient * direction)

    ahead, behind = (value_and_derivative(at + s * h * direction)[0] for s in (1, -1))
    difference = (ahead - behind) / (2 * h)
    assert np.abs(difference) > 1e-4, "a leaf that does not matter tests nothing"
    assert_allclose(value_and_derivative(at)[1], difference, rtol=1e-4, atol=1e-8)
