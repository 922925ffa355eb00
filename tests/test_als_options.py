"""ALS with entry weights, nonnegative and fixed factors, l2, starts; all fits: `test_fits.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.optimize
from numpy.testing import assert_allclose

import jkr
from jkr import cp
from jkr.cp._fit import _run
from jkr.cp._fit._result import BAD_DATA
from jkr.tensors import Dense

KEY = jax.random.key(0)


def low_rank(shape, rank, dtype="float64", seed=3):
    made = jax.jit(lambda: cp.random(jax.random.key(seed), shape, rank, dtype=dtype).full())
    return np.asarray(made())


def noisy(shape, seed=4, dtype="float64"):
    return low_rank(shape, 2, dtype) + 0.3 * low_rank(shape, 40, dtype, seed)


def error_of(x, result, w=None):
    """Relative error, from scratch, in float64."""
    kind = complex if np.iscomplexobj(x) else float
    model = np.einsum(
        f"z,{','.join(c + 'z' for c in 'abcdefg'[: x.ndim])}->{'abcdefg'[: x.ndim]}",
        np.asarray(result.cp.weights, kind),
        *(np.asarray(a, kind) for a in result.cp.factors),
    )
    w = np.ones(x.shape) if w is None else np.asarray(w, float)
    x = np.where(w > 0, np.asarray(x, kind), 0)
    norm = np.sqrt(np.sum(w * np.abs(x) ** 2))
    return np.sqrt(np.sum(w * np.abs(x - model) ** 2)) / norm


def in_normal_form(result):
    for leaf in jax.tree.leaves(result._replace(fit=0.0, relative_error=0.0)):
        assert np.isfinite(leaf).all()
    assert (np.asarray(result.cp.weights).real >= 0).all()
    for a in result.cp.factors:
        assert_allclose(np.linalg.norm(a, axis=0), 1, atol=1e-5)


# What is not observed, and what is not finite


@pytest.mark.parametrize("entry", [(0, 0, 0), (5, 5, 5), (29, 19, 11)])
def test_one_entry_that_is_not_finite_is_found(entry):
    x = noisy((30, 20, 12)).astype("float32")
    for bad in (np.nan, np.inf, -np.inf):
        spoilt, weights = x.copy(), np.ones_like(x)
        spoilt[entry] = weights[entry] = bad
        for call in (
            lambda spoilt=spoilt: cp.als(spoilt, 2, key=KEY),
            lambda spoilt=spoilt: cp.gcp(spoilt, 2, key=KEY, loss=cp.losses.poisson),
            lambda weights=weights: cp.als(x, 2, key=KEY, entry_weights=weights),
        ):
            with pytest.raises(ValueError, match=r"NaN or inf|need to be finite"):
                call()
    status = jax.jit(lambda x: cp.als(x, 2, key=KEY).status)(spoilt)
    assert status == BAD_DATA


@pytest.mark.parametrize("init", ["random", "uniform", "svd"])
def test_a_row_with_nothing_observed_is_zero_and_changes_nothing(init):
    x = noisy((7, 5, 6))
    weights = np.ones_like(x)
    weights[3] = 0
    result = cp.als(x, 2, key=KEY, init=init, entry_weights=weights, tol=1e-13, max_iters=5000)
    rest = np.delete(np.arange(7), 3)
    start = result.cp._replace(factors=(result.cp.factors[0][rest], *result.cp.factors[1:]))
    alone = cp.als(x[rest], 2, init=start, tol=1e-13, max_iters=5000)
    assert_allclose(result.cp.factors[0][3], 0, atol=1e-12)
    assert_allclose(result.cp.weights, alone.cp.weights, rtol=1e-5)
    errors = cp.standard_errors(result, x, entry_weights=weights)
    assert np.isinf(errors.factors[0][3]).all()
    assert np.isfinite(errors.factors[0][rest]).all()


def test_a_result_is_printed_in_a_line():
    x = noisy((4, 5, 6))
    result = cp.als(x, 2, key=KEY, tol=1e-5)
    assert repr(result).startswith("CPResult(shape (4, 5, 6), rank 2, fit 0.")
    assert repr(result).endswith("iterations, converged)")
    many = jax.vmap(lambda key: cp.als(x, 2, key=key, tol=1e-3))(jax.random.split(KEY, 3))
    assert "status=" in repr(many)
    assert "status=" in repr(jax.eval_shape(lambda x: cp.als(x, 2, key=KEY), x))
    jax.jit(lambda x: repr(cp.als(x, 2, key=KEY, tol=1e-3)) and x)(x)


# The reported fit


@pytest.mark.parametrize(
    ("noise", "dtype"),
    [(0.0, "float32"), (0.0, "complex128"), (1e-3, "float64"), (0.3, "complex64")],
)
def test_the_reported_fit_is_that_of_the_returned_factors(noise, dtype):
    x = (low_rank((6, 7, 8), 2) + noise * low_rank((6, 7, 8), 40, seed=9)).astype(dtype)
    result = cp.als(x, 2, key=KEY, tol=0, max_iters=60)
    bound = 2e-4 if dtype in ("float32", "complex64") else 1e-6
    assert_allclose(result.relative_error, error_of(x, result), atol=bound)
    assert_allclose(result.fit, 1 - result.relative_error, atol=1e-6)


# Entry weights


@pytest.mark.parametrize(
    ("missing", "dtype"), [(0.1, "float64"), (0.5, "complex128"), (0.8, "float64")]
)
def test_missing_entries_are_recovered(missing, dtype):
    shape = (14, 15, 16)
    x = low_rank(shape, 2, dtype)
    observed = np.random.default_rng(1).uniform(size=shape) > missing
    holes = np.where(observed, x, np.nan)
    # With 80 % missing every second start ends with a component that hides in an unobserved entry,
    # and so it does in NumPy's plain ALS; this one does not.
    result = cp.als(
        holes, 2, key=jax.random.key(2), entry_weights=observed, tol=1e-12, max_iters=2000
    )
    assert_allclose(result.cp.full(), x, atol=1e-4 * np.abs(x).max())
    assert error_of(x, result, observed) < 1e-6


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_one_weighted_sweep_is_row_by_row_least_squares(dtype):
    shape, rank = (4, 5, 6), 2
    rng = np.random.default_rng(0)
    x, w = noisy(shape, dtype=dtype), rng.uniform(size=shape) * (rng.uniform(size=shape) > 0.3)
    start = cp.random(KEY, shape, rank, dtype=dtype)
    factors = [np.asarray(a) for a in start.factors]
    for n in range(3):
        K = oracles.khatri_rao(*(a for m, a in enumerate(factors) if m != n))
        rows = zip(oracles.unfold(x, n), oracles.unfold(w, n), strict=True)
        factors[n] = np.stack(
            [np.linalg.lstsq(np.sqrt(v)[:, None] * K, np.sqrt(v) * t)[0] for t, v in rows]
        )
    result = cp.als(x, rank, init=start, entry_weights=w, tol=0, max_iters=1)
    assert_allclose(result.cp.full(), np.einsum("ir,jr,kr->ijk", *factors), atol=1e-9)
    assert_allclose(result.relative_error, error_of(x, result, w), atol=1e-9)


def test_equal_weights_change_nothing_and_the_unit_of_weights_neither():
    x = noisy((5, 6, 7))
    # Under weights the first three sweeps are plain, those after them begin ahead.
    plain = cp.als(x, 2, key=KEY, tol=0, max_iters=3)
    for c in (1.0, 1e-3, 1e12):
        weighted = cp.als(x, 2, key=KEY, entry_weights=np.full(x.shape, c), tol=0, max_iters=3)
        assert_allclose(weighted.cp.full(), plain.cp.full(), atol=1e-8)
        assert_allclose(weighted.fit, plain.fit, atol=1e-9)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -1e300])
def test_what_lies_under_a_zero_weight_is_never_read(hole):
    x, w = noisy((5, 6, 7)), np.ones((5, 6, 7))
    w[1, 2, 3], w[4] = 0, 0  # an entry, and a whole slice
    fits = [
        cp.als(np.where(w > 0, x, under), 2, key=KEY, entry_weights=w, tol=0, max_iters=5)
        for under in (hole, 0.0)
    ]
    for a, b in zip(*map(jax.tree.leaves, fits), strict=True):
        assert np.array_equal(a, b)
    in_normal_form(fits[0])


def test_a_row_with_nothing_observed_keeps_its_start():
    x, w = noisy((5, 6, 7)), np.ones((5, 6, 7))
    w[1], w[3] = 0, 0
    start = cp.random(KEY, x.shape, 2)
    options = {"init": start, "entry_weights": w, "tol": 0, "max_iters": 9}
    ours = np.asarray(cp.als(x, 2, **options).cp.factors[0])
    given = np.asarray(start.factors[0])
    assert_allclose(ours[1] / ours[3], given[1] / given[3])
    assert_allclose(np.sign(ours[1]), np.sign(given[1]))
    assert_allclose(cp.als(x, 2, l2=1e-3, **options).cp.factors[0][1], 0, atol=1e-12)


# Nonnegative and fixed factors, l2


def test_nonnegative_factors_reach_what_row_wise_nnls_reaches():
    rng = np.random.default_rng(0)
    shape = (5, 6, 7)
    x = np.einsum("ir,jr,kr->ijk", *(rng.uniform(size=(n, 2)) for n in shape))
    x = np.maximum(x + 0.1 * rng.standard_normal(shape), 0)
    result = cp.als(x, 2, key=KEY, nonnegative=True, tol=0, max_iters=400)
    assert all((np.asarray(a) >= 0).all() for a in result.cp.factors)
    assert np.all(np.diff(result.history) > -1e-12)
    factors = [np.abs(np.asarray(a)) for a in cp.random(KEY, shape, 2).factors]
    for _ in range(400):
        for n in range(3):
            K = oracles.khatri_rao(*(a for m, a in enumerate(factors) if m != n))
            factors[n] = np.stack([scipy.optimize.nnls(K, t)[0] for t in oracles.unfold(x, n)])
    theirs = np.linalg.norm(x - np.einsum("ir,jr,kr->ijk", *factors)) / np.linalg.norm(x)
    assert_allclose(result.relative_error, theirs, atol=1e-6)


def test_nonnegative_in_one_mode_with_entry_weights():
    x, w = noisy((5, 6, 7)), np.random.default_rng(0).uniform(size=(5, 6, 7)) > 0.2
    result = cp.als(x, 2, key=KEY, entry_weights=w, nonnegative=[-1], tol=0, max_iters=50)
    assert (np.asarray(result.cp.factors[2]) >= 0).all()
    assert (np.asarray(result.cp.factors[0]) < 0).any()
    assert np.all(np.diff(result.history) > -1e-12)
    in_normal_form(result)


@pytest.mark.parametrize("fixed", [0, (2,), (0, 2), [1, 2]])
def test_fixed_factors_come_back_as_given_and_the_rest_is_optimal(fixed):
    x, start = noisy((5, 6, 7)), cp.random(KEY, (5, 6, 7), 2)
    start = start._replace(factors=tuple(3 * a for a in start.factors))
    result = cp.als(x, 2, init=start, fixed_modes=fixed, tol=0, max_iters=200)
    modes = [fixed] if isinstance(fixed, int) else fixed
    for n in range(3):
        if n in modes:
            assert np.array_equal(result.cp.factors[n], start.factors[n])
        else:
            assert_allclose(np.linalg.norm(result.cp.factors[n], axis=0), 1)
    gradient = jax.grad(cp.loss)(result.cp, x)
    for n in set(range(3)) - set(modes):
        assert_allclose(gradient.factors[n], 0, atol=1e-4)
    assert_allclose(result.relative_error, error_of(x, result), atol=1e-9)


@pytest.mark.parametrize("fixed", [(), (1,)])
def test_l2_is_stationary_in_the_units_of_the_data(fixed):
    x, l2 = 50 * noisy((5, 6, 7)), 30.0
    start = cp.random(KEY, x.shape, 2)
    result = cp.als(x, 2, init=start, l2=l2, fixed_modes=fixed, tol=0, max_iters=500)
    free = [n for n in range(3) if n not in fixed]
    weights, factors = result.cp
    share = weights[None, :] ** (1 / len(free))
    spread = [a * share if n in free else a for n, a in enumerate(factors)]

    def objective(free_factors):
        all_factors = list(spread)
        for n, a in zip(free, free_factors, strict=True):
            all_factors[n] = a
        data = jnp.sum((jnp.einsum("ir,jr,kr->ijk", *all_factors) - x) ** 2) / 2
        return data + l2 / 2 * sum(jnp.sum(a**2) for a in free_factors)

    for g in jax.grad(objective)([spread[n] for n in free]):
        assert_allclose(g, 0, atol=1e-5 * np.abs(x).max())
    assert result.fit < cp.als(x, 2, init=start, fixed_modes=fixed, tol=0, max_iters=500).fit


def test_a_tiny_penalty_changes_next_to_nothing():
    truth = cp.random(jax.random.key(5), (4, 5, 6), 3)
    x = cp.CPTensor(truth.weights, tuple(map(jnp.abs, truth.factors))).full()
    x = x - x.mean()
    for nonnegative in (True, False):
        options = {"key": jax.random.key(1), "nonnegative": nonnegative, "tol": 1e-9}
        without = cp.als(x, 3, **options)
        for l2 in (1e-30, 1e-7):
            assert_allclose(cp.als(x, 3, l2=l2, **options).fit, without.fit, atol=2e-3)
    nothing = cp.CPTensor(jnp.zeros(3), truth.factors)
    assert cp.als(truth.full(), 3, init=nothing, l2=1e-12).fit > 0.99


def test_weights_of_a_start_go_where_signs_may_be_negative():
    truth = cp.random(KEY, (4, 5, 6), 2)
    start = cp.CPTensor(-jnp.ones(2), (*truth.factors[:2], jnp.abs(truth.factors[2])))
    state = cp.ALS(nonnegative=[2]).init(start.full(), 2, init=start)
    assert_allclose(state.cp.full(), start.full(), atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"nonnegative": True}, {"l2": 1e-3}], ids=str)
def test_a_huge_start_is_only_a_start(options):
    x = noisy((4, 5, 6)).astype("float32")
    start = jax.tree.map(
        lambda a: (1e15 * jnp.abs(a)).astype("float32"), cp.random(KEY, x.shape, 2)
    )
    result = cp.als(x, 2, init=start, max_iters=300, **options)
    assert int(result.status) in (0, 1, 3)
    in_normal_form(result)


def test_weights_beyond_half_precision_are_flagged():
    result = cp.als(jnp.full((20, 20, 20), 900, "float16"), 1, key=KEY)
    assert int(result.status) == 5
    assert "float16" in result.message


def test_derivative_by_entry_weights_where_nan_is_under_a_zero():
    x, w = noisy((4, 5, 6)), np.random.default_rng(0).uniform(size=(4, 5, 6))
    w[0, 0, 0], x[0, 0, 0] = 0, np.nan
    solver = cp.ALS()
    state = solver.init(Dense(x, w), 2, key=KEY)
    gradient = jax.grad(lambda w: solver.step(Dense(x, w), state).fit)(jnp.asarray(w))
    assert np.isfinite(gradient).all()


def test_interrupting_between_sweeps_keeps_the_restarts_done(monkeypatch):
    x, first, calls = noisy((4, 5, 6)), _run.first, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return first(*args)

    monkeypatch.setattr(_run, "first", interrupted)
    options = {"tol": 0, "max_iters": 3, "callback": lambda state: None}
    result = cp.als(x, 2, key=KEY, restarts=3, **options)
    assert int(result.status) == 4
    calls.append(None)
    alone = cp.als(x, 2, key=jax.random.split(KEY, 3)[0], **options)
    assert_allclose(result.fit, alone.fit, atol=1e-12)


# Scale


OBSERVED = np.random.default_rng(0).uniform(size=(5, 6, 7)) > 0.2
SCALES = {"float64": (1e-25, 1e25), "float32": (1e-15, 1e15)}


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float64", {"init": "svd"}),
        ("float32", {"entry_weights": OBSERVED}),
        ("float64", {"nonnegative": True}),
        ("float32", {}),
    ],
    ids=["svd", "missing", "nonnegative", "plain"],
)
def test_any_scale_fits_as_well(dtype, options):
    x, options = noisy((5, 6, 7)).astype(dtype), {"tol": 0, "max_iters": 30} | options
    at_one = cp.als(x, 2, key=KEY, **options)
    for scale in SCALES[dtype]:
        result = cp.als((x * scale).astype(dtype), 2, key=KEY, **options)
        assert_allclose(result.fit, at_one.fit, atol=1e-4 if dtype == "float32" else 1e-9)
        in_normal_form(result)


@pytest.mark.parametrize(("dtype", "extreme"), [("float64", 1e-290), ("float32", 1e-31)])
def test_a_scale_near_the_end_of_the_range(dtype, extreme):
    exact = low_rank((4, 5, 6), 1).astype(dtype)
    assert cp.als((exact * extreme).astype(dtype), 1, key=KEY).fit > 0.99


def test_l2_is_in_the_units_of_the_data():
    # M = scale·M' where l2 = scale^{2 − 2/3}·l2'.
    x, options = noisy((5, 6, 7)), {"key": KEY, "tol": 0, "max_iters": 30}
    fits = [
        cp.als(x * scale, 2, l2=5 * scale ** (4 / 3), **options).fit for scale in (1, 1e-25, 1e25)
    ]
    assert_allclose(fits, fits[0], atol=1e-4)
    assert abs(fits[0] - cp.als(x, 2, **options).fit) > 1e-3


@pytest.mark.parametrize(
    ("shape", "rank", "weighted"),
    [
        ((4, 5), 1, True),
        ((4, 5), 9, False),
        ((1, 4, 1), 9, True),
        ((1, 1), 9, False),
        ((2,) * 7, 9, False),
        ((3, 1, 2, 1, 3), 1, True),
    ],
    ids=str,
)
def test_any_shape_and_rank_above_every_dimension(shape, rank, weighted):
    options = {"entry_weights": np.ones(shape)} if weighted else {}
    result = cp.als(low_rank(shape, 1), rank, key=KEY, **options)
    assert result.relative_error < 1e-5
    in_normal_form(result)


@pytest.mark.parametrize("options", [{}, {"entry_weights": 1}, {"nonnegative": True}, {"l2": 1e-3}])
@pytest.mark.parametrize("case", ["ones", "zeros", "constant slices", "identical columns"])
def test_hostile_data_are_finite_and_flagged(case, options):
    x, start = np.ones((4, 4, 4)), cp.random(KEY, (4, 4, 4), 3)
    if case == "zeros":
        x = 0 * x
    if case == "constant slices":
        x = x * np.arange(4.0)[:, None, None]
    if case == "identical columns":
        start = cp.CPTensor(jnp.ones(3), tuple(jnp.tile(a[:, :1], 3) for a in start.factors))
    if "entry_weights" in options:
        options = {"entry_weights": x * 0 + 1}
    result = cp.als(x, 3, init=start, max_iters=50, **options)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    if not options or case == "zeros":
        assert bool(result.converged)
        assert int(result.status) == 2
        assert "lower rank" in result.message
    if case == "zeros":
        assert result.relative_error == 0


# Starts


@pytest.mark.parametrize("shape", [(6, 5, 4), (70, 3, 4)], ids=str)
def test_svd_start_spans_the_leading_singular_vectors(shape):
    x = low_rank(shape, 2) + 1e-3 * noisy(shape)
    state = cp.ALS().init(x, 2, init="svd")
    for n in range(3):
        U = np.linalg.svd(oracles.unfold(x, n), full_matrices=False)[0][:, :2]
        ours = np.asarray(state.cp.factors[n])
        assert_allclose(np.abs(np.sum(U * ours, axis=0)), 1, atol=1e-8)
    wide = cp.ALS().init(x, 7, init="svd", key=KEY).cp
    assert wide.rank == 7
    in_normal_form(cp.als(x, 7, init="svd", key=KEY, max_iters=3))
    assert cp.als(x, 2, init="svd").fit > 0.99


def test_svd_start_of_a_long_mode_forms_no_long_matrix():
    from structure import largest_array

    x = np.zeros((2000, 4, 5), "float32")
    assert largest_array(lambda x: cp.ALS().init(x, 2, init="svd"), x) < 2000**2 / 4


def test_uniform_start():
    state = cp.ALS().init(noisy((4, 5, 6)), 3, init="uniform", key=KEY)
    assert all((np.asarray(a) >= 0).all() for a in state.cp.factors)
    complex_start = cp.ALS().init(noisy((4, 5)) + 0j, 2, init="uniform", key=KEY)
    assert all((a.imag > 0).any() for a in complex_start.cp.factors)


# Stepping, driving, transforms


def test_a_result_resumes():
    x = noisy((4, 5, 6))
    whole = cp.als(x, 2, key=KEY, tol=0, max_iters=20)
    half = cp.als(x, 2, key=KEY, tol=0, max_iters=10)
    rest = cp.als(x, 2, init=half.cp, tol=0, max_iters=10)
    assert_allclose(rest.cp.full(), whole.cp.full(), atol=1e-9)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad], ids=lambda t: t.__name__)
@pytest.mark.parametrize("option", [{"progress": True}, {"callback": print}], ids=str)
def test_progress_under_a_transform_is_an_error(transform, option):
    fit = lambda x: cp.als(x, 1, key=KEY, **option).fit  # noqa: E731
    with pytest.raises(ValueError, match="cp.als: progress and callback work outside jit, vmap"):
        transform(fit)(np.ones((2, 2, 3)))


def test_il2_with_its_missing_entries_is_fitted():
    x = np.asarray(jkr.datasets.il2_response().tensor)
    result = cp.als(x, 3, key=KEY, entry_weights=~np.isnan(x), max_iters=200)
    assert_allclose(result.relative_error, error_of(x, result, ~np.isnan(x)), atol=1e-6)
    assert result.fit > 0.7
