"""Generalised CP: likelihoods, bounds, optimisers, and all that it shares with ALS."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorly.datasets
from numpy.testing import assert_allclose
from structure import equations, size_of

import jkr
from jkr import cp
from jkr.cp import losses
from jkr.tensors import Sparse

KEY = jax.random.key(0)
SHAPE = (9, 8, 7)


@jax.jit
def drawn():
    """Models, and data of them, in one program."""
    truth = cp.random(jax.random.key(1), SHAPE, 2)
    positive = cp.CPTensor(truth.weights, tuple(map(jnp.abs, truth.factors)))
    logit = cp.random(jax.random.key(1), (20, 18, 16), 2)
    counts = jax.random.poisson(jax.random.key(2), 3 * positive.full())
    bits = jax.random.bernoulli(jax.random.key(3), jax.nn.sigmoid(logit.full()))
    noisy = truth.full() + 0.3 * jax.random.normal(jax.random.key(4), SHAPE)
    return (truth, positive, logit), (counts.astype(float), bits.astype(float), noisy)


(TRUTH, POSITIVE, LOGIT), (COUNTS, BITS, NOISY) = drawn()


def log_cosh(m, x):
    return jnp.log(jnp.cosh(m - x))


def gcp(x, rank=2, **options):
    return cp.gcp(x, rank, **({"key": KEY} | options))


def finite(result):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


def named(case):
    return repr(case) if isinstance(case, losses.Loss) else ""


# What is fitted


@pytest.mark.parametrize(
    ("x", "truth", "loss"),
    [
        (COUNTS, 3 * POSITIVE.full(), losses.poisson),
        (BITS, LOGIT.full(), losses.bernoulli_logit),
        (COUNTS + 0.1, 3 * POSITIVE.full(), losses.gamma),
        (NOISY, TRUTH.full(), losses.huber(0.3)),
        (NOISY, TRUTH.full(), losses.Loss(log_cosh)),
    ],
    ids=named,
)
def test_the_model_is_as_likely_as_the_truth(x, truth, loss):
    result = gcp(x, loss=loss, restarts=3)
    assert result.history[-1] <= float(jnp.sum(loss(truth, x)))
    assert_allclose(result.history[-1], cp.loss(result.cp, x, loss=loss), rtol=1e-10)
    if loss.nonnegative:
        assert all((np.asarray(a) >= 0).all() for a in result.cp.factors)
    relative = np.linalg.norm(x - loss.expected(result.cp.full())) / np.linalg.norm(x)
    assert_allclose(result.relative_error, relative, rtol=1e-10)
    assert_allclose(result.fit, 1 - relative, rtol=1e-10)
    assert bool(result.converged)
    finite(result)


@pytest.mark.parametrize(
    "optimizer",
    [None, optax.sgd(0.03, momentum=0.9)],
    ids=["lbfgs", "sgd"],
)
def test_the_bound_is_never_left(optimizer):
    def guarded(m, x):
        return jnp.where(m < 0, jnp.nan, losses.poisson(m, x))

    loss = losses.Loss(guarded, nonnegative=True)
    result = gcp(COUNTS, loss=loss, optimizer=optimizer, tol=0, max_iters=60)
    finite(result)
    assert int(result.status) in (0, 1, 3)


def test_gaussian_reaches_what_als_reaches():
    # A part of the kinetic tensor: without XLA's optimisations the whole would take minutes.
    x = np.asarray(tensorly.datasets.load_kinetic().tensor)[::4, :, :, ::4]
    options = {"restarts": 5, "max_iters": 1500}
    ours = gcp(x, 4, **options)
    theirs = cp.als(x, 4, key=KEY, tol=1e-10, **options)
    assert_allclose(ours.fit, theirs.fit, atol=1e-4)


def test_scipys_bounded_minimiser_finds_nothing_better():
    import scipy.optimize

    result = gcp(COUNTS, loss=losses.poisson, restarts=3)
    sizes = np.cumsum([2 * n for n in SHAPE])[:-1]

    def objective(v):
        factors = [z.reshape(-1, 2) for z in np.split(v, sizes)]
        m = np.einsum("ir,jr,kr->ijk", *factors) + 1e-10
        slope = 1 - np.asarray(COUNTS) / m
        gradient = [
            np.einsum("ijk,jr,kr->ir", slope, factors[1], factors[2]),
            np.einsum("ijk,ir,kr->jr", slope, factors[0], factors[2]),
            np.einsum("ijk,ir,jr->kr", slope, factors[0], factors[1]),
        ]
        value = np.sum(m - np.asarray(COUNTS) * np.log(m))
        return value, np.concatenate([g.ravel() for g in gradient])

    share = np.asarray(result.cp.weights) ** (1 / 3)
    start = np.concatenate([(np.asarray(a) * share).ravel() for a in result.cp.factors])
    found = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start)
    )
    assert result.history[-1] <= found.fun + 1e-4 * abs(found.fun)
    assert abs(result.history[-1] - found.fun) < 1e-3


@pytest.mark.parametrize("dtype", ["complex64", "bfloat16"])
def test_dtypes(dtype):
    x = cp.random(KEY, SHAPE, 2, dtype="complex64" if "complex" in dtype else "float32").full()
    result = gcp(x.astype(dtype), restarts=3)
    assert result.fit > (0.99 if dtype == "bfloat16" else 0.999)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.cp)} == {jnp.dtype(dtype)}
    assert (np.asarray(result.cp.weights.astype(complex)).real >= 0).all()


def test_integers_are_counts():
    result = gcp(COUNTS.astype(int), loss=losses.poisson)
    assert_allclose(result.history[-1], gcp(COUNTS, loss=losses.poisson).history[-1], rtol=1e-12)


@pytest.mark.parametrize("fit", [cp.gcp, cp.nls, cp.fit, cp.als], ids=lambda f: f.__name__)
def test_a_component_of_weight_zero_is_taken_for_a_small_one(fit, rng):
    apart = [np.kron(np.eye(2), np.ones((n, 1))) + 0.1 for n in (3, 4, 2)]
    truth = cp.CPTensor(jnp.full(2, 20.0), tuple(map(jnp.asarray, apart)))
    counts = jnp.asarray(rng.poisson(truth.full()), float)
    options = {} if fit is cp.als else {"loss": losses.poisson}
    start = truth._replace(weights=jnp.array([20.0, 0.0]))
    found, expected = (fit(counts, 2, init=m, **options) for m in (start, truth))
    assert_allclose(found.cp.full(), expected.cp.full(), rtol=1e-2)


@pytest.mark.parametrize("fit", [cp.gcp, cp.nls, cp.als], ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [0.0, -1.0])
def test_a_start_outside_its_cone_is_none_of_its_columns(fit, size, rng):
    x = jnp.asarray(rng.uniform(0.5, 1, (5, 4, 3)))
    factors = tuple(size * jnp.asarray(rng.uniform(0.5, 1, (n, 1))) for n in x.shape)
    options = {"nonnegative": True} | ({"loss": losses.poisson} if fit is not cp.als else {})
    result = fit(x, 1, init=cp.CPTensor(jnp.ones(1), factors), **options)
    assert result.fit > 0.7
    assert all(bool(jnp.all(a >= 0)) for a in result.cp.factors)


def test_missing_entries_are_not_read_and_weights_count():
    seen = np.random.default_rng(0).uniform(size=SHAPE) > 0.3
    options = {"loss": losses.poisson, "tol": 0, "max_iters": 40}
    holes = np.where(seen, COUNTS, np.nan)
    result = gcp(holes, entry_weights=seen, **options)
    other = gcp(np.where(seen, COUNTS, 7), entry_weights=seen, **options)
    for a, b in zip(*map(jax.tree.leaves, (result, other)), strict=True):
        assert np.array_equal(a, b)
    m = np.asarray(result.cp.full()) + 1e-10
    assert_allclose(result.history[-1], np.sum((m - COUNTS * np.log(m))[seen]), rtol=1e-8)
    twice = gcp(holes, entry_weights=2.0 * seen, **options)
    assert_allclose(twice.history[-1], 2 * result.history[-1], rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"l2": 0.7}, {"nonnegative": (1,)}, {"fixed_modes": 0}], ids=str
)
def test_gaussian_options_mean_what_they_mean_in_als(options):
    init = cp.random(jax.random.key(5), SHAPE, 2)
    x = POSITIVE.full() + NOISY - TRUTH.full()
    theirs = cp.als(x, 2, init=init, tol=0, max_iters=500, **options)
    ours = cp.gcp(x, 2, init=theirs.cp, max_iters=200, **options)
    assert_allclose(ours.fit, theirs.fit, atol=1e-7)
    assert_allclose(ours.cp.full(), theirs.cp.full(), atol=1e-4)


def test_a_penalty_sees_factors_of_equal_size_and_counts():
    def roughness(factors):
        return 2.0 * jnp.sum(jnp.diff(factors[2], axis=0) ** 2)

    result = gcp(NOISY, penalty=roughness, l2=0.1, tol=0, max_iters=500)
    share = result.cp.weights ** (1 / 3)
    factors = [a * share[None, :] for a in result.cp.factors]
    expected = (
        0.5 * jnp.sum((NOISY - result.cp.full()) ** 2)
        + 0.05 * sum(jnp.sum(a**2) for a in factors)
        + roughness(factors)
    )
    assert_allclose(result.history[-1], expected, rtol=1e-9)
    rough = lambda cp: jnp.sum(jnp.diff(cp.factors[2], axis=0) ** 2)  # noqa: E731
    assert rough(result.cp) < rough(gcp(NOISY, l2=0.1, tol=0, max_iters=300).cp)
    assert result.stationarity < 1e-6


def exposed(m, x, exposure):
    """Poisson counts of a rate, over times that differ."""
    return exposure * m - x * jnp.log(exposure * m + 1e-10)


def test_constants_of_entries():
    loss = losses.Loss(exposed, nonnegative=True, expected=lambda m, exposure: exposure * m)
    exposure = np.random.default_rng(0).uniform(0.5, 3, (9, 1, 7))
    seen = np.random.default_rng(1).uniform(size=SHAPE) > 0.1
    unknown = np.where(seen, exposure, np.nan)  # as what it belongs to

    def fitted(x, exposure):
        return gcp(x, loss=loss, entry_weights=seen, entry_constants=exposure, max_iters=300)

    result = fitted(COUNTS, unknown)
    m = np.asarray(result.cp.full()) * exposure
    found = np.sum((m - COUNTS * np.log(m + 1e-10))[seen])
    assert_allclose(result.history[-1], found, rtol=1e-8)
    assert_allclose(
        result.relative_error,
        np.linalg.norm((COUNTS - m)[seen]) / np.linalg.norm(COUNTS[seen]),
        rtol=1e-8,
    )
    assert result.stationarity < 1e-3
    # Twice the time, half the rate.
    half = fitted(COUNTS, 2 * unknown)
    assert_allclose(half.history[-1], found, rtol=1e-6)
    assert_allclose(2 * half.cp.full(), result.cp.full(), atol=1e-2)
    tensor = jkr.tensors.Dense(jnp.asarray(COUNTS), entry_constants=jnp.asarray(exposure))
    assert_allclose(
        cp.loss(result.cp, tensor, loss=loss),
        cp.loss(result.cp, COUNTS, loss=loss, entry_constants=exposure),
    )


def test_entries_at_their_bound_are_zero():
    result = gcp(COUNTS.at[3].set(0), loss=losses.poisson)
    assert np.all(result.cp.factors[0][3] == 0)
    assert np.all(np.asarray(result.cp.full()[3]) == 0)


# Optimisers, starts, stopping


OPTIMIZERS = {
    "adagrad": optax.adagrad(0.3),
    "lbfgs": optax.lbfgs(memory_size=3),
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.05)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_any_optimiser_descends(optimizer):
    result = gcp(NOISY, optimizer=optimizer, tol=0, max_iters=300, key=jax.random.key(1))
    assert result.fit > 0.7
    assert int(result.iterations) == 300
    assert int(result.status) in (0, 3)
    assert result.history[-1] < result.history[0]


def test_a_step_that_is_not_finite_is_not_taken():
    result = gcp(NOISY, optimizer=optax.sgd(1e200), max_iters=50)
    assert int(result.status) == 5
    assert "learning rates" in result.message
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.cp))


@pytest.mark.parametrize("loss", [losses.bernoulli_logit, losses.poisson_log])
def test_a_first_step_is_seen_in_float32(loss, rng):
    # Few links of many: starts are near a saddle, and changes there below the objective's rounding.
    at = np.unique(rng.integers(0, 2000, (300, 2)), axis=0)
    x = Sparse(at, np.ones(len(at), "float32"), (2000, 2000), unstored="zero")
    result = cp.gcp(x, 1, key=KEY, loss=loss)
    nothing = cp.loss(jax.tree.map(jnp.zeros_like, result.cp), x, loss=loss)
    assert result.history[-1] < 1e-2 * nothing
    # A gradient of nothing is not divided by; in a batch each has a first step of its own.
    zero, other = jnp.zeros_like(result.cp.factors[0]), result.cp.factors[1]
    start = result.cp._replace(factors=(zero, other))
    stays = cp.gcp(x, 1, init=start, loss=loss, fixed_modes=0, max_iters=5)
    assert (int(stays.iterations), float(stays.history[-1])) == (1, float(nothing))
    values = jnp.stack([x.values, 3 * x.values]) if loss == losses.poisson_log else x.values[None]
    fit = lambda v: cp.gcp(x.with_values(v), 1, key=KEY, loss=loss, max_iters=9).history[-1]  # noqa: E731
    assert (jax.vmap(fit)(values) < 0.9 * nothing).all()


def test_any_scale_fits_as_well():
    x = NOISY.astype("float32")
    at_one = gcp(x).fit
    for scale in (1e-15, 1e15):
        assert_allclose(gcp(x * scale).fit, at_one, atol=1e-4)


def test_losses_that_underflow_are_flagged():
    result = gcp((1e-30 * NOISY).astype("float32"))
    assert int(result.status) == 5
    assert "underflows" in result.message


@pytest.mark.parametrize("size", [1e-4, 1.0, 3e4])
def test_starts_are_as_large_as_suits_the_loss(size):
    counts = jax.random.poisson(jax.random.key(2), size * POSITIVE.full()).astype(float)
    for loss in (losses.poisson, losses.poisson_log):
        result = gcp(counts, loss=loss, max_iters=300)
        finite(result)
        null = jnp.sum(loss(jnp.full(SHAPE, 1e-3), counts))
        assert result.history[-1] < null


@pytest.mark.parametrize("init", ["random", "uniform", "svd"])
def test_starts(init):
    assert gcp(NOISY, init=init, restarts=1 if init == "svd" else 2).fit > 0.7


def test_a_given_start_is_where_it_begins_and_its_zeros_can_move():
    state = cp.GCP(loss=losses.poisson).init(COUNTS, 2, init=POSITIVE)
    assert_allclose(state.cp.full(), POSITIVE.full(), rtol=1e-10)
    assert_allclose(state.objective, jnp.sum(losses.poisson(POSITIVE.full(), COUNTS)), rtol=1e-10)
    holed = POSITIVE._replace(factors=(POSITIVE.factors[0].at[0].set(0), *POSITIVE.factors[1:]))
    result = cp.gcp(COUNTS, 2, init=holed, loss=losses.poisson)
    assert_allclose(
        result.history[-1],
        cp.gcp(COUNTS, 2, init=POSITIVE, loss=losses.poisson).history[-1],
        rtol=1e-6,
    )


# Stepping, driving, transforms


def test_no_array_of_the_tensors_size_is_made(monkeypatch):
    from jkr._contractions import _elementwise

    monkeypatch.setattr(_elementwise, "BLOCK", 500)
    monkeypatch.setattr(_elementwise, "FEW", 500)
    x = jnp.ones((20, 30, 40))
    model = cp.random(KEY, x.shape, 2)
    solver = cp.GCP(loss=losses.poisson_log)
    state = solver.init(x, 2, init=model)
    for f, start in (
        (jax.grad(lambda m: cp.loss(m, x, loss=losses.poisson_log)), model),
        (lambda state: solver.step(x, state), state),
    ):
        eqns = list(equations(jax.make_jaxpr(f)(start).jaxpr))
        computed = [e for e in eqns if e.primitive.name in ("dot_general", "sub", "mul", "exp")]
        assert len(computed) > 5
        assert max(size_of(e.outvars[0]) for e in computed) < x.size / 8
