"""Derivatives through a fit (R7), against central differences and against what must hold."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from readings import along, direction_of, gauge_free, moved

from jkr import cp

KEY = jax.random.key(0)
SHAPE = (4, 5, 6)
TIGHT = {"tol": 0, "max_iters": 1500}


@partial(jax.jit, static_argnums=range(5))  # one program, not one an operation
def tensor(rank, noise, dtype=float, shape=SHAPE, seed=0):
    x = cp.random(jax.random.key(seed), shape, rank, dtype=dtype).full()
    e = jax.random.normal(jax.random.key(seed + 100), shape, dtype)
    return x + noise * jnp.std(x).astype(x.dtype) * e


WEIGHTS = jax.random.uniform(jax.random.key(8), SHAPE) + 0.3
MASK = jax.random.bernoulli(jax.random.key(9), 0.75, SHAPE)
START = cp.random(jax.random.key(1), SHAPE, 2)
NOISY = tensor(2, 0.3)
COTANGENT = jnp.array([0.7, -1.2, 0.4])


def fit(x, rank=2, **options):
    return cp.als(x, rank, **({"key": jax.random.key(1)} | TIGHT | options))


def fit_with_frozen(x, frozen):
    first, _, last = START.factors
    init = START._replace(factors=(first, frozen, last))
    return cp.als(x, 2, init=init, fixed_modes=1, **TIGHT)


CASES = {
    # what is fitted, as a function of what moves, and where it moves from
    "exact": (fit, tensor(2, 0)),
    "noisy, rank 3": (lambda x: fit(x, 3), tensor(3, 0.1, seed=3)),
    # A start from which no component dies, which takes for ever.
    "too many components, l2": (
        lambda x: fit(x, 4, l2=0.5, key=jax.random.key(2), max_iters=6000),
        NOISY,
    ),
    "data, entry weights and l2": (
        lambda at: fit(at[0], entry_weights=at[1], l2=at[2]),
        (NOISY, WEIGHTS, jnp.array(0.7)),
    ),
    "missing": (lambda x: fit(jnp.where(MASK, x, jnp.nan), entry_weights=MASK), NOISY),
    "nonnegative": (lambda x: fit(x, 3, nonnegative=True, max_iters=6000), jnp.abs(NOISY)),
    "data and a frozen mode": (lambda at: fit_with_frozen(*at), (NOISY, START.factors[1])),
    "matrix": (lambda x: fit(x, 1), tensor(2, 0.1, shape=(5, 6))),
    "order 4": (fit, tensor(2, 0.2, shape=(3, 4, 2, 3))),
    "complex": (fit, tensor(2, 0.3, complex)),
    "complex, missing, l2": (
        lambda x: fit(x, entry_weights=MASK, l2=0.1),
        tensor(2, 0.1, complex),
    ),
    "tiny data": (lambda x: fit(1e-20 * x), NOISY),
}


@partial(jax.jit, static_argnums=(0, 1))
def value_and_derivatives(fitted, scale, at, direction):
    """The value, its derivative along the direction forward, and from the cotangent in reverse."""

    def f(z):
        result = fitted(z)
        return gauge_free(result._replace(cp=result.cp._replace(weights=scale * result.cp.weights)))

    value, push = jax.linearize(f, at)
    (gradient,) = jax.linear_transpose(push, at)(COTANGENT)
    return value, push(direction), along(gradient, direction)


@pytest.mark.parametrize("case", CASES)
def test_against_central_differences(case):
    fitted, at = CASES[case]
    program = partial(value_and_derivatives, fitted, 1e20 if case == "tiny data" else 1.0)
    direction, h = direction_of(at), 1e-5
    ahead, behind = (
        np.asarray(program(moved(at, s * h, direction), direction)[0]) for s in (1, -1)
    )
    differences = (ahead - behind) / (2 * h)
    if case == "exact":  # the fit is at its kink, 1
        differences[1] = 0
    _, forward, reverse = program(at, direction)
    assert_allclose(forward, differences, rtol=1e-3, atol=1e-6)
    assert_allclose(reverse, forward @ COTANGENT, rtol=1e-7)


def test_too_many_components_of_exact_data():
    # Unrolled sweeps give a gradient of norm 8e9 here; it is 2 T.
    x = tensor(2, 0, shape=(6, 7, 8))
    energy = lambda x: jnp.sum(  # noqa: E731
        cp.als(x, 3, init="svd", key=KEY, max_iters=200).cp.full() ** 2
    )
    assert_allclose(jax.grad(energy)(x), 2 * x, atol=0.02 * float(jnp.abs(x).max()))


def test_penalty_at_zero_has_its_one_sided_derivative():
    f = jax.jit(lambda l2: gauge_free(fit(NOISY, l2=l2))[::2])
    h = 1e-5
    assert_allclose(jax.jacfwd(f)(0.0), (f(h) - f(0.0)) / h, rtol=1e-3)


def test_derivatives_of_the_fit_near_an_exact_one_in_single_precision():
    x = tensor(2, 1e-3)
    of_fit = jax.grad(lambda x: fit(x, tol=1e-9).fit)
    exact = of_fit(x)
    off = jnp.linalg.norm((of_fit(x.astype("float32")).astype(float) - exact).ravel())
    assert off < 0.01 * jnp.linalg.norm(exact.ravel())


@pytest.mark.parametrize(
    "options", [{}, {"entry_weights": MASK}, {"l2": 0.1}], ids=["plain", "missing", "l2"]
)
def test_no_derivative_is_ever_nan(options):
    def of_everything(x):
        result = cp.als(x, 3, key=KEY, **options)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(result[:3]))

    gradient = jax.jit(jax.grad(of_everything))
    for x in (jnp.ones(SHAPE), jnp.zeros(SHAPE), NOISY.at[0].set(0), NOISY * jnp.nan):
        assert np.isfinite(gradient(x)).all()


def test_only_the_solution_has_derivatives():
    result, change = jax.jvp(lambda x: fit(x, max_iters=20), (NOISY,), (jnp.ones(SHAPE),))
    assert np.all(change.history == 0)
    assert change.stationarity == 0
    assert change.fit != 0
    of_start = jax.grad(lambda start: cp.als(NOISY, 2, init=start).fit)(START)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(of_start))
    assert result.history.shape == (20,)


def test_what_is_unobserved_or_weighs_nothing_has_no_derivative():
    def f(x, w):
        result = fit(x, entry_weights=w)
        return result.fit + jnp.sum(jnp.sin(result.cp.full()))

    w = jnp.where(MASK, WEIGHTS, 0)
    of_x, of_w = jax.jit(jax.grad(f, (0, 1)))(jnp.where(MASK, NOISY, jnp.nan), w)
    assert np.all(of_x[~MASK] == 0)
    assert np.all(of_w[~MASK] == 0)
    assert np.all(of_w[MASK] != 0)
    # Weights count relative to each other only.
    assert_allclose(jnp.sum(of_w * w), 0, atol=1e-8)


def test_rows_with_nothing_observed_do_not_move():
    w = WEIGHTS.at[1].set(0)
    f = lambda x: jnp.sum(jnp.sin(fit(x, entry_weights=w).cp.full()[0]))  # noqa: E731
    direction, h = jax.random.normal(KEY, SHAPE), 1e-5

    @jax.jit
    def value_and_both(x):
        value, push = jax.linearize(f, x)
        return value, push(direction), jax.linear_transpose(push, x)(1.0)[0]

    _, forward, reverse = value_and_both(NOISY)
    assert_allclose(jnp.sum(reverse * direction), forward, rtol=1e-8)
    ahead, behind = (value_and_both(NOISY + s * h * direction)[0] for s in (1, -1))
    difference = (ahead - behind) / (2 * h)
    assert_allclose(forward, difference, rtol=1e-4)


def test_cotangents_of_any_size():
    f = lambda x: jnp.sum(fit(x, max_iters=100).cp.full() ** 2)  # noqa: E731
    back = jax.jit(lambda x, size: jax.vjp(f, x)[1](size)[0])
    x = NOISY.astype("float32")
    plain = back(x, jnp.float32(1))
    for size in (1e-15, 1e-4, 1e10, 1e18):
        assert_allclose(back(x, jnp.float32(size)) / size, plain, rtol=1e-3, atol=1e-3)


def test_a_cotangent_that_is_nan_stays_so():
    back = jax.vjp(lambda x: fit(x).cp.weights, NOISY)[1]
    assert np.isnan(back(jnp.array([jnp.nan, 1.0]))[0]).all()


def test_frozen_columns_of_any_size():
    slope = jax.jit(jax.grad(lambda x, a: jnp.sum(jnp.sin(fit_with_frozen(x, a).cp.full()))))
    plain = slope(NOISY, START.factors[1])
    for size in (1e-12, 1e12):
        assert_allclose(slope(NOISY, size * START.factors[1]), plain, rtol=1e-8, atol=1e-10)


def test_frozen_columns_pass_their_cotangents_on():
    f = lambda a: jnp.sum(fit_with_frozen(NOISY, a).cp.factors[1] ** 2)  # noqa: E731
    assert_allclose(jax.grad(f)(START.factors[1]), 2 * START.factors[1], rtol=1e-12)


def test_batches_equal_the_loop():
    xs = jnp.stack([tensor(2, 0.2, seed=s) for s in range(3)])
    f = lambda x: jnp.sum(jnp.sin(fit(x, tol=1e-13).cp.weights))  # noqa: E731
    batch = jax.jit(jax.vmap(jax.grad(f)))(xs)
    one = jax.jit(jax.grad(f))
    assert_allclose(batch, jnp.stack([one(x) for x in xs]), rtol=1e-5, atol=1e-7)


def test_hessian_of_two_parameters():
    x = tensor(2, 0.1)
    y = jax.random.normal(KEY, SHAPE)

    def f(t):
        result = fit(x + t[0] * y + jnp.sin(t[1] * x), l2=0.01 * (1 + t[1] ** 2))
        return jnp.sum(jnp.sin(result.cp.full())) + result.fit

    t, h = jnp.array([0.1, 0.2]), 1e-4
    hessian_and_gradient = jax.jit(jax.jacfwd(lambda t: (jax.grad(f)(t),) * 2, has_aux=True))
    gradient = lambda t: np.asarray(hessian_and_gradient(t)[1])  # noqa: E731
    differences = [(gradient(t + h * e) - gradient(t - h * e)) / (2 * h) for e in np.eye(2)]
    assert_allclose(hessian_and_gradient(t)[0], differences, rtol=1e-4)


def test_memory_does_not_grow_with_sweeps():
    x = tensor(2, 0.1, "float32", shape=(20, 20, 20))

    def temporaries(sweeps):
        f = jax.grad(lambda x: fit(x, max_iters=sweeps).cp.weights.sum())
        return jax.jit(f).lower(x).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(5000) <= temporaries(50) + 2 * 4 * 5000  # the history itself


def test_half_precision_has_derivatives():
    x = tensor(2, 0.1, "float32")
    f = lambda x: fit(x, tol=1e-6).fit  # noqa: E731
    gradient = jax.grad(f)(x.astype("bfloat16"))
    assert gradient.dtype == jnp.bfloat16
    exact = jax.grad(f)(x.astype("bfloat16").astype(x.dtype))
    assert_allclose(gradient.astype(x.dtype), exact, atol=0.02 * float(jnp.abs(exact).max()))


def energy(model):
    return (
        jnp.sum(jnp.sin(jnp.abs(model.full())))
        + jnp.sum(jnp.abs(model.weights) ** 1.5)
        + jnp.sum(jnp.abs(model.factors[0]) ** 3)
    )


gradient_of_energy = jax.jit(jax.grad(energy))


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, "complex128"),
        ({"entry_weights": WEIGHTS, "l2": 0.2}, "float64"),
        ({"entry_weights": MASK}, "complex128"),
        ({"init": START, "fixed_modes": (1,)}, "float64"),
        ({"nonnegative": (0,)}, "float64"),
    ],
    ids=["plain", "weighted", "missing", "fixed", "nonnegative"],
)
def test_pullback_is_the_gradient_and_tells_its_residual(options, dtype):
    x = tensor(2, 0.2, dtype)
    w, l2 = options.get("entry_weights"), options.get("l2", 0.0)
    rest = {k: v for k, v in options.items() if k not in ("entry_weights", "l2", "init")}

    def f(x, w, l2, a):
        init = options.get("init", START)
        first, _, last = init.factors
        init = jax.tree.map(lambda z: z.astype(dtype), init._replace(factors=(first, a, last)))
        result = cp.als(x, 2, init=init, entry_weights=w, l2=l2, **rest, **TIGHT)
        return energy(result.cp), result

    arguments = x, w, jnp.asarray(l2), START.factors[1].astype(dtype)
    over = (0, 1, 2, 3) if w is WEIGHTS else (0, 2, 3)
    cotangents, result = jax.jit(jax.grad(f, over, has_aux=True))(*arguments)
    gradient = dict(zip(over, cotangents, strict=True))
    back = cp.pullback(result, x, gradient_of_energy(result.cp), entry_weights=w)
    assert back.residual < 1e-8
    tight = {"rtol": 1e-6, "atol": 1e-9}
    assert_allclose(back.tensor, gradient[0], rtol=1e-6, atol=1e-9 * np.abs(gradient[0]).max())
    assert_allclose(back.l2, gradient[2], **tight)
    assert_allclose(back.objective.l2, back.l2)
    assert back.objective.terms[0].tensor is None
    if w is None:
        assert back.entry_weights is None
    elif w is MASK:
        assert back.entry_weights.dtype == jnp.float64
        assert np.all((back.entry_weights == 0) == ~MASK)
    else:
        assert_allclose(back.entry_weights, gradient[1], **tight)
    if "fixed_modes" in rest:
        assert_allclose(back.fixed[0], gradient[3], **tight)
    else:
        assert back.fixed == ()


def test_pullback_flags_a_system_that_was_not_solved():
    x = tensor(2, 0, shape=(6, 7, 8))
    result = cp.als(x, 4, key=KEY, max_iters=300)
    cotangent = jax.tree.map(jnp.ones_like, result.cp)
    assert cp.pullback(result, x, cotangent).residual > 1e-3


def test_stationarity_is_the_relative_gradient():
    x = tensor(2, 0.3)
    result = fit(x, max_iters=3)
    balanced = [a * result.cp.weights[None, :] ** (1 / 3) for a in result.cp.factors]
    gradient = jax.grad(
        lambda factors: jnp.sum((jnp.einsum("ir,jr,kr->ijk", *factors) - x) ** 2) / 2
    )(balanced)
    largest = jnp.max(result.cp.weights ** (2 / 3)) * jnp.linalg.norm(x.ravel())
    expected = max(float(jnp.linalg.norm(g)) for g in gradient) / largest
    assert_allclose(result.stationarity, expected, rtol=1e-9)
    assert fit(x).stationarity < 1e-12


def test_stationarity_of_every_kind_of_fit():
    positive = fit(jnp.abs(NOISY), 3, nonnegative=True, max_iters=6000)
    assert any(np.any(a == 0) for a in positive.cp.factors)
    for result in (
        positive,
        fit(NOISY, entry_weights=WEIGHTS, l2=0.3),
        fit(NOISY, entry_weights=MASK),
        fit(tensor(2, 0.3, complex)),
        fit_with_frozen(NOISY, START.factors[1]),
        fit(jnp.zeros(SHAPE), max_iters=3),
    ):
        assert result.stationarity < 1e-9
    early = fit(jnp.abs(NOISY), 3, nonnegative=True, max_iters=6000, tol=0.1)
    assert int(early.iterations) < 10
    assert early.stationarity > 1e-3


def test_a_fit_that_is_not_tight_says_so():
    loose, tight = (cp.als(NOISY, 2, key=KEY, tol=tol) for tol in (1e-5, 1e-13))
    assert loose.stationarity > 1e-4 > tight.stationarity
    assert (int(loose.status), int(tight.status)) == (1, 0)
    assert "lower tol" in loose.message
    assert bool(loose.converged)


def test_a_model_with_a_fit_inside_learns():
    """Two groups of samples, told apart in one channel, under a stronger nuisance in the others.

    A rank-one fit follows the nuisance. Learning a gain for each channel so that the loadings
    separate the groups turns the fit towards what tells them apart.
    """
    rng = np.random.default_rng(0)
    group = np.repeat([-1.0, 1.0], 8)
    signal = np.einsum("i,j,k->ijk", 1.5 + group, [1, 0, 0, 0.0], np.ones(5))
    nuisance = np.einsum(
        "i,j,k->ijk", 3 * np.tile([-1.0, 1.0], 8), [0, 1, 1, 1.0], np.linspace(0, 1, 5)
    )
    x = jnp.asarray(signal + nuisance + 0.1 * rng.normal(size=signal.shape))

    def separation(gains):
        """Squared correlation of the samples' loadings with the groups."""
        y = x * jnp.exp(gains)[None, :, None]
        loadings = cp.als(y, 1, key=KEY, tol=1e-12).cp.factors[0][:, 0]
        return jnp.corrcoef(loadings, jnp.asarray(group))[0, 1] ** 2

    optimizer = optax.adam(0.1)

    @jax.jit
    def step(gains, state):
        loss, gradient = jax.value_and_grad(lambda g: -separation(g))(gains)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(gains, updates), state, -loss

    gains = jnp.zeros(4)
    state = optimizer.init(gains)
    separations = []  # before each step
    with jax.numpy_dtype_promotion("standard"):  # for optax
        for _ in range(61):
            gains, state, at = step(gains, state)
            separations.append(float(at))
    assert separations[0] < 0.5
    assert separations[60] > 0.95
