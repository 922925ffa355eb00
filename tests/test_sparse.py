"""Sparse tensors: the same answers as a dense array of the same data, and what they refuse."""

import re

import jax
import jax.experimental.sparse
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from numpy.testing import assert_allclose

import jkr
from jkr import cp
from jkr._contractions import _scattered
from jkr.cp import losses
from jkr.tensors import Dense, Sparse, _pattern
from jkr.tensors._pattern import layout

SHAPE = (5, 3, 4)
KEY = jax.random.key(0)
KINDS = ["zero", "missing", "zero, weighted", "missing, weighted", "zero, compact"]
STARTS = {
    dtype: cp.CPTensor(
        jnp.ones(2, dtype),
        tuple(cp.random(jax.random.key(1), SHAPE, 2, dtype=dtype).factors),
    )
    for dtype in ("float64", "complex128")
}


def made(kind, rng, dtype="float64", shape=SHAPE, counts=False):
    """The same data, sparse and dense: the entries in any order, a row without any."""
    words = kind.split(", ")
    there = rng.uniform(size=shape) < 0.6
    there[1] = False
    indices = rng.permutation(np.argwhere(there))
    values = rng.poisson(2.0, len(indices)) + 0.0 if counts else rng.standard_normal(len(indices))
    if dtype == "complex128":
        values = values + 1j * rng.standard_normal(len(indices))
    w = None if "weighted" not in words else rng.integers(0, 3, len(indices)) / 2
    sparse = Sparse(
        indices,
        values,
        shape,
        unstored="missing" if "missing" in words else "zero",
        entry_weights=w,
        compact="compact" in words,
    )
    x, weights = np.zeros(shape, dtype), np.full(shape, float("zero" in words))
    x[tuple(indices.T)], weights[tuple(indices.T)] = values, 1 if w is None else w
    plain = weights.min() == weights.max() == 1
    return sparse, Dense(jnp.asarray(x), None if plain else jnp.asarray(weights))


def close(one, other, **tolerances):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert_allclose(a, b, **({"rtol": 1e-9, "atol": 1e-9} | tolerances))


everywhere = pytest.mark.parametrize("kind", KINDS)


@everywhere
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_it_answers_as_the_array_does(kind, dtype, rng):
    sparse, dense = made(kind, rng, dtype)
    model = cp.random(KEY, SHAPE, 2, dtype=dtype)
    matrices = [jnp.asarray(rng.standard_normal((n, 2))).astype(dtype) for n in SHAPE]
    assert (sparse.shape, sparse.ndim, sparse.dtype) == (SHAPE, 3, dense.dtype)
    core = jnp.asarray(rng.standard_normal((2, 2, 2))).astype(dtype)

    @jax.jit
    def answers(tensor):
        huber = lambda m, t: (losses.huber(0.5).function(m, t), m - 2 * t)  # noqa: E731
        return (
            jkr.mttkrps(tensor, model.factors),
            tensor.entrywise(huber, model, matrices),
            tensor.project(matrices),
            [tensor.project_others(matrices, n) for n in range(3)],
            tensor.project_back(core, matrices),
            tensor.squared_norm(2.0),
            tensor.scale()[1:],
            tensor.observations(),
            [jnp.broadcast_to(g, s) for g, s in grams(tensor)],
            tensor.astype(complex).project([u.astype(complex) * 1j for u in matrices]),
        )

    def grams(tensor):
        sizes = {(n, n): (SHAPE[n], 2, 2) for n in range(3)}
        sizes |= {(0, 1): (5, 3, 2, 2), (2, 0): (4, 5, 2, 2)}
        for (n, m), size in sizes.items():
            yield tensor.cross_gram(model.factors, n, m), size

    close(answers(sparse), answers(dense))
    close(sparse.rows(), dense.rows())


LOSSES = [losses.poisson, losses.bernoulli_logit, losses.gaussian, losses.gamma, losses.gaussian]


@pytest.mark.parametrize(("kind", "loss"), list(zip(KINDS, LOSSES, strict=True)), ids=str)
def test_losses_and_their_derivatives_are_those_of_the_array(kind, loss, rng):
    sparse, dense = made(kind, rng, counts=True)
    model = jax.tree.map(jnp.abs, cp.random(KEY, SHAPE, 2))
    where = tuple(sparse.indices.T)

    @jax.jit
    def value(model, values, array):
        tensor = sparse.with_values(values) if array is None else Dense(array, dense.entry_weights)
        return cp.loss(model, tensor, loss=loss)

    one = jax.value_and_grad(value, (0, 1))(model, sparse.values, None)
    other = jax.value_and_grad(value, (0, 2))(model, None, dense.array)
    close((one[0], one[1][0]), (other[0], other[1][0]))
    close(one[1][1], other[1][1][where])


