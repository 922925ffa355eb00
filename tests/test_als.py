"""ALS: against TensorLy from the same start, under transforms, on hostile data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorly as tl
from numpy.testing import assert_allclose
from tensorly.datasets import load_kinetic
from tensorly.decomposition import parafac

import jkr
from jkr import cp

KEY = jax.random.key(0)


def recomputed_fit(x, model):
    x = np.asarray(x)
    return 1 - np.linalg.norm(x - np.asarray(model.full())) / np.linalg.norm(x)


def tensorly_fit(x, start, sweeps):
    weights, factors = (jax.tree.map(np.array, part) for part in start)
    init = tl.cp_tensor.CPTensor((weights, list(factors)))
    fitted = parafac(np.asarray(x), start.rank, n_iter_max=sweeps, init=init, tol=0)
    return recomputed_fit(x, jax.tree.map(jnp.asarray, cp.CPTensor(*fitted)))


@pytest.mark.parametrize(
    ("data", "sweeps"), [("serology", 2), ("serology", 30), ("kinetic fluorescence", 7)]
)
def test_same_path_as_tensorly_from_the_same_start(data, sweeps):
    if data == "serology":
        x = jkr.datasets.covid19_serology().tensor
    else:
        x = np.nan_to_num(np.asarray(load_kinetic().tensor, float))
    start = cp.random(KEY, x.shape, 3)
    result = cp.als(x, 3, init=start, tol=0, max_iters=sweeps)
    assert int(result.iterations) == sweeps
    assert_allclose(result.fit, tensorly_fit(x, start, sweeps), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((6, 5), "float32"),
        ((5, 6, 4), "complex64"),
        ((3, 4, 5, 2), "complex128"),
        ((1, 4, 3), "float64"),
    ],
    ids=str,
)
def test_exactly_low_rank_tensors_are_recovered(shape, dtype):
    x = cp.random(jax.random.key(3), shape, 2, dtype=dtype).full()
    result = cp.als(x, 2, key=KEY, tol=1e-9, max_iters=1000)
    single = dtype in ("float32", "complex64")
    assert result.fit > 1 - (2e-3 if single else 1e-5)
    assert_allclose(result.fit, recomputed_fit(x, result.cp), atol=2e-3 if single else 1e-7)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.cp)} == {x.dtype}
    assert result.fit.dtype == x.real.dtype


@pytest.mark.parametrize(
    ("rank", "dtype"), [(1, "float64"), (3, "complex128"), (6, "float32")], ids=str
)
@pytest.mark.parametrize(
    "tensor",
    [np.ones((4, 4, 4)), np.zeros((4, 4, 4)), np.eye(4)[:, :, None] * np.eye(4)[:, None, :]],
    ids=["ones", "zeros", "diagonal"],
)
def test_singular_problems_stay_finite(tensor, rank, dtype):
    result = cp.als(tensor.astype(dtype), rank, key=KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    assert np.all(result.cp.weights.real >= 0)
    for a in result.cp.factors:
        assert_allclose(jnp.linalg.norm(a, axis=0), 1, atol=1e-5)
    if not tensor.any():
        assert (result.relative_error, bool(result.converged)) == (0, True)


def test_fit_never_gets_worse():
    x = jax.random.normal(jax.random.key(5), (5, 6, 7))
    assert np.all(np.diff(cp.als(x, 3, key=KEY, tol=0, max_iters=60).history) > -1e-12)


def test_status_says_how_it_ended():
    x = jax.random.normal(KEY, (5, 6, 7))
    for options, status, word in (
        (
            {"tol": 1e-12},
            0,
            "converged: the fit, the objective or, of nls, the stationarity settled to tol",
        ),
        ({"tol": 1e-5}, 1, "lower tol"),
        ({"tol": 0, "max_iters": 3}, 3, "raise max_iters"),
    ):
        result = cp.als(x, 2, key=KEY, **options)
        assert int(result.status) == status
        assert word in result.message
        assert bool(result.converged) == (status < 3)
    huge = cp.CPTensor(jnp.full(2, jnp.inf), tuple(jnp.ones((n, 2)) for n in x.shape))
    broken = cp.als(x, 2, init=huge)
    assert int(broken.status) == 5
    assert "not finite" in broken.message
    assert int(broken.iterations) == 1


def test_start_is_absorbed_and_its_order_kept():
    truth = cp.random(jax.random.key(2), (4, 5, 6), 2)
    start = cp.CPTensor(jnp.asarray([3.0, 0.5]), truth.factors)
    result = cp.als(start.full(), 2, init=start, max_iters=5)
    assert result.fit > 1 - 1e-7
    expected = start.normalize()
    for a, b in zip(result.cp.factors, expected.factors, strict=True):
        assert_allclose(abs(jnp.sum(a * b, axis=0)), 1, atol=1e-6)
    assert_allclose(result.cp.weights, expected.weights, rtol=1e-5)


def test_start_takes_the_dtype_of_the_tensor():
    x = jnp.ones((2, 3), "float32")
    assert cp.als(x, 1, init=cp.random(KEY, (2, 3), 1)).cp.weights.dtype == "float32"


def test_integers_are_fitted_in_the_default_float():
    assert cp.als(np.ones((2, 3), int), 1, key=KEY).fit.dtype == "float64"


def test_forward_derivatives_are_finite_at_an_exact_fit():
    fit = lambda x: cp.als(x, 2, key=KEY, max_iters=5).fit  # noqa: E731
    assert np.isfinite(jax.jvp(fit, (jnp.ones((2, 3)),), (jnp.ones((2, 3)),))[1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_fitted_in_single(dtype):
    x = cp.random(KEY, (5, 6, 7), 2, dtype="float32").full().astype(dtype)
    result = cp.als(x, 2, key=jax.random.key(4))
    assert result.fit > 0.98
    assert result.fit.dtype == "float32"
    assert {leaf.dtype for leaf in jax.tree.leaves(result.cp)} == {x.dtype}
