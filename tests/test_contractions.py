"""Grams, products and least squares: hard cases that the transforms table does not draw."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from structure import equations, size_of

import jkr
from jkr._contractions import _slices, _split
from jkr._contractions._passes import groups
from jkr._contractions._split import best_split, long_middle, split_cost

SHAPES = [(5,), (3, 4), (4, 3, 5), (2, 3, 4, 2), (2, 3, 1, 2, 3), (2, 2, 1, 3, 2, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orders_one_to_seven(shape, rng):
    ms = [rng.standard_normal((n, 3)) + 1j * rng.standard_normal((n, 3)) for n in shape]
    K = oracles.khatri_rao(*ms)
    x, y = rng.standard_normal((3, 2)) + 0j, rng.standard_normal((len(K), 2)) + 0j
    assert_allclose(jkr.khatri_rao_gram(*ms), K.conj().T @ K, atol=1e-11)
    assert_allclose(jkr.khatri_rao_matmul(ms, x), K @ x, atol=1e-11)
    assert_allclose(jkr.khatri_rao_rmatmul(ms, y), K.conj().T @ y, atol=1e-11)
    assert_allclose(jkr.face_splitting_matmul([m.T for m in ms], y), K.T @ y, atol=1e-11)
    x_expected = np.linalg.lstsq(K, y, rcond=1e-8)[0]
    assert_allclose(jkr.khatri_rao_lstsq(ms, y), x_expected, atol=1e-7)


def test_gram_broadcasts_batches(rng):
    a, b = rng.standard_normal((2, 1, 4, 3)), rng.standard_normal((5, 6, 3))
    grams = jkr.khatri_rao_gram(a, b)
    assert grams.shape == (2, 5, 3, 3)
    K = oracles.khatri_rao(a[1, 0], b[2])
    assert_allclose(grams[1, 2], K.T @ K)


@pytest.mark.parametrize("mode", [0, 1, 2, -1])
def test_weighted_gram_row_by_row(mode, rng):
    factors = [rng.standard_normal((n, 3)) + 1j * rng.standard_normal((n, 3)) for n in (4, 5, 2)]
    w = rng.uniform(size=(4, 5, 2)) > 0.3
    n = mode % 3
    K = oracles.khatri_rao(*(a for m, a in enumerate(factors) if m != n))
    rows = oracles.unfold(w, n)
    expected = np.stack([K.conj().T @ (row[:, None] * K) for row in rows])
    assert_allclose(jkr.weighted_gram(w, factors, mode), expected, atol=1e-12)


def test_least_squares_is_of_minimum_norm_and_ridge_is_in_its_units(rng):
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    a[:, 2], b[:, 2] = a[:, 0], b[:, 0]
    K, y = oracles.khatri_rao(a, b), rng.standard_normal(20)
    assert_allclose(jkr.khatri_rao_lstsq([a, b], y), np.linalg.pinv(K, rcond=1e-7) @ y, atol=1e-9)
    ridge = np.linalg.solve(K.T @ K + 0.7 * np.eye(3), K.T @ y)
    assert_allclose(jkr.khatri_rao_lstsq([a, b], y, l2=0.7), ridge, atol=1e-10)
    assert jkr.khatri_rao_lstsq([np.ones((2, 1), int)], np.array([2, 4])) == 3.0


@pytest.mark.parametrize("case", ["zero factor", "repeated columns", "zero data"])
def test_gradients_are_finite_where_grams_are_singular(case, rng):
    a, b, y = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), rng.standard_normal(20)
    if case == "zero factor":
        a = 0 * a
    if case == "repeated columns":
        a[:, 1:], b[:, 1:] = a[:, :1], b[:, :1]
    if case == "zero data":
        y = 0 * y
    f = lambda a, b, y: jnp.sum(jkr.khatri_rao_lstsq([a, b], y) ** 2)  # noqa: E731
    for g in (
        jax.grad(f, (0, 1, 2)),
        jax.grad(lambda *z: jnp.sum(jax.grad(f)(*z) ** 2), (0, 1, 2)),
    ):
        assert all(np.isfinite(z).all() for z in jax.jit(g)(a, b, y))
    gradient = jax.grad(lambda a: jnp.sum(jkr.khatri_rao_gram(a, b) ** 2))(a)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_accumulated_in_single(dtype):
    n = 5000  # beyond what either can count to by ones
    ones = jnp.ones((n, 1), dtype)
    column = ones / 64
    assert float(jkr.khatri_rao_gram(column)[0, 0]) == pytest.approx(n / 64**2, rel=4e-3)
    y = jkr.mttkrp(jnp.ones((2, n), dtype), [jnp.ones((2, 1), dtype), column], 0)
    assert_allclose(y.astype("float32"), n / 64, rtol=4e-3)
    assert y.dtype == dtype
    assert jkr.khatri_rao_lstsq([column], ones[:, 0]).dtype == dtype


def test_precision_reaches_the_product_with_the_tensor():
    x, factors = jnp.ones((3, 4, 5)), [jnp.ones((n, 2)) for n in (3, 4, 5)]
    highest = jax.lax.Precision.HIGHEST
    calls = [
        lambda precision: jkr.mttkrp(x, factors, 1, precision=precision),
        lambda precision: jkr.mttkrps(x, factors, precision=precision),
        lambda precision: jkr.weighted_gram(x, factors, 1, precision=precision),
        lambda precision: jkr.khatri_rao_matmul(factors, jnp.ones(2), precision=precision),
        lambda precision: jkr.khatri_rao_rmatmul(factors, jnp.ones(60), precision=precision),
        lambda precision: jkr.khatri_rao_lstsq(factors, jnp.ones(60), precision=precision),
        lambda precision: jkr.face_splitting_matmul(
            [a.T for a in factors], jnp.ones(60), precision=precision
        ),
        lambda precision: jkr.cp.loss(
            jkr.cp.CPTensor(jnp.ones(2), factors), x, precision=precision
        ),
    ]
    for call in calls:
        eqns = equations(jax.make_jaxpr(lambda call=call: call(highest))().jaxpr)
        dots = [e for e in eqns if e.primitive.name == "dot_general"]
        assert dots
        assert all(dot.params["precision"] == (highest, highest) for dot in dots)


def test_the_split_weighs_both_stages():
    # Balanced where it can be; a long mode stays alone in its group; cubes keep the left group
    # short, for its second stage is the dearer one.
    assert best_split((80, 80, 80, 80)) == 2
    assert best_split((20000, 40, 40)) == 1
    assert best_split((40, 40, 20000)) == 2
    assert best_split((400, 400, 400)) == 1
    assert best_split((7, 9)) == 1
    costs = [split_cost((3, 4, 5, 6, 7), s) for s in range(1, 5)]
    assert best_split((3, 4, 5, 6, 7)) == 1 + int(np.argmin(costs))


@pytest.mark.parametrize("shape", [(3, 2000, 4), (2, 2, 3000, 3), (2, 2, 3000, 2, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float16"])
def test_a_long_middle_mode_goes_slice_by_slice(shape, dtype, rng):
    assert long_middle(shape) is not None
    real = np.float32 if dtype == "float16" else dtype
    draw = [rng.uniform(0.5, 1, s).astype(real) for s in (shape, *[(n, 2) for n in shape])]
    x, *factors = [(a + 0.3j * a[::-1]).astype(dtype) if a.dtype.kind == "c" else a for a in draw]
    arguments = [jnp.asarray(a, dtype) for a in (x, *factors)]
    tolerance = 2e-2 if dtype == "float16" else 1e-12
    largest = max(1.0, float(x.size) / min(shape) if dtype == "float16" else 1.0)
    arguments[0] = arguments[0] / jnp.asarray(largest, dtype)
    ys = jkr.mttkrps(arguments[0], arguments[1:])
    assert not any(
        eqn.primitive.name == "dot_general" and size_of(eqn.invars[1]) >= x.size
        for eqn in equations(jax.make_jaxpr(jkr.mttkrps)(arguments[0], arguments[1:]).jaxpr)
    )
    for n in range(len(shape)):
        K = oracles.khatri_rao(*(a for m, a in enumerate(factors) if m != n))
        expected = oracles.unfold(x / largest, n) @ K
        assert_allclose(ys[n], expected, rtol=tolerance)
        assert_allclose(jkr.mttkrp(arguments[0], arguments[1:], n), expected, rtol=tolerance)
        assert ys[n].dtype == dtype


def test_slice_by_slice_differentiates_and_batches(monkeypatch, rng):
    monkeypatch.setattr(_split, "_TURN", 0)
    shape = (2, 7, 2)
    assert long_middle(shape) == 1
    arguments = [jnp.asarray(rng.standard_normal(s)) for s in (shape, *[(n, 2) for n in shape])]
    f = jax.jit(lambda x, *factors: [jnp.sin(jkr.mttkrp(x, factors, n)) for n in range(3)])
    check_grads(f, arguments, order=2, modes=("fwd", "rev"))
    batch = [jnp.stack([a, 2 * a, a**2]) for a in arguments]
    for axes in [(0, None, None, None), (None, 0, None, 0), (0, 0, 0, 0)]:
        lanes = [a if k is None else b for k, a, b in zip(axes, arguments, batch, strict=True)]
        ours = jax.jit(jax.vmap(f, axes))(*lanes)
        for i in range(3):
            one = [a if k is None else a[i] for k, a in zip(axes, lanes, strict=True)]
            for y, expected in zip(ours, f(*one), strict=True):
                assert_allclose(y[i], expected, atol=1e-12)
    gradients = jax.jit(jax.jacrev(lambda *z: jnp.stack([jnp.sum(y) for y in f(*z)]), 1))
    assert_allclose(jax.jit(jax.vmap(gradients))(*batch)[1], gradients(*[b[1] for b in batch]))


def test_only_a_long_middle_mode_goes_slice_by_slice():
    assert long_middle((40, 20000, 40)) == 1
    for shape in [(200, 200, 200), (20000, 40, 40), (40, 40, 20000), (64, 12, 10, 60), (9, 9)]:
        assert long_middle(shape) is None
    sliced = (_slices.outer, _slices.inner)
    for sharded in (False, True):
        found = groups((40, 20000, 40), sharded=sharded)
        assert all((g.contract.func in sliced) != sharded for g in found)


def test_stacks_of_matrices_are_refused_by_contractions():
    with pytest.raises(ValueError, match="mttkrp: factors need to be a sequence of matrices"):
        jkr.mttkrp(np.ones((2, 2)), np.ones((2, 2, 1)), 0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(30, 40, 50), (6, 8, 9, 40), (700, 80)], ids=str)
def test_halves_are_multiplied_as_they_are(shape, dtype, rng):
    """Of more than a few entries, which go through XLA's products."""
    arrays = [jnp.asarray(rng.standard_normal(s), dtype) for s in (shape, *[(n, 4) for n in shape])]
    x, *factors = arrays
    dense = [np.asarray(a.astype(float)) for a in arrays]
    found = jax.jit(jkr.mttkrps)(x, factors)
    for n, y in enumerate(found):
        others = [a for m, a in enumerate(dense[1:]) if m != n]
        expected = oracles.unfold(dense[0], n) @ oracles.khatri_rao(*others)
        assert y.dtype == dtype
        # The Khatri–Rao product is rounded, and so is the sum.
        assert_allclose(y.astype(float), expected, atol=0.02 * abs(expected).max())