FITS = {
    "als": (cp.als, {"tol": 0, "max_iters": 12}),
    "als, simplex": (
        cp.als,
        {"tol": 0, "max_iters": 12, "constraints": {1: cp.constraints.simplex()}},
    ),
    "nls": (cp.nls, {"l2": 1e-3}),
    "nls, nonnegative": (cp.nls, {"nonnegative": True, "l2": 1e-3}),
    "gcp": (cp.gcp, {"tol": 0, "max_iters": 8}),
    "fit": (cp.fit, {"l2": 1e-3}),
    "poisson": (cp.fit, {"loss": losses.poisson, "l2": 1e-3}),
    "bernoulli": (cp.nls, {"loss": losses.bernoulli_logit, "l2": 1e-1}),
}


PAIRS = [
    *zip(FITS, KINDS * 2, strict=False),
    ("als", "missing, weighted"),
    ("als", "zero, compact"),
    ("fit", "missing"),
    ("poisson", "zero"),
]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_fits_are_those_of_the_array(name, kind, rng):
    sparse, dense = made(kind, rng, counts=True)
    if name == "bernoulli":
        sparse = sparse.with_values(sparse.values > 1)
        dense = Dense((dense.array > 1).astype(float), dense.entry_weights)
    call, options = FITS[name]
    start = jax.tree.map(jnp.abs, STARTS["float64"])
    one, other = (call(data, 2, init=start, **options) for data in (sparse, dense))
    close(one.cp.full(), other.cp.full(), atol=1e-6, rtol=1e-6)
    assert_allclose(one.fit, other.fit, atol=1e-7)
    assert int(one.status) == int(other.status)
    found, expected = (cp.core_consistency(other.cp, data) for data in (sparse, dense))
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_gradients_through_a_fit_reach_the_values(rng):
    for kind, options in (("zero", {}), ("missing, weighted", {"l2": 0.1})):
        sparse, dense = made(kind, rng)

        def value(tensor, options=options):
            found = cp.als(tensor, 2, init=STARTS["float64"], tol=0, max_iters=300, **options)
            return jnp.sum(jnp.sin(found.cp.full()))

        of_values = jax.grad(lambda v, s=sparse, f=value: f(s.with_values(v)))(sparse.values)
        of_array = jax.grad(lambda x, d=dense, f=value: f(Dense(x, d.entry_weights)))(dense.array)
        close(of_values, of_array[tuple(sparse.indices.T)], rtol=1e-5, atol=1e-6)


def test_values_are_moved_by_look_ups_alone(rng):
    sparse, _ = made("zero", rng, shape=(9, 7, 8))
    mode = layout(np.asarray(sparse.indices), sparse.shape, 1)
    back = jax.linear_transpose(mode.arranged, sparse.values)
    program = jax.jit(back).lower(jnp.zeros(mode.source.shape)).compile().as_text()
    assert re.search(r"= f64\S* gather", program)
    assert not re.search(r"= f64\S* scatter", program)
    (found,) = back(mode.arranged(sparse.values))
    close(found, sparse.values)


def test_transforms_of_the_values(rng):
    sparse, _ = made("zero", rng)
    factors = cp.random(KEY, SHAPE, 2).factors
    several = jnp.stack([sparse.values, 2 * sparse.values])
    of = lambda v: jkr.mttkrp(sparse.with_values(v), factors, 1)  # noqa: E731
    close(jax.jit(jax.vmap(of))(several)[1], 2 * of(sparse.values))
    close(
        jax.vmap(jax.grad(lambda v: jnp.sum(of(v) ** 2)))(several)[1],
        2 * jax.grad(lambda v: jnp.sum(of(v) ** 2))(sparse.values),
    )
    fits = jax.vmap(lambda v: cp.als(sparse.with_values(v), 2, key=KEY, max_iters=5).fit)(several)
    close(fits[0], fits[1])


@pytest.mark.parametrize("counts", [[3, 0, 1], [1] * 40, [200, 7], [0, 0, 9, 0]])
def test_layouts_hold_every_entry_once(counts, rng, monkeypatch):
    monkeypatch.setattr(_pattern, "_BLOCK", 7)
    shape = (len(counts), 50, 6)
    rows = np.repeat(np.arange(len(counts)), counts)
    indices = np.stack([rows, *(rng.integers(0, n, len(rows)) for n in shape[1:])], axis=1)
    for n in range(3):
        made = layout(indices.astype(np.int32), shape, n)
        source, of_chunks = np.asarray(made.source), np.asarray(made.rows)
        assert len(source) > 1 or len(rows) < 30
        assert np.array_equal(np.sort(source.ravel()), np.arange(source.size))
        assert np.array_equal(of_chunks.ravel(), np.sort(of_chunks.ravel()))
        real, owners = source < len(rows), np.broadcast_to(of_chunks[:, None], source.shape)
        assert np.array_equal(indices[source[real], n], owners[real])
        others = [m for m in range(3) if m != n]
        for m, other in zip(others, made.others, strict=True):
            assert np.array_equal(np.asarray(other)[real], indices[source[real], m])


