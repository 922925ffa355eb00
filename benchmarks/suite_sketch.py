"""Polynomial features by tensor sketch against scikit-learn's of equal size: accuracy and speed."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import compiled, ms, race, times
from jkr import sketch

TITLE = "Tensor sketch against scikit-learn's PolynomialCountSketch (float32; 200 draws)"
HEADER = (
    "features of",
    *("jkr ms", "scikit-learn ms", "scikit-learn / jkr", "gradient ms"),
    *("jkr bias ± s.e.", "scikit-learn bias ± s.e."),
    *("jkr variance", "scikit-learn variance", "bound"),
)
KEYS = 200

# rows, features, degree, size
PROBLEMS = [
    (1, 50, 2, 256),
    (1000, 50, 2, 256),
    (1000, 50, 4, 1024),
    (10000, 100, 3, 512),
    (2000, 1000, 2, 2048),
]


def _features(x, S):
    return sketch.polynomial_features(x, S, coef0=1.0)


def _gradient(x, S):
    return jax.grad(lambda x: jnp.sum(_features(x, S) ** 3))(x)


def _theirs(degree, size, seed):
    kernels = importlib.import_module("sklearn.kernel_approximation")
    return kernels.PolynomialCountSketch(
        gamma=1.0, degree=degree, coef0=1.0, n_components=size, random_state=seed
    )


def _accuracy(n, degree, size, there):
    """Of estimates of (xᵀy + 1)^p, its size 1: mean error and its standard error, variance."""
    x = np.array(jax.random.normal(jax.random.key(1), (2, n)))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[1] = 0.6 * x[0] + 0.8 * x[1]
    truth = (x[0] @ x[1] + 1) ** degree

    @jax.jit
    @jax.vmap
    def estimate(key):
        S = sketch.tensor_sketch(key, (n + 1,) * degree, size)
        u, v = sketch.polynomial_features(x, S, coef0=1.0)
        return u @ v

    ours = np.asarray(estimate(jax.random.split(jax.random.key(2), KEYS)))
    theirs = []
    for seed in range(KEYS if there else 0):
        u, v = _theirs(degree, size, seed).fit_transform(x)
        theirs.append(u @ v)
    norms = np.prod(np.sum(x * x, axis=1) + 1) ** degree / truth**2
    estimates = [np.asarray(e) / truth for e in (ours, theirs)]
    biases = [
        f"{np.mean(e) - 1:+.4f} ± {np.std(e) / np.sqrt(len(e)):.4f}" if len(e) else "–"
        for e in estimates
    ]
    variances = [f"{np.var(e):.3g}" if len(e) else "–" for e in estimates]
    return *biases, *variances, f"{(2 + 3**degree) * norms / size:.3g}"


def rows(compare, repeats):
    """One row a problem."""
    there = "sklearn" in compare
    for rows, n, degree, size in PROBLEMS:
        x = jax.random.normal(jax.random.key(0), (rows, n), jnp.float32) / n**0.5
        S = sketch.tensor_sketch(jax.random.key(3), (n + 1,) * degree, size)
        contestants = {"jkr": compiled(_features, x, S), "gradient": compiled(_gradient, x, S)}
        if there:
            host = np.asarray(x)
            contestants["scikit-learn"] = partial(
                _theirs(degree, size, 0).fit(host).transform, host
            )
        t = race(contestants, repeats)
        yield (
            f"{rows}×{n}, degree {degree}, size {size}",
            ms(t["jkr"]),
            ms(t.get("scikit-learn")),
            times(t["scikit-learn"] / t["jkr"]) if there else "–",
            ms(t["gradient"]),
            *_accuracy(n, degree, size, there),
        )
