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
STORED = np.argwhere(np.arange(60).reshape(SHAPE) % 3 > 0)[::2]
MODEL = cp.random(jax.random.key(4), SHAPE, 3)
TIGHT = {"tol": 0, "max_iters": 400}


def als(tensor, l2=0.1, init=START, **options):
    return cp.ALS(l2=l2, **TIGHT, **options)(tensor, 2, init=init)


def roughness(weight, factors):
    return weight * jnp.sum(jnp.diff(factors[1], axis=0) ** 2)


def with_frozen(factor):
    init = START._replace(factors=(START.factors[0], factor, START.factors[2]))
    return als(X, init=init, fixed_modes=1)


def after_another_stage(factor):
    """Whose last stage begins from what `gcp` found, with the factor in it."""
    init = START._replace(factors=(START.factors[0], factor, START.factors[2]))
    options = {"loss": cp.losses.huber(0.2), "l2": 0.1, "fixed_modes": 1}
    return cp.fit(X, 2, init=init, tol=0, max_iters=60, **options)


# Functions of leaves, their names and where they are: one program each.
FITS = [
    (lambda x: als(x), {"the array": X}),
    (
        lambda x, w, l2: als(tensors.Dense(x, w), l2),
        {"the array of a Dense": X, "its entry weights": W, "l2": jnp.array(0.1)},
    ),
    (
        lambda v, w: als(
            tensors.Sparse(STORED, v, SHAPE, unstored="missing", entry_weights=w), l2=0.3
        ),
        {
            "the values of a Sparse": X[STORED.T[0], STORED.T[1], STORED.T[2]],
            "their weights": W[:, :, 0].ravel(),
        },
    ),
    (
        lambda w, b: als(cp.CPTensor(w, (b, *MODEL.factors[1:]))),
        {"weights of a model as data": MODEL.weights, "a factor of it": MODEL.factors[0]},
    ),
    (with_frozen, {"a fixed factor": START.factors[1]}),
    (after_another_stage, {"a fixed factor of several stages": START.factors[1]}),
    (
        lambda v: cp.gcp(X, 2, init=START, l2=0.1, penalty=Partial(roughness, v), **TIGHT),
        {"what a penalty binds": jnp.array(0.2)},
    ),
]


@pytest.mark.parametrize(("fitted", "leaves"), FITS, ids=[", ".join(names) for _, names in FITS])
def test_derivatives_are_those_of_central_differences(fitted, leaves):
    def value(*at):
        return jnp.sum(jnp.sin(fitted(*at).cp.full()))

    at, h = list(leaves.values()), 1e-5
    program = jax.jit(jax.value_and_grad(value, tuple(range(len(at)))))
    gradients = program(*at)[1]
    for k, name in enumerate(leaves):
        direction = jax.random.normal(jax.random.key(5), at[k].shape)
        ahead, behind = (
            program(*at[:k], at[k] + s * h * direction, *at[k + 1 :])[0] for s in (1, -1)
        )
        difference = (ahead - behind) / (2 * h)
        assert np.abs(difference) > 1e-4, f"{name} does not matter, which tests nothing"
        assert_allclose(
            jnp.sum(gradients[k] * direction), difference, rtol=1e-4, atol=1e-8, err_msg=name
        )