def test_many_blocks_are_as_good_as_one(rng, monkeypatch):
    for module, name in ((_pattern, "_BLOCK"), (_scattered, "_BLOCK"), (_scattered, "_FEW")):
        monkeypatch.setattr(module, name, 7)
    jax.clear_caches()
    for kind in ("zero, weighted", "zero, compact"):
        sparse, dense = made(kind, rng)
        model, huber = cp.random(KEY, SHAPE, 2), losses.huber(0.5)
        close(jkr.mttkrps(sparse, model.factors), jkr.mttkrps(dense, model.factors))
        one, other = (jax.value_and_grad(cp.loss)(model, x, loss=huber) for x in (sparse, dense))
        close(one, other)
    jax.clear_caches()


def test_complex_models_of_real_data(rng):
    sparse, dense = made("zero", rng)
    model, matrices = cp.random(KEY, SHAPE, 2, dtype="complex128"), STARTS["complex128"].factors
    known = STARTS["float64"]
    with jax.numpy_dtype_promotion("standard"):
        for data, same in ((sparse, dense), (known, Dense(known.full()))):
            close(jkr.mttkrp(data, model.factors, 1), jkr.mttkrp(same, model.factors, 1))
            close(*(jax.value_and_grad(cp.loss)(model, x) for x in (data, same)))
            close(*(cp.core_consistency(model, x) for x in (data, same)), rtol=1e-6)
        close(sparse.project(matrices), dense.project(matrices))


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_scales(scale, rng):
    for kind in ("zero", "zero, weighted", "missing"):
        sparse, _ = made(kind, rng)
        one, other = (
            cp.als(x.astype(jnp.float32), 1, key=KEY, max_iters=5)
            for x in (sparse, sparse.with_values(sparse.values * scale))
        )
        assert_allclose(one.fit, other.fit, rtol=1e-4)
        assert_allclose(one.cp.weights * scale, other.cp.weights, rtol=1e-4)


def test_of_more_entries_than_32_bits_count(rng):
    with jax.enable_x64(False):
        indices = rng.integers(0, 2000, (300, 3))
        x = Sparse(
            indices, np.ones(300), (2000,) * 3, unstored="zero", entry_weights=np.full(300, 3.0)
        )
        assert np.isfinite(cp.als(x, 1, key=KEY, max_iters=2).fit)
        assert float(x.observations()) == 8e9


