"""The semi-definite solve: residuals on ill-conditioned Grams, minimum norm on singular ones."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jkr._linalg._psd import psd_solve

solve = jax.jit(psd_solve)


def gram(rng, values, dtype):
    R = len(values)
    A = rng.standard_normal((R, R))
    if dtype.startswith("complex"):
        A = A + 1j * rng.standard_normal((R, R))
    Q = np.linalg.qr(A)[0]
    G = (Q * values) @ Q.conj().T
    return ((G + G.conj().T) / 2).astype(dtype)


@pytest.mark.parametrize(
    ("R", "dtype", "condition"),
    [
        (1, "float64", 1e12),
        (2, "complex64", 1e5),
        (5, "float64", 1),
        (5, "complex128", 1e12),
        (32, "float32", 1e5),
        (32, "float64", 1e12),
        (100, "float64", 1e12),
        (100, "complex64", 1e5),
    ],
)
def test_residual_is_at_rounding(R, dtype, condition, rng):
    one_small = np.r_[np.ones(R - 1), 1 / condition]
    for values, consistent in product((np.geomspace(1, 1 / condition, R), one_small), (0, 1)):
        G, b = gram(rng, values, dtype), rng.standard_normal((R, 3)).astype(dtype)
        b = G @ b if consistent else b
        x = np.asarray(solve(G, b)).astype("complex128")
        residual = np.linalg.norm(G.astype("complex128") @ x - b)
        bound = 10 * R * np.finfo(dtype).eps * np.linalg.norm(G, 2) * np.linalg.norm(x)
        assert residual <= bound


@pytest.mark.parametrize(
    ("R", "rank", "dtype"),
    [
        (1, 0, "float64"),
        (3, 1, "complex128"),
        (10, 4, "float32"),
        (32, 20, "float64"),
        (60, 3, "complex128"),
    ],
)
def test_minimum_norm_on_singular_grams(R, rank, dtype, rng):
    K = (rng.standard_normal((200, rank)) @ rng.standard_normal((rank, R))).astype(dtype)
    G, b = K.conj().T @ K, K.conj().T @ rng.standard_normal((200, 2)).astype(dtype)
    single = dtype == "float32"
    expected = np.linalg.lstsq(G, b, rcond=1e-4 if single else 1e-9)[0]
    assert_allclose(
        solve(G, b), expected, atol=(1e-2 if single else 1e-9) * (1 + abs(expected).max())
    )


def test_inconsistent_right_hand_sides_get_the_pseudo_inverse(rng):
    K = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 6))
    G, b = K.T @ K, rng.standard_normal(6)
    assert_allclose(solve(G, b), np.linalg.pinv(G, rcond=1e-9) @ b, atol=1e-9)


def test_columns_of_very_different_scale_are_not_dependent(rng):
    scales = np.geomspace(1e-9, 1e9, 6)
    K = rng.standard_normal((50, 6)) * scales
    x = rng.standard_normal(6) / scales
    assert_allclose(solve(K.T @ K, K.T @ (K @ x)) * scales, x * scales, rtol=1e-7)


def test_repeated_columns_share_the_answer_and_have_finite_derivatives(rng):
    a = rng.standard_normal((10, 1))
    K = np.hstack([a, a, a])
    G, b = jnp.asarray(K.T @ K), jnp.asarray(K.T @ a[:, 0])
    assert_allclose(solve(G, b), np.full(3, 1 / 3), atol=1e-12)
    f = lambda G, b: jnp.sum(jnp.sin(psd_solve(G, b)))  # noqa: E731
    gradients = jax.jit(jax.grad(f, (0, 1)))(G, b)
    hessian = jax.jit(jax.hessian(f, 1))(G, b)
    assert all(np.isfinite(z).all() for z in (*gradients, hessian))


@pytest.mark.parametrize("shape", [(4, 2), (12, 30), (50,)])  # few right-hand sides, many, one
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_derivative_equals_that_of_a_dense_solve(shape, dtype, rng):

    def draw(*s):
        x = rng.standard_normal(s)
        return x + 1j * rng.standard_normal(s) if dtype == "complex128" else x

    R = shape[0]
    G, b = gram(rng, np.linspace(1, 2, R), dtype), draw(*shape)
    tangents = (draw(R, R), draw(*shape))
    ours = jax.jit(lambda *a: jax.jvp(psd_solve, *a))((G, b), tangents)
    dense = jax.jit(lambda *a: jax.jvp(jnp.linalg.solve, *a))((G, b), tangents)
    back = [
        jax.jit(lambda G, b, f=f: jax.vjp(f, G, b)[1](2 * b)) for f in (psd_solve, jnp.linalg.solve)
    ]
    for z, y in zip((*ours, *back[0](G, b)), (*dense, *back[1](G, b)), strict=True):
        assert_allclose(z, y, atol=1e-11)
    both = jax.jit(jax.vmap(psd_solve, (None, 0)))(G, jnp.stack([b, 2 * b]))
    assert_allclose(both[1], 2 * ours[0], atol=1e-12)


def test_small_numbers(rng):
    G, b = gram(rng, np.linspace(1e-4, 1, 20), "float32"), np.full((20, 30), 1e-5, "float32")
    x = solve(np.float32(1e-30) * G, b)
    assert_allclose(1e-30 * G.astype(float) @ np.asarray(x, float), b, rtol=1e-3)
    assert np.isfinite(solve(np.float32(1e-37) * G, b)).all()  # few digits are left


def test_vmap_mixes_regular_and_singular(rng):
    K = rng.standard_normal((3, 8, 4))
    K[1, :, 3] = K[1, :, 2]
    G, b = K.mT @ K, (K.mT @ rng.standard_normal((3, 8, 1)))[..., 0]
    batch = jax.jit(jax.vmap(psd_solve))(G, b)
    for k in range(3):
        assert_allclose(batch[k], np.linalg.lstsq(K[k].T @ K[k], b[k], rcond=1e-10)[0], atol=1e-9)
