"""Sketches: unbiased exactly, by all draws there are; scikit-learn's features; structure."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from structure import largest_array

from jkr import sketch
from jkr.operators import KhatriRao, Kronecker
from jkr.sketch import CountSketch, TensorSketch


def all_count_sketches(n, size):
    """Every count sketch there is, each as likely as the other: a batch of them."""
    draws = product(product(range(size), repeat=n), product((1, -1), repeat=n))
    places, signs = (np.array(x) for x in zip(*draws, strict=True))
    return CountSketch(jnp.asarray(places), jnp.asarray(signs), size)


def all_tensor_sketches(n, size, p):
    """Every p-tuple of those."""
    C = all_count_sketches(n, size)
    choice = np.array(list(product(range(len(C.indices)), repeat=p)))
    return TensorSketch(tuple(jax.tree.map(lambda z, k=k: z[choice[:, k]], C) for k in range(p)))


def vectors(n, kind, rng):
    x, y = rng.standard_normal((2, n))
    return (x + 1j * rng.standard_normal(n), y - 1j) if kind == "complex" else (x, y)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_count_sketch_over_all_draws(kind, rng):
    """E (Cx)ᴴ(Cy) = xᴴy, E (Cx)ᵀ(Cy) = xᵀy, and the variance, as exact sums."""
    x, y = vectors(3, kind, rng)
    C = all_count_sketches(3, 2)
    u, v = (np.asarray(jax.vmap(lambda C, z=z: C @ z)(C)) for z in (x, y))
    np.testing.assert_allclose(np.mean(np.sum(u.conj() * v, 1)), x.conj() @ y, atol=1e-12)
    np.testing.assert_allclose(np.mean(np.sum(u * v, 1)), x @ y, atol=1e-12)
    if kind == "real":
        variance = (x @ x * (y @ y) + (x @ y) ** 2 - 2 * np.sum(x**2 * y**2)) / 2
        np.testing.assert_allclose(np.var(np.sum(u * v, 1)), variance)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_tensor_sketch_over_all_draws(kind, rng):
    """E (S x⊗x)ᴴ(S y⊗y) = (xᴴy)², likewise with ᵀ; the variance is at most the published bound."""
    x, y = vectors(2, kind, rng)
    S = all_tensor_sketches(2, 2, 2)
    features = jax.jit(jax.vmap(lambda S, z: sketch.polynomial_features(z, S), (0, None)))
    u, v = (np.asarray(features(S, z)) for z in (x, y))
    conjugated, plain = np.sum(u.conj() * v, 1), np.sum(u * v, 1)
    np.testing.assert_allclose(np.mean(conjugated), (x.conj() @ y) ** 2, atol=1e-12)
    np.testing.assert_allclose(np.mean(plain), (x @ y) ** 2, atol=1e-12)
    if kind == "real":
        assert np.var(plain) <= (2 + 3**2) / 2 * (x @ x) ** 2 * (y @ y) ** 2


def test_mean_and_variance_over_200_keys(rng):
    """Of drawn sketches: the mean within 4 standard errors, the variance below the bound."""
    n, size, p, gamma, c = 12, 128, 3, 0.5, 0.7
    x, y = rng.standard_normal((2, n)) / np.sqrt(n)

    @jax.jit
    @jax.vmap
    def estimate(key):
        S = sketch.tensor_sketch(key, (n + 1,) * p, size)
        features = sketch.polynomial_features(np.stack([x, y]), S, gamma=gamma, coef0=c)
        return features[0] @ features[1]

    estimates = np.asarray(estimate(jax.random.split(jax.random.key(1), 200)))
    norms = (gamma * (x @ x) + c) * (gamma * (y @ y) + c)
    bound = (2 + 3**p) * norms**p / size
    assert abs(np.mean(estimates) - (gamma * (x @ y) + c) ** p) < 4 * np.sqrt(bound / 200)
    assert np.var(estimates) < bound


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(("degree", "coef0"), [(1, 0), (2, 0), (3, 2.0)])
def test_scikit_learn_from_the_same_hashes(size, degree, coef0, rng):
    kernels = pytest.importorskip("sklearn.kernel_approximation", reason="in the extra `test`")
    x = rng.standard_normal((2, 3, 5))
    theirs = kernels.PolynomialCountSketch(
        gamma=0.3, degree=degree, coef0=coef0, n_components=size, random_state=0
    ).fit(x.reshape(6, 5))
    hashes = zip(theirs.indexHash_, theirs.bitHash_, strict=True)
    S = TensorSketch(tuple(CountSketch(jnp.asarray(h), jnp.asarray(s), size) for h, s in hashes))
    ours = sketch.polynomial_features(x, S, gamma=0.3, coef0=coef0 or None)
    assert ours.shape == (2, 3, size)
    np.testing.assert_allclose(ours.reshape(6, size), theirs.transform(x.reshape(6, 5)), atol=1e-12)


@pytest.mark.parametrize("size", [1, 6, 7])
def test_I23_the_spectrum_of_a_tensor_sketch_is_a_face_splitting_product(size):
    S = sketch.tensor_sketch(jax.random.key(2), (3, 2, 4), size)
    spectra = [np.fft.fft(C.to_dense(), axis=0) for C in S.sketches]
    left = np.fft.fft(S.to_dense(), axis=0)
    np.testing.assert_allclose(left, oracles.face_splitting(*spectra), atol=1e-12)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_products_of_three_matrices(kind, rng):
    S = sketch.tensor_sketch(jax.random.key(3), (3, 2, 4), 7)
    ms = [rng.standard_normal((n, 2)) for n in S.dims]
    ms = [m + 1j * rng.standard_normal(m.shape) for m in ms] if kind == "complex" else ms
    dense = np.asarray(S.to_dense())
    np.testing.assert_allclose(S @ KhatriRao(*ms), dense @ oracles.khatri_rao(*ms), atol=1e-12)
    np.testing.assert_allclose(S @ Kronecker(*ms), dense @ oracles.kronecker(*ms), atol=1e-12)
    ints = KhatriRao(*(np.ones((n, 1), int) for n in S.dims))
    np.testing.assert_allclose(S @ ints, dense @ np.ones((24, 1)), atol=1e-12)


def test_the_derivative_of_a_count_sketch_is_a_look_up(rng):
    C = sketch.count_sketch(jax.random.key(4), 6, 4)
    y = rng.standard_normal(4)
    (pulled,) = jax.vjp(lambda x: C @ x, np.zeros(6))[1](y)
    np.testing.assert_array_equal(pulled, np.asarray(C.signs) * y[C.indices])
    assert (C @ np.array([True] * 6)).dtype == int


def test_no_product_is_formed():
    """Sketches of 10⁹ rows, and of 10⁶ features: nothing but the parts' own sizes."""
    S = sketch.tensor_sketch(jax.random.key(5), (1000, 1000, 1000), 32)
    K = KhatriRao(*(jnp.ones((1000, 3)) for _ in range(3)))
    product = lambda S, K: jnp.sum((S @ K) ** 2)  # noqa: E731
    assert largest_array(product, S, K) <= 3000
    assert largest_array(jax.grad(product, 1), S, K) <= 3000
    features = lambda x: jnp.sum(sketch.polynomial_features(x, S) ** 3)  # noqa: E731
    assert largest_array(jax.grad(features), jnp.ones((4, 1000))) <= 4000


def test_a_sketch_goes_through_transforms_and_loops():
    keys = jax.random.split(jax.random.key(6), 3)
    many = jax.vmap(lambda key: sketch.tensor_sketch(key, (4, 4), 8))(keys)
    one = sketch.tensor_sketch(keys[1], (4, 4), 8)
    x = jnp.arange(4.0)
    features = jax.vmap(lambda S: sketch.polynomial_features(x, S))(many)
    again = jax.jit(lambda S: sketch.polynomial_features(x, S))(one)
    np.testing.assert_allclose(features[1], again, atol=1e-12)
    assert one.shape == (8, 16)
    assert jax.tree.structure(one) != jax.tree.structure(sketch.tensor_sketch(keys[1], (4, 4), 9))


def test_gradients_are_finite_without_a_constant_term():
    S = sketch.tensor_sketch(jax.random.key(7), (4, 4), 8)
    x = jnp.arange(3.0)
    value = lambda gamma, c: jnp.sum(  # noqa: E731
        sketch.polynomial_features(x, S, gamma=gamma, coef0=c) ** 2
    )
    assert np.isfinite(jax.grad(value, (0, 1))(0.0, 0.0)).all()
