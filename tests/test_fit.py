"""`cp.compress` and `cp.fit`: small cores that hold what matters, and fits that begin in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from structure import work_of

import jkr
from jkr import cp
from jkr.cp._fit import _run

KEY = jax.random.key(0)
SHAPE = (30, 34, 38)


def noisy(rng, shape, rank, noise, dtype=float):
    """A model, and data of it with noise of that size relative to it."""
    factors = [rng.standard_normal((n, rank)).astype(dtype) for n in shape]
    e = rng.standard_normal(shape)
    if dtype is complex:
        factors = [a + 1j * rng.standard_normal(a.shape) for a in factors]
        e = e + 1j * rng.standard_normal(shape)
    x = np.einsum("ir,jr,kr->ijk", *factors)
    return x, x + noise * np.linalg.norm(x) / np.linalg.norm(e) * e


# Compression


@pytest.mark.parametrize("dtype", [float, complex])
def test_core_and_bases_are_what_they_say(dtype, rng):
    _, x = noisy(rng, (9, 8, 3), 2, 0.1, dtype)
    small = cp.compress(jnp.asarray(x), (4, 5, 7), key=KEY)
    assert small.core.shape == (4, 5, 3)
    assert np.array_equal(small.bases[2], np.eye(3))
    for q in small.bases:
        assert_allclose(q.conj().T @ q, np.eye(q.shape[1]), atol=1e-12)
    core = np.einsum("ijk,ia,jb,kc->abc", x, *(np.conj(q) for q in small.bases))
    assert_allclose(small.core, core, atol=1e-12)
    back = np.einsum("abc,ia,jb,kc->ijk", core, *small.bases)
    assert_allclose(small.residual, np.linalg.norm(x - back) / np.linalg.norm(x), rtol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
def test_a_power_pass_comes_near_to_truncated_unfoldings(noise, rng):
    truth, x = noisy(rng, SHAPE, 3, noise)
    bases = [
        np.linalg.svd(np.moveaxis(x, n, 0).reshape(dim, -1))[0][:, :11]
        for n, dim in enumerate(SHAPE)
    ]
    projected = lambda qs: np.einsum("ijk,ia,jb,kc->abc", truth, *qs)  # noqa: E731
    lost = lambda qs: np.sqrt(  # noqa: E731
        max(np.linalg.norm(truth) ** 2 - np.linalg.norm(projected(qs)) ** 2, 0)
    )
    small = cp.compress(jnp.asarray(x), 11, key=KEY)
    assert lost([np.asarray(q) for q in small.bases]) <= 2 * lost(bases) + 1e-6 * np.linalg.norm(x)


def test_compression_of_a_model_and_models_of_the_core(rng):
    model = jax.tree.map(jnp.asarray, cp.random(KEY, (20, 21, 22), 2, dtype=float))
    of_model = cp.compress(model, 3, key=KEY)
    of_array = cp.compress(model.full(), 3, key=KEY)
    assert_allclose(of_model.core, of_array.core, atol=1e-10)
    inside = of_model.reduce(model)
    assert inside.shape == (3, 3, 3)
    assert_allclose(of_model.expand(inside).full(), model.full(), atol=1e-10)
    assert_allclose(inside.full(), of_model.core, atol=1e-10)


def test_the_core_is_linear_in_the_data_with_bases_held(rng):
    x, dx = (jnp.asarray(rng.standard_normal((6, 7, 8))) for _ in range(2))
    f = lambda x: cp.compress(x, 3, key=KEY)  # noqa: E731
    small, moved = jax.jvp(f, (x,), (dx,))
    expected = np.einsum("ijk,ia,jb,kc->abc", dx, *small.bases)
    assert_allclose(moved.core, expected, atol=1e-12)
    assert not any(np.any(dq) for dq in moved.bases)
    assert not np.any(moved.residual)
    scalar = lambda x: jnp.sum(jnp.sin(f(x).core))  # noqa: E731
    assert_allclose(jnp.vdot(jax.grad(scalar)(x), dx), np.sum(np.cos(small.core) * expected))


def test_zeros_and_extreme_scales_compress(rng):
    nothing = cp.compress(jnp.zeros((5, 6, 7)), 2, key=KEY)
    assert np.all(np.isfinite(nothing.core))
    assert float(nothing.residual) == 0
    x = jnp.asarray(noisy(rng, (9, 8, 7), 2, 0.1)[1], "float32")
    one = cp.compress(x, 3, key=KEY).residual
    for size in (1e-30, 1e30):
        assert_allclose(cp.compress(x * size, 3, key=KEY).residual, one, rtol=1e-3)
    x = jnp.asarray(noisy(rng, SHAPE, 2, 0.1)[1], "float32")
    fits = [cp.fit(x * size, 2, key=KEY).fit for size in (1e-30, 1, 1e30)]
    assert_allclose(fits, fits[1], rtol=1e-4)


# Choosing


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, ["compressed to 10 × 10 × 10", "nls on the core", "nls on the tensor"]),
        ({"l2": 0.1, "restarts": 3}, ["compressed to", "nls on the core, the best of 3", "nls on"]),
        ({"nonnegative": 0}, ["nls on the tensor"]),
        ({"entry_weights": np.ones(SHAPE)}, ["nls on the tensor"]),
        ({"loss": cp.losses.gamma}, ["nls on the tensor"]),
        ({"loss": cp.losses.huber(1.0)}, ["gcp", "nls on the tensor"]),
        ({"loss": cp.losses.poisson_log}, ["gcp", "nls on the tensor"]),
        ({"nonnegative": True, "restarts": 2}, ["als, the best of 2", "nls on the tensor"]),
        ({"constraints": {0: cp.constraints.l1(0.1)}}, ["als, for constraints of the kinds l1"]),
    ],
    ids=[
        "plain",
        "restarts",
        "nonnegative",
        "weights",
        "mean",
        "robust",
        "log",
        "nonnegative restarts",
        "l1",
    ],
)
def test_it_says_what_it_chose(options, stages, rng):
    factors = [rng.uniform(0.5, 1, (n, 2)) for n in SHAPE]
    x = jnp.asarray(np.einsum("ir,jr,kr->ijk", *factors) + 0.01 * rng.uniform(size=SHAPE))
    result = cp.fit(x, 2, key=KEY, max_iters=30, **options)
    assert len(result.stages) == len(stages)
    for stage, words in zip(result.stages, stages, strict=True):
        assert stage.what.startswith(words)
        assert str(stage) in result.message
    assert result.fit > 0.9


def test_a_small_tensor_is_fitted_as_it_is(rng):
    x = jnp.asarray(noisy(rng, (9, 8, 7), 2, 0.1)[1])
    result = cp.fit(x, 2, key=KEY)
    assert [stage.what for stage in result.stages] == ["nls on the tensor"]
    assert_allclose(result.cp.full(), cp.nls(x, 2, key=KEY).cp.full(), atol=1e-9)
    assert "stages" not in cp.nls(x, 2, key=KEY).message.lower()


# Answers


@pytest.mark.parametrize("dtype", [float, complex])
def test_it_ends_at_the_optimum_of_the_tensor_itself(dtype, rng):
    truth, x = noisy(rng, SHAPE, 3, 1.0, dtype)  # as much noise as there is to find
    result = cp.fit(jnp.asarray(x), 3, key=KEY)
    assert len(result.stages) == 3
    assert (int(result.status), bool(result.stationarity < 1e-8)) == (0, True)
    best = cp.nls(jnp.asarray(x), 3, init=result.cp)
    assert_allclose(result.relative_error, best.relative_error, rtol=1e-9)
    assert np.linalg.norm(result.cp.full() - truth) < 0.2 * np.linalg.norm(truth)


def test_every_start_of_an_exact_tensor_is_good(rng):
    factors = [jnp.asarray(rng.standard_normal((n, 8))) for n in (32, 33, 34)]
    x = cp.CPTensor(jnp.ones(8), tuple(factors)).full()
    results = jax.vmap(lambda key: cp.fit(x, 8, key=key))(jax.random.split(KEY, 6))
    assert np.all(np.asarray(results.relative_error) < 1e-9)
    # The best of four starts after sweeps in the core needs few steps; one alone took twenty.
    assert np.median(results.stages[1].steps) <= 5


def test_counts_are_fitted_better_than_by_gradients_in_fewer_steps(rng):
    shape = (12, 11, 10)
    mean = 9 * np.einsum("ir,jr,kr->ijk", *(rng.uniform(size=(n, 3)) for n in shape))
    counts = jnp.asarray(rng.poisson(mean), float)
    start = tuple(jnp.asarray(rng.uniform(size=(n, 3))) for n in shape)
    options = {"init": cp.CPTensor(jnp.ones(3), start), "loss": cp.losses.poisson}
    ours, other = cp.fit(counts, 3, **options), cp.gcp(counts, 3, **options)
    assert ours.history[-1] <= other.history[-1]
    assert ours.stationarity < 1e-8
    assert 2 * int(ours.iterations) < int(other.iterations)


def test_a_fit_of_counts_goes_on_from_its_end(rng):
    mean = 9 * np.einsum("ir,jr,kr->ijk", *(rng.uniform(size=(n, 3)) for n in (12, 11, 10)))
    counts, options = jnp.asarray(rng.poisson(mean), float), {"loss": cp.losses.poisson}
    end = cp.fit(counts, 3, key=KEY, **options)
    again = cp.fit(counts, 3, init=end.cp, **options)
    assert int(again.iterations) <= 1 < int(end.iterations)


def test_passes_are_those_of_sweeps_and_steps(rng):
    x = jnp.asarray(rng.uniform(size=(5, 6, 7)))
    plain = cp.fit(x, 2, key=KEY)
    assert plain.stages[0].passes == 5 + 2 * 1 + 2 * int(plain.iterations)
    held = cp.fit(x, 2, key=KEY, nonnegative=True)
    assert held.stages[0].passes == 5 + 2 * 20 + 2 * int(held.iterations)
    stored = np.argwhere(np.ones(x.shape))
    sparse = jkr.tensors.Sparse(stored, x.ravel(), x.shape, unstored="zero")
    assert cp.fit(sparse, 2, key=KEY).stages[0].passes is None


def test_long_sparse_tensors_are_fitted_as_they_are(rng):
    # A basis of the long mode would be made of more numbers than are stored.
    shape = (20000, 300, 30)
    stored = np.unique(rng.integers(0, shape, (40000, 3)), axis=0)
    sparse = jkr.tensors.Sparse(stored, jnp.ones(len(stored)), shape, unstored="zero")
    result = cp.fit(sparse, 2, key=KEY, max_iters=2)
    assert [stage.what for stage in result.stages] == ["nls on the tensor"]


def test_a_start_and_the_dtype_are_kept(rng):
    truth, x = noisy(rng, SHAPE, 2, 0.1)
    factors = [jnp.asarray(rng.standard_normal((n, 2)), "float32") for n in SHAPE]
    start = cp.CPTensor(jnp.ones(2, "float32"), tuple(factors))
    result = cp.fit(jnp.asarray(x, "float32"), 2, init=start)
    assert result.cp.weights.dtype == "float32"
    assert result.fit > 0.9
    half = cp.fit(jnp.asarray(x, "bfloat16"), 2, init=result.cp)
    assert half.cp.weights.dtype == "bfloat16"
    again = cp.fit(jnp.asarray(x, "float32"), 2, init=result.cp)
    assert int(again.stages[-1].steps) <= 5
    with pytest.raises(ValueError, match=r"cp\.fit: factors need one row"):
        cp.fit(jnp.asarray(x), 2, init=cp.random(KEY, (2, 2, 2), 2, dtype=float))


def test_derivatives_go_through_the_whole(rng):
    x, dx = (jnp.asarray(noisy(rng, SHAPE, 2, 0.1)[1]) for _ in range(2))
    dx = dx / jnp.linalg.norm(dx)

    @jax.jit
    def f(x):
        result = cp.fit(x, 2, key=KEY, l2=1e-2)
        return jnp.vdot(result.cp.full(), jnp.sin(jnp.arange(x.size)).reshape(x.shape))

    step = 1e-4
    central = (f(x + step * dx) - f(x - step * dx)) / (2 * step)
    assert_allclose(jnp.vdot(jax.grad(f)(x), dx), central, rtol=1e-6)
    assert_allclose(jax.jvp(f, (x,), (dx,))[1], central, rtol=1e-6)


def test_batches_and_programs_agree(rng):
    x = jnp.stack([jnp.asarray(noisy(rng, SHAPE, 2, 0.1)[1]) for _ in range(2)])
    f = lambda x: cp.fit(x, 2, key=KEY)  # noqa: E731
    batch, alone = jax.vmap(f)(x), [f(a) for a in x]
    for k in range(2):
        assert_allclose(batch.fit[k], alone[k].fit, rtol=1e-12)
    assert batch.stages[-1].steps.shape == (2,)
    assert "nls on the core" in batch.message


def test_data_that_cannot_be_fitted(rng):
    bad = jnp.asarray(noisy(rng, SHAPE, 2, 0.1)[1]).at[0, 0, 0].set(jnp.nan)
    with pytest.raises(ValueError, match=r"cp\.fit: the tensor holds NaN or inf"):
        cp.fit(bad, 2, key=KEY)
    with pytest.raises(ValueError, match=r"cp\.compress: the tensor holds NaN or inf"):
        cp.compress(bad, 2, key=KEY)
    assert int(jax.jit(lambda x: cp.fit(x, 2, key=KEY))(bad).status) == 6
    zero = cp.fit(jnp.zeros(SHAPE), 2, key=KEY)
    assert (float(zero.fit), bool(zero.converged)) == (1.0, True)


def test_callback_sees_the_steps_on_the_tensor(rng):
    x, seen = jnp.asarray(noisy(rng, SHAPE, 2, 0.1)[1]), []
    result = cp.fit(x, 2, key=KEY, callback=seen.append)
    assert len(seen) == int(result.iterations) == int(result.stages[-1].steps)
    assert isinstance(seen[-1], cp.NLSState)


def test_a_tensor_with_weights_in_it(rng):
    x = noisy(rng, SHAPE, 2, 0.1)[1]
    w = rng.uniform(size=SHAPE) < 0.5
    result = cp.fit(jkr.tensors.Dense(jnp.asarray(x), jnp.asarray(w)), 2, key=KEY)
    assert [stage.what for stage in result.stages] == ["nls on the tensor"]
    assert result.fit > 0.85
    masked = cp.fit(np.ma.MaskedArray(x, ~w), 2, key=KEY)
    assert_allclose(masked.fit, result.fit, rtol=1e-9)


def test_restarts_on_a_large_tensor_run_one_after_the_other(monkeypatch, rng):
    x = jnp.asarray(noisy(rng, (6, 7, 8), 2, 0.1)[1])
    together = cp.nls(x, 2, key=KEY, restarts=3)
    monkeypatch.setattr(_run, "_HELD", 0)
    _run.fit.clear_cache()
    apart = cp.nls(x, 2, key=KEY, restarts=3)
    _run.fit.clear_cache()
    assert_allclose(apart.cp.full(), together.cp.full(), atol=1e-8)
    assert (int(apart.status), int(together.status)) == (0, 0)


def test_a_second_call_traces_and_compiles_nothing(rng):
    x = jnp.asarray(noisy(rng, SHAPE, 2, 0.1)[1])
    jax.block_until_ready(cp.fit(x, 2, key=KEY))
    other = jax.random.key(1)  # made here, for the first key under x64 is compiled too
    assert work_of(lambda x: cp.fit(x, 2, key=other), (x,)) == {}


@pytest.mark.parametrize("size", [1e-25, 1e22])
def test_the_best_of_starts_is_told_where_objectives_are_out_of_range(size, rng):
    x = jnp.asarray(noisy(rng, (6, 7, 8), 3, 0.01)[1], "float32")
    keys = jax.random.split(KEY, 6)
    f = jax.jit(lambda x: cp.nls(x, 3, key=KEY, restarts=6, max_iters=1).fit)
    alone = jax.jit(jax.vmap(lambda k: cp.nls(x, 3, key=k, max_iters=1).fit))(keys)
    assert float(jnp.max(alone) - jnp.min(alone)) > 0.01  # it matters which
    assert_allclose(f(x * size), jnp.max(alone), rtol=1e-3)
