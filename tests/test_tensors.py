"""Tensors of every kind: what they answer, against dumb definitions, and fits of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from numpy.testing import assert_allclose

import jkr
from jkr import cp, glam
from jkr._contractions import _elementwise
from jkr.tensors import Dense, Tensor
from jkr.tensors._as_tensor import as_tensor

KEY = jax.random.key(0)
SHAPE = (4, 5, 6)
KINDS = ["array", "weighted", "model"]
BAD_ENTRIES, BAD_WEIGHTS = 1, 2


def normal(rng, shape, dtype):
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if dtype == "complex128" else x


def made(kind, dtype, rng, shape=SHAPE):
    """A tensor, and in NumPy what it stands for: zeros where nothing is observed, and weights."""
    if kind == "model":
        factors = [normal(rng, (n, 2), dtype) for n in shape]
        weights = normal(rng, 2, dtype)
        model = cp.CPTensor(jnp.asarray(weights), tuple(map(jnp.asarray, factors)))
        return as_tensor("test", model), oracles.full(weights, factors), np.ones(shape)
    x, w = normal(rng, shape, dtype), np.ones(shape)
    if kind == "array":
        return as_tensor("test", Dense(x)), x, w
    w = rng.uniform(size=shape) * (rng.uniform(size=shape) > 0.3)
    w[1] = 0  # a whole slice
    holes = np.where(w == 0, np.nan, x)
    return as_tensor("test", Dense(holes, w)), np.where(w == 0, 0, x), w


def everywhere(f):
    f = pytest.mark.parametrize("kind", KINDS)(f)
    return pytest.mark.parametrize("dtype", ["float64", "complex128"])(f)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("array", "complex128"),
        ("weighted", "complex128"),
        ("weighted, large", "float64"),
        ("model", "complex128"),
    ],
)
def test_passes_give_the_normal_equations_of_every_mode(case, dtype, monkeypatch, rng):
    if "large" in case:  # pairs of columns a few at a time
        monkeypatch.setattr(_elementwise, "BLOCK", 8)
        monkeypatch.setattr(_elementwise, "FEW", 8)
    tensor, x, w = made(case.split(",")[0], dtype, rng)
    factors = [normal(rng, (n, 3), dtype) for n in SHAPE]

    @jax.jit
    def equations(tensor, factors):
        """MTTKRP and Gram of each mode."""
        conjugate, grams = [a.conj() for a in factors], [a.conj().T @ a for a in factors]
        found = {}
        for part in tensor.passes("highest"):
            read = part.contract(conjugate)
            for n in part.modes:
                assert n not in found
                found[n] = part.mttkrp(read, conjugate, n), part.gram(read, factors, grams, n)
        return found

    found = equations(tensor, [jnp.asarray(a) for a in factors])
    assert sorted(found) == [0, 1, 2]
    for n, (y, G) in found.items():
        K = oracles.khatri_rao(*(a for m, a in enumerate(factors) if m != n))
        assert_allclose(y, oracles.unfold(w * x, n) @ K.conj(), atol=1e-11)
        expected = [K.conj().T @ (row[:, None] * K) for row in oracles.unfold(w, n)]
        assert G.ndim == (2 if tensor.uniform else 3)
        assert_allclose(jnp.broadcast_to(G, (SHAPE[n], 3, 3)), expected, atol=1e-11)
    again = equations(tensor.prepared(), [jnp.asarray(a) for a in factors])
    for a, b in zip(*map(jax.tree.leaves, (found, again)), strict=True):
        assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "block", "dtype"),
    [
        ("array", 1, "complex128"),
        ("array", 64, "float64"),
        ("weighted", 7, "complex128"),
        ("weighted", 1 << 20, "float64"),
        ("model", 7, "float64"),
        ("model", 1 << 20, "complex128"),
    ],
)
def test_entries_are_visited_in_blocks_of_any_size(kind, block, dtype, monkeypatch, rng):
    monkeypatch.setattr(_elementwise, "BLOCK", block)
    monkeypatch.setattr(_elementwise, "FEW", block)
    tensor, x, w = made(kind, dtype, rng)
    weights, factors = normal(rng, 2, dtype), [normal(rng, (n, 2), dtype) for n in SHAPE]
    columns = [normal(rng, (n, 3), dtype) for n in SHAPE]
    model = jnp.asarray(weights), [jnp.asarray(a) for a in factors]

    def f(m, t):
        """Of NumPy and of JAX."""
        return (m * m.conj()).real + (m * t).real * 2, m * m - t * t.conj() * m

    @jax.jit
    def visited(tensor, model, columns):
        alone = tensor.entrywise(lambda m, t: (f(m, t)[0], None), model)
        return tensor.entrywise(f, model, columns), alone

    value, entry = f(oracles.full(weights, factors), x)
    (total, ys), (alone, none) = visited(tensor, model, [jnp.asarray(c) for c in columns])
    assert_allclose(total, np.sum(w * value), rtol=1e-10)
    for n, y in enumerate(ys):
        assert_allclose(y, oracles.mttkrp(w * entry, columns, n), atol=1e-8)
    assert_allclose(alone, total, rtol=1e-10)
    assert none == ()


@everywhere
def test_scale_norm_rows_and_observations(kind, dtype, rng):
    tensor, x, w = made(kind, dtype, rng)
    norm = np.sqrt(np.sum(w * np.abs(x) ** 2))
    unit, relative, weight, status = tensor.scale()
    assert status == 0
    assert_allclose(weight, w.max())
    assert_allclose(unit * relative * weight**0.5, norm)
    assert_allclose(tensor.squared_norm(), norm**2)
    assert_allclose(tensor.observations(), np.count_nonzero(w))
    for n, rows in enumerate(tensor.rows()):
        assert np.array_equal(rows, oracles.unfold(w, n).any(axis=1))
    if kind != "model" and dtype == "float64":
        assert_allclose(unit, np.abs(x).max())
    assert (tensor.shape, tensor.ndim, tensor.dtype) == (SHAPE, 3, dtype)
    half = tensor.astype("complex64" if dtype == "complex128" else "float32")
    assert half.dtype == (jnp.complex64 if dtype == "complex128" else jnp.float32)
    assert_allclose(half.squared_norm(), norm**2, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_scale_tells_what_cannot_be_fitted(kind, rng):
    tensor, x, _ = made(kind, "float64", rng)
    low, high = x.min() - 1e-6, x.max() + 1e-6
    middle = (low + high) / 2
    ranges = [(low, np.inf), (-np.inf, high), (low, high)]
    assert all(tensor.scale(*limits).status == 0 for limits in ranges)
    for limits in ((middle, np.inf), (-np.inf, middle)):
        assert tensor.scale(*limits).status == BAD_ENTRIES
    for bad in (np.nan, np.inf):
        broken = jax.tree.map(
            lambda a, bad=bad: a.at[(-1,) * a.ndim].set(bad), tensor.astype("float64")
        )
        expected = BAD_WEIGHTS if kind == "weighted" else BAD_ENTRIES
        assert broken.scale().status == expected
    if kind == "weighted":
        holes, w = tensor.array, tensor.entry_weights
        for weights in (-w, jnp.nan * w, 0 * w):
            assert Dense(holes, weights).scale().status == BAD_WEIGHTS
        assert Dense(holes, jnp.ones(SHAPE)).scale().status == BAD_ENTRIES
        above = Dense(1 + jnp.abs(jnp.where(w == 0, jnp.nan, x)), w)  # what is seen, is in range
        assert above.scale(1, np.inf).status == 0


@everywhere
def test_projections_are_products_with_every_mode(kind, dtype, rng):
    tensor, x, w = made(kind, dtype, rng)
    matrices = [normal(rng, (n, k), dtype) for n, k in zip(SHAPE, (2, 3, 1), strict=True)]
    given, conj = [jnp.asarray(u) for u in matrices], [u.conj() for u in matrices]
    expected = np.einsum("ijk,ia,jb,kc->abc", w * x, *conj)
    assert_allclose(tensor.project(given), expected, atol=1e-11)
    for n, others in enumerate(("ijk,jb,kc->ibc", "ijk,ia,kc->jac", "ijk,ia,jb->kab")):
        part = np.einsum(others, w * x, *(u for m, u in enumerate(conj) if m != n))
        unfolded = part.reshape(SHAPE[n], -1)
        assert_allclose(tensor.project_others(given, n), unfolded, atol=1e-11)
        assert_allclose(Tensor.project_others(tensor, given, n), unfolded, atol=1e-11)
    if kind == "weighted":
        core = normal(rng, (2, 3, 1), dtype)
        expanded = np.einsum("abc,ia,jb,kc->ijk", core, *matrices)
        expected = np.einsum("ijk,ia,jb,kc->abc", w * expanded, *conj)
        assert_allclose(tensor.project_back(jnp.asarray(core), given), expected, atol=1e-11)


@everywhere
def test_leading_vectors_span_what_those_of_the_svd_span(kind, dtype, rng):
    shape = SHAPE if dtype == "float64" else (3, 40, 2)
    tensor, x, _ = made(kind, dtype, rng, shape)
    for n in range(3):
        ours = np.asarray(tensor.leading(n, 2))
        U = np.linalg.svd(oracles.unfold(x, n), full_matrices=False)[0][:, :2]
        assert_allclose(ours.conj().T @ ours, np.eye(2), atol=1e-8)
        assert_allclose(ours @ ours.conj().T, U @ U.conj().T, atol=1e-8)


@pytest.mark.parametrize("kind", ["array", "weighted"])
def test_cross_grams_sum_over_all_modes_but_two(kind, rng):
    tensor, _, w = made(kind, "complex128", rng)
    A, B, C = factors = [normal(rng, (n, 3), "complex128") for n in SHAPE]
    given = [jnp.asarray(a) for a in factors]
    both = np.einsum("ijk,kr,ks->ijrs", w, C.conj(), C)
    for n, m, expected in (
        (0, 1, both),
        (1, 0, both.transpose(1, 0, 2, 3)),
        (2, 2, np.einsum("ijk,ir,jr,is,js->krs", w, A.conj(), B.conj(), A, B)),
    ):
        G = jnp.broadcast_to(tensor.cross_gram(given, n, m), expected.shape)
        assert_allclose(G, expected, atol=1e-11)


# Where an array is taken, a tensor is


def test_a_model_is_taken_wherever_its_array_is():
    dtype = "complex128"
    data = cp.random(jax.random.key(1), SHAPE, 4, dtype=dtype)
    x, model = data.full(), cp.random(jax.random.key(2), SHAPE, 2, dtype=dtype)
    for n in range(3):
        expected = jkr.mttkrp(x, model.factors, n)
        assert_allclose(jkr.mttkrp(data, model.factors, n), expected, atol=1e-11)
        assert_allclose(jkr.mttkrps(data, model.factors)[n], expected, atol=1e-11)
    assert_allclose(cp.loss(model, data), cp.loss(model, x))
    assert_allclose(cp.core_consistency(model, data), cp.core_consistency(model, x))
    errors = (cp.standard_errors(model, t) for t in (data, x))
    for a, b in zip(*map(jax.tree.leaves, errors), strict=True):
        assert_allclose(a, b)
    data, model = jax.tree.map(jnp.real, (data, model))
    huber = cp.losses.huber(0.5)
    assert_allclose(cp.loss(model, data, loss=huber), cp.loss(model, data.full(), loss=huber))


def test_weights_that_go_with_an_array_are_those_beside_it(rng):
    tensor, x, w = made("weighted", "float64", rng)
    model = cp.random(KEY, SHAPE, 2)
    for f in (cp.loss, cp.core_consistency, cp.standard_errors):
        beside, within = f(model, x, entry_weights=w), f(model, tensor)
        for a, b in zip(*map(jax.tree.leaves, (beside, within)), strict=True):
            assert_allclose(a, b)
    for n in range(3):
        expected = oracles.mttkrp(w * x, [np.asarray(a) for a in model.factors], n)
        assert_allclose(jkr.mttkrp(tensor, model.factors, n), expected, atol=1e-11)


def test_derivatives_with_respect_to_a_model_as_data_are_those_through_its_array():
    data, model = (cp.random(jax.random.key(k), SHAPE, 2) for k in (1, 2))
    for loss in (cp.losses.gaussian, cp.losses.huber(0.5)):
        of = lambda model, x, loss=loss: cp.loss(model, x, loss=loss)  # noqa: E731
        ours = jax.jit(jax.grad(of, (0, 1)))(model, data)
        dense = jax.jit(jax.grad(lambda m, d, of=of: of(m, d.full()), (0, 1)))(model, data)
        for a, b in zip(*map(jax.tree.leaves, (ours, dense)), strict=True):
            assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize(
    ("fit", "options", "dtype"),
    [
        (cp.als, {}, "complex128"),
        (cp.als, {"nonnegative": [0, 2], "l2": 0.1}, "float64"),
        (cp.gcp, {"loss": cp.losses.poisson}, "float64"),
    ],
    ids=["als", "nonnegative, l2", "poisson"],
)
def test_the_fit_of_a_model_is_that_of_its_array(fit, options, dtype):
    data, start = (cp.random(jax.random.key(k), SHAPE, r, dtype=dtype) for k, r in ((1, 4), (2, 2)))
    if options:
        data, start = jax.tree.map(jnp.abs, (data, start))
    results = [fit(x, 2, init=start, tol=0, max_iters=5, **options) for x in (data, data.full())]
    for part in ("fit", "history", "stationarity", "status"):
        assert_allclose(*(getattr(result, part) for result in results), rtol=1e-7, atol=1e-7)
    assert_allclose(*(result.cp.full() for result in results), atol=1e-8)


def test_models_larger_than_any_array_are_fitted():
    data = cp.random(KEY, (10**4,) * 4, 3, dtype=float)
    result = cp.fit(data, 2, key=KEY)
    assert int(result.status) <= 1

    def inner(one, other):
        pairs = zip(one.factors, other.factors, strict=True)
        crossed = np.prod([np.asarray(a).T @ np.asarray(b) for a, b in pairs], axis=0)
        return np.asarray(one.weights) @ crossed @ np.asarray(other.weights)

    whole, found = inner(data, data), result.cp
    squared = (whole - 2 * inner(found, data) + inner(found, found)) / whole
    assert_allclose(result.relative_error, np.sqrt(squared), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_models_that_are_nearly_the_data_are_told_from_them(dtype):
    data, off = (cp.random(jax.random.key(k), (20, 30, 7), 2, dtype=dtype) for k in (1, 2))
    near = jax.tree.map(lambda a, b: a + 1e-12 * b, data, off)
    small, (weights, factors) = as_tensor("test", data).beside(near)
    assert [len(a) for a in factors] == [4, 4, 4]
    difference = (
        cp.CPTensor(small.weights, small.factors).full() - cp.CPTensor(weights, factors).full()
    )
    expected = np.linalg.norm(near.full() - data.full())
    assert_allclose(np.linalg.norm(difference), expected, rtol=1e-3)


def test_a_rank_scan_of_a_model_is_that_of_its_array():
    data = cp.random(jax.random.key(1), SHAPE, 4)
    options = {"key": KEY, "restarts": 2, "tol": 0, "max_iters": 10}
    one, other = (cp.rank_scan(x, (2,), **options) for x in (data, data.full()))
    assert_allclose(one.fit, other.fit, atol=1e-8)
    assert_allclose(one.core_consistency, other.core_consistency, atol=1e-4)


SMOOTH = [[np.eye(n)[:, :2] + 0.1 for n in (4, 5, 6)], [np.eye(2)] * 3, np.ones(3)]
OTHER = cp.random(jax.random.key(2), (4, 5, 6), 2)
MASKED = [
    partial(cp.core_consistency, OTHER),
    partial(cp.standard_errors, OTHER),
    partial(cp.project, OTHER, mode=1),
    lambda x, **w: glam.smooth(x, *SMOOTH, **w),
    lambda x, **w: glam.cross_product(SMOOTH[0], x, **w),
]


def test_masked_arrays_are_tensors_with_missing_entries():
    x = np.asarray(cp.random(KEY, (4, 5, 6), 2).full())
    hidden = np.random.default_rng(0).uniform(size=x.shape) < 0.2
    masked, plain = np.ma.masked_array(np.where(hidden, np.nan, x), hidden), np.where(hidden, 7, x)
    model = cp.random(jax.random.key(1), x.shape, 2)
    seen = ~hidden
    assert_allclose(cp.loss(model, masked), cp.loss(model, plain, entry_weights=seen))
    fit = partial(cp.als, rank=2, init=model, max_iters=3)
    assert_allclose(fit(masked).fit, fit(plain, entry_weights=seen).fit)
    by_row = np.arange(4.0).reshape(4, 1, 1)
    assert_allclose(
        cp.loss(model, masked, entry_weights=by_row),
        cp.loss(model, plain, entry_weights=by_row * seen),
    )
    for f in MASKED:
        for a, b in zip(
            *map(jax.tree.leaves, (f(masked), f(plain, entry_weights=seen))), strict=True
        ):
            assert_allclose(a, b, rtol=1e-9)
    nothing_hidden = np.ma.masked_array(x, np.zeros_like(hidden))
    assert_allclose(cp.loss(model, nothing_hidden), cp.loss(model, x))