def test_values_that_are_sharded(rng):
    sparse, _ = made("zero", rng)
    factors = cp.random(KEY, SHAPE, 2).factors
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    P = jax.sharding.PartitionSpec
    of = lambda v: jkr.mttkrp(sparse.with_values(v[0]), factors, 1)[None]  # noqa: E731
    mapped = jax.shard_map(of, mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    close(jax.jit(mapped)(sparse.values[None])[0], jkr.mttkrp(sparse, factors, 1))


def test_conversions():
    scipy = pytest.importorskip("scipy.sparse")
    x = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    of_dense = Sparse.of(x, unstored="zero")
    others = [scipy.csr_array(x), scipy.coo_matrix(x), of_dense.to_bcoo()]
    others += [jax.experimental.sparse.BCSR.from_bcoo(of_dense.to_bcoo())]
    others += [jax.experimental.sparse.COO.fromdense(x), scipy.dok_array(x)]
    for other in others:
        made = Sparse.of(other, unstored="zero")
        assert np.array_equal(made.to_dense(), x)
    cube = np.stack([x, 2 * x, 0 * x])
    assert np.array_equal(Sparse.of(scipy.coo_array(cube), unstored="zero").to_dense(), cube)

    class Labelled:  # as xarray's, which has coordinates of other kinds
        coords, data = {"row": [1, 2]}, x

        def __array__(self, *arguments, **options):
            return x

    assert np.array_equal(Sparse.of(Labelled(), unstored="zero").to_dense(), x)
    holes = np.where(x == 0, np.nan, x)
    with pytest.raises(ValueError, match="unstored='missing' goes with a masked array"):
        Sparse.of(np.ma.masked_equal(x, 0), unstored="zero")
    with pytest.raises(ValueError, match="make the tensor outside jit"):
        jax.jit(lambda x: Sparse.of(x, unstored="zero").values)(x)
    for missing in (holes, np.ma.masked_equal(x, 0)):
        assert np.array_equal(
            Sparse.of(missing, unstored="missing").to_dense(), holes, equal_nan=True
        )
    twice = Sparse([[0, 1], [1, 2], [0, 1]], [1.0, 2.0, 3.0], (2, 3), unstored="zero")
    assert np.array_equal(twice.values, [4.0, 2.0])
    assert np.array_equal(twice.indices, [[0, 1], [1, 2]])
    traced = jax.grad(lambda v: Sparse([[0, 1], [0, 1]], v, (2, 3), unstored="zero").squared_norm())
    assert np.array_equal(traced(jnp.array([1.0, 2.0])), [6.0, 6.0])


def test_pydata():
    sparse = pytest.importorskip("sparse")
    x = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    for kind in (sparse.COO, sparse.GCXS, sparse.DOK):
        assert np.array_equal(Sparse.of(kind.from_numpy(x), unstored="zero").to_dense(), x)
    for kind in (sparse.COO, sparse.GCXS):
        with pytest.raises(ValueError, match=r"Sparse\.of: needs a fill_value of 0, got 2\.0"):
            Sparse.of(kind.from_numpy(x, fill_value=2.0), unstored="zero")


def test_of_another_one(rng):
    for kind in KINDS:
        sparse, _ = made(kind, rng)
        again = Sparse.of(sparse, unstored=sparse.unstored)
        close((again.values, again.entry_weights), (sparse.values, sparse.entry_weights), rtol=0)
        assert np.array_equal(again.indices, sparse.indices)
        assert again._layouts


def test_rows_take_no_memory(rng):
    shape = (2**31 - 1, 5, 2**31 - 1)
    indices = np.stack([rng.integers(0, n, 40) for n in shape], axis=1)
    x = Sparse(indices, rng.standard_normal(40), shape, unstored="missing")
    assert sum(a.size for a in jax.tree.leaves(x)) < 40 * 3 * 12
    for mode in (0, 2):
        rows = x._layouts[mode].rows[:, None] + 0 * x._layouts[mode].source
        there = x._layouts[mode].source < 40
        assert np.array_equal(np.sort(rows[there]), np.sort(x.indices[:, mode]))


def test_entries_of_models(rng):
    model = cp.random(KEY, SHAPE, 2, dtype="complex128")
    indices = np.argwhere(np.ones(SHAPE)).reshape(*SHAPE, 3)
    close(model.at(indices), oracles.full(*map(jax.device_get, model)))
    close(model.at([-1, 2, -4]), model.full()[-1, 2, -4])
    close(model.at(np.array([4, 2, 3], np.uint8)), model.full()[4, 2, 3])
    nothing = cp.CPTensor(jnp.zeros(0), tuple(jnp.zeros((n, 0)) for n in SHAPE))
    close(nothing.at([[0, 0, 0]]), np.zeros(1))
    close(jax.jit(lambda i: model.at(i))(jnp.array([4, 2, 9])), model.full()[4, 2, 3])
    close(jax.jit(lambda i: model.at(i))(jnp.array([4, 2, 2**40])), model.full()[4, 2, 3])


def test_a_loss_of_ones_own_says_what_it_is_at_zero(rng):
    sparse, dense = made("zero", rng)
    shifted = losses.Loss(lambda m, x: (m - x) ** 2 + m + 3, at_zero=(3, 1, 1))
    model = cp.random(KEY, SHAPE, 2)
    close(cp.loss(model, sparse, loss=shifted), cp.loss(model, dense, loss=shifted))
    big = Sparse([[0, 0, 0]], [1.0], (10**5,) * 3, unstored="zero")
    wide = cp.random(KEY, big.shape, 2)
    once = cp.loss(wide, big, loss=shifted)
    sums = jnp.prod(jnp.stack([jnp.sum(a, axis=0) for a in wide.factors]), axis=0)
    expected = 3e15 + wide.norm() ** 2 + jnp.sum(wide.weights * sums)
    at = wide.at([0, 0, 0])
    close(once, expected + (at - 1) ** 2 - at**2, rtol=1e-12)


def test_nothing_of_the_size_of_the_tensor_is_made(rng):
    shape = (10**6, 10**5, 10**4)
    indices = np.stack([rng.integers(0, n, 500) for n in shape], axis=1)
    x = Sparse(indices, rng.poisson(3.0, 500) + 1.0, shape, unstored="zero")
    result = cp.als(x, 2, key=KEY, max_iters=3)
    assert np.isfinite(result.fit)
    poisson = cp.gcp(x, 2, key=KEY, loss=losses.poisson, max_iters=3)
    assert np.isfinite(poisson.history[-1])


def test_what_is_traced_is_refused_where_it_has_to_be_known():
    make = jax.jit(lambda i: Sparse(i, [1.0], (2, 2), unstored="zero").values)
    with pytest.raises(ValueError, match="indices need to be known when the tensor is made"):
        make(jnp.array([[0, 1]]))
    with pytest.raises(ValueError, match="indices need to be known when the tensor is made"):
        jax.jit(lambda i: Sparse([[i, 1]], [1.0], (2, 2), unstored="zero").values)(1)
