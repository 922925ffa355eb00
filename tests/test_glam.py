"""Array models against dense regression, SciPy's splines, and a grid search."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.optimize
from scipy.interpolate import BSpline
from structure import largest_array

from jkr import glam
from jkr._linalg._definite import definite_solve

ROWS, COLUMNS = (5, 4, 3), (3, 2, 2)


def problem(order, kind, seed=0):
    """y, bases, penalties, smoothing, and weights of which some are zero, with NaN under them."""
    rng = np.random.default_rng(seed)
    rows, columns = ROWS[:order], COLUMNS[:order]
    draw = rng.standard_normal
    bases = [draw(shape) for shape in zip(rows, columns, strict=True)]
    y = draw(rows)
    if kind == "complex":
        bases, y = [b + 1j * draw(b.shape) for b in bases], y + 1j * draw(rows)
    w = rng.uniform(0.5, 2, rows) * (rng.uniform(size=rows) > 0.3)
    penalties = [difference_oracle(j, 1) for j in columns]
    return np.where(w == 0, np.nan, y), bases, penalties, rng.uniform(0.5, 2, order), w


def difference_oracle(n, order):
    D = np.diff(np.eye(n), order, axis=0)
    return D.T @ D


def penalty_oracle(penalties, smoothing):
    eyes = [np.eye(len(P)) for P in penalties]
    return sum(
        s * oracles.kronecker(*eyes[:n], P, *eyes[n + 1 :])
        for n, (s, P) in enumerate(zip(smoothing, penalties, strict=True))
    )


def smooth_oracle(y, bases, penalties, smoothing, w):
    """The dense weighted regression on the cells that are there."""
    X, seen = oracles.kronecker(*bases), w.ravel() > 0
    X, y, w = X[seen], y.ravel()[seen], w.ravel()[seen]
    hat = np.linalg.solve(
        X.conj().T @ (w[:, None] * X) + penalty_oracle(penalties, smoothing), X.conj().T * w
    )
    theta = hat @ y
    edf, rss = np.trace(hat @ X).real, np.sum(w * np.abs(y - X @ theta) ** 2)
    n = len(y)
    return theta, oracles.kronecker(*bases) @ theta, edf, rss, n * rss / (n - edf) ** 2


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_against_the_dense_weighted_regression(order, kind):
    y, bases, penalties, smoothing, w = problem(order, kind)
    X = oracles.kronecker(*bases)
    gram = X.conj().T @ (w.reshape(-1, 1) * X)
    np.testing.assert_allclose(glam.weighted_gram(bases, w), gram, atol=1e-12)
    cross = glam.cross_product(bases, y, entry_weights=w)
    np.testing.assert_allclose(cross.ravel(), X.conj().T @ np.nan_to_num(w * y).ravel(), atol=1e-12)
    result = glam.smooth(y, bases, penalties, smoothing, entry_weights=w)
    expected = smooth_oracle(y, bases, penalties, smoothing, w)
    for ours, theirs in zip(result[:5], expected, strict=True):
        np.testing.assert_allclose(np.ravel(ours), np.ravel(theirs), atol=1e-10)
    assert result.message == "solved"
    np.testing.assert_allclose(glam.fitted(bases, result.coefficients), result.fitted, atol=1e-12)


def test_bases_that_are_constants_of_a_compiled_function():
    _, bases, _, _, w = problem(2, "real")
    compiled = jax.jit(lambda w: glam.weighted_gram(bases, w))
    np.testing.assert_allclose(compiled(w), glam.weighted_gram(bases, w), atol=1e-12)


def test_without_weights_all_are_one():
    y, bases, penalties, smoothing, _ = problem(3, "real")
    y = np.nan_to_num(y)
    ones = glam.smooth(y, bases, penalties, smoothing, entry_weights=np.ones(y.shape, bool))
    for a, b in zip(glam.smooth(y, bases, penalties, smoothing), ones, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_derivatives_are_those_of_the_dense_regression(kind):
    """Of all results in all arguments, d = 2; what lies under a zero weight has none."""
    y, bases, penalties, smoothing, w = problem(2, kind)

    def dense(y, bases, smoothing, w):
        X = jnp.einsum("ai,bj->abij", *bases).reshape(y.size, -1)
        root, v = jnp.sqrt(w.ravel())[:, None].astype(X.dtype), jnp.where(w == 0, 0, y).ravel()
        eyes = [np.eye(3), np.eye(2)]
        P = smoothing[0] * np.kron(penalties[0], eyes[1])
        P = P + smoothing[1] * np.kron(eyes[0], penalties[1])
        A = (root * X).conj().T @ (root * X)
        hat = jnp.linalg.solve(A + P.astype(A.dtype), (root * root * X).conj().T)
        edf = jnp.trace(hat @ X).real
        rss = jnp.sum(w.ravel() * jnp.abs(v - X @ hat @ v) ** 2)
        n = (w > 0).sum().astype(float)
        theta, model = (hat @ v).reshape(3, 2), (X @ hat @ v).reshape(y.shape)
        return theta, model, edf, rss, n * rss / (n - edf) ** 2

    def ours(y, bases, smoothing, w):
        return glam.smooth(y, bases, penalties, smoothing, entry_weights=w)[:5]

    @jax.jit
    def gradients(*args):
        results = []
        for f in (ours, dense):
            value = lambda *args, f=f: sum(  # noqa: E731
                jnp.sum(jnp.cos(z.real) + jnp.sin(z.imag)) for z in f(*args)
            )
            results.append(jax.grad(value, (0, 1, 2))(*args, w))
        return results

    one, other = gradients(jnp.asarray(np.where(w == 0, 0, y)), bases, smoothing)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    pulled = jax.grad(lambda y: ours(y, bases, smoothing, w)[4])(jnp.asarray(y))
    assert np.isfinite(pulled).all()
    assert not np.asarray(pulled)[w == 0].any()


CELLS, UNKNOWNS = (60, 80, 20), (5, 6, 4)


@pytest.fixture(scope="module")
def large():
    """A 60×80×20 array, bases of 5, 6 and 4 quadratic B-splines; a quarter is missing."""
    rng = np.random.default_rng(1)
    points = [np.linspace(0, 1, n) for n in CELLS]
    bases = [
        glam.bspline_basis(x, glam.uniform_knots(0.0, 1.0, j - 2, 2), 2)
        for x, j in zip(points, UNKNOWNS, strict=True)
    ]
    x, y, z = np.meshgrid(*points, indexing="ij")
    data = np.sin(4 * x * y) + np.cos(3 * z) * x + 0.1 * rng.standard_normal(CELLS)
    penalties = [glam.difference_penalty(j) for j in UNKNOWNS]
    weights = rng.uniform(0.5, 2, CELLS) * (rng.uniform(size=CELLS) > 0.25)
    return np.where(weights == 0, np.nan, data), bases, penalties, weights


def test_60_by_80_by_20_as_the_dense_regression(large):
    data, bases, penalties, w = large
    fit = glam.smooth(data, bases, penalties, np.zeros(3), entry_weights=w)
    seen = w.ravel() > 0
    X = oracles.kronecker(*(np.asarray(b) for b in bases))[seen]
    root = np.sqrt(w.ravel()[seen])
    q, r = np.linalg.qr(root[:, None] * X)
    theirs = np.linalg.solve(r, q.T @ (root * data.ravel()[seen]))
    np.testing.assert_allclose(fit.coefficients.ravel(), theirs, rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.edf, X.shape[1], atol=1e-8)


def test_nothing_has_cells_times_coefficients(large):
    data, bases, penalties, w = large
    gcv = lambda s: glam.smooth(data, bases, penalties, s, entry_weights=w).gcv  # noqa: E731
    cells, unknowns = np.prod(CELLS), np.prod(UNKNOWNS)
    assert unknowns == 120
    for f, most in ((gcv, cells), (jax.grad(gcv), cells), (jax.hessian(gcv), 3 * cells)):
        assert largest_array(f, jnp.ones(3)) <= most
    whole = lambda w: glam.smooth(data, bases, penalties, np.ones(3), entry_weights=w).gcv  # noqa: E731
    assert largest_array(jax.grad(whole), jnp.asarray(w)) <= cells


def test_gradient_on_gcv_finds_what_a_grid_search_finds():
    rng = np.random.default_rng(2)
    x, y = np.linspace(0, 1, 25), np.linspace(0, 1, 20)
    data = np.sin(8 * x)[:, None] * np.cos(5 * y)[None, :] + 0.2 * rng.standard_normal((25, 20))
    seen = rng.uniform(size=data.shape) > 0.2
    bases = [glam.bspline_basis(z, glam.uniform_knots(0.0, 1.0, 8)) for z in (x, y)]
    penalties = [glam.difference_penalty(11)] * 2

    def gcv(log):
        return glam.smooth(data, bases, penalties, jnp.exp(log), entry_weights=seen).gcv

    grid = np.linspace(-4, 8, 13)
    values = jax.jit(
        lambda grid: jax.lax.map(
            lambda a: jax.lax.map(lambda b: gcv(jnp.stack([a, b])), grid), grid
        )
    )(grid)
    best = np.unravel_index(np.argmin(values), values.shape)
    descent = scipy.optimize.minimize(
        jax.jit(jax.value_and_grad(gcv)), np.zeros(2), jac=True, method="BFGS", tol=1e-8
    )
    assert min(best) > 0
    assert max(best) < 12  # inside the grid
    assert descent.fun <= np.min(values)
    assert np.abs(descent.x - grid[list(best)]).max() <= 1  # its neighbours at most
    curvature = jax.jit(jax.hessian(gcv))(descent.x)
    assert np.linalg.eigvalsh(curvature).min() > 0


def test_a_poisson_model_is_a_few_fits(rng):
    """Iterated weighted fits of the working response end where the penalised score is zero."""
    _, bases, penalties, smoothing, _ = problem(2, "real")
    counts = rng.poisson(3, ROWS[:2]).astype(float)

    @jax.jit
    def fit(smoothing):
        def step(_, eta):
            mu = jnp.exp(eta)
            z = eta + (counts - mu) / mu
            return glam.smooth(z, bases, penalties, smoothing, entry_weights=mu).fitted

        eta = jax.lax.fori_loop(0, 12, step, jnp.log(counts + 0.5))
        return glam.smooth(eta, bases, penalties, 0 * smoothing).coefficients

    theta = fit(smoothing)
    score = glam.cross_product(bases, counts - jnp.exp(glam.fitted(bases, theta)))
    pull = penalty_oracle(penalties, smoothing) @ theta.ravel()
    np.testing.assert_allclose(score.ravel(), pull, atol=1e-9)
    slope = jax.jit(jax.grad(lambda s: jnp.sum(fit(s) ** 2)))(smoothing)
    assert np.isfinite(slope).all()


# --- statuses ----------------------------------------------------------------------------------


def test_trouble_is_a_status():
    y, bases, penalties, smoothing, w = problem(2, "real")
    fit = lambda y=y, s=smoothing, w=w: glam.smooth(y, bases, penalties, s, entry_weights=w)  # noqa: E731
    assert int(fit().status) == 0
    assert "NaN or inf" in fit(w=np.ones(y.shape)).message
    for bad in (np.zeros(y.shape), np.where(w == 0, -1.0, w), np.where(w > 1, np.inf, w)):
        assert "entry_weights" in fit(w=bad).message
    for bad in ([-1.0, 1.0], [np.nan, 1.0]):
        assert "smoothing" in fit(s=np.array(bad)).message
    broken = [bases[0], bases[1] * np.nan]
    assert "not finite" in glam.smooth(np.ones(y.shape), broken, penalties, smoothing).message


def test_a_singular_system_is_flagged_and_finite():
    """The last function has no cell, and nothing ties it to the others."""
    y, bases, penalties, _, _ = problem(2, "real")
    y, bases = np.nan_to_num(y), [np.pad(bases[0], ((0, 0), (0, 1))), bases[1]]
    lost = glam.smooth(y, bases, [np.zeros((4, 4)), penalties[1]], np.ones(2))
    kept = glam.smooth(y, [bases[0][:, :3], bases[1]], [np.zeros((3, 3)), penalties[1]], np.ones(2))
    assert "singular" in lost.message
    np.testing.assert_allclose(lost.fitted, kept.fitted, atol=1e-8)
    np.testing.assert_allclose(lost.edf, kept.edf, atol=1e-6)
    bridged = glam.smooth(y, bases, [difference_oracle(4, 1), penalties[1]], np.ones(2))
    assert bridged.message == "solved"
    both = np.array([[0.0, 0.0], [1.0, 1.0]])
    P = [difference_oracle(4, 1), penalties[1]]
    fits = jax.vmap(lambda s: glam.smooth(y, bases, P, s))(both)
    assert fits.status.tolist() == [1, 0]
    assert np.isfinite(jax.grad(lambda s: glam.smooth(y, bases, P, s).gcv)(both[0])).all()
    full = glam.smooth(y[:2, :2], [np.eye(2)] * 2, [np.eye(2)] * 2, np.zeros(2))
    assert np.isinf(full.gcv)  # as many degrees of freedom as cells


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_definite_solve(dtype, rng):
    a = rng.standard_normal((6, 4)) * 10.0 ** np.arange(-6, 6, 3)  # columns of any scale
    a = (a + 1j * rng.standard_normal((6, 1)) * a).astype(dtype) if "c" in dtype else a
    b = (a.conj().T @ rng.standard_normal(6)).astype(dtype)
    for G, singular in ((a.conj().T @ a, False), (a[:2].conj().T @ a[:2], True)):
        x, flag = definite_solve(jnp.asarray(G), jnp.asarray(b))
        assert bool(flag) == singular
        assert np.isfinite(x).all()
    x = np.asarray(definite_solve(jnp.asarray(a.conj().T @ a), jnp.asarray(b))[0])
    eps = np.finfo(dtype).eps
    scale = np.linalg.norm(a, axis=0)
    np.testing.assert_allclose(
        (a.conj().T @ a @ x) / scale, b / scale, atol=1e3 * eps * np.abs(b / scale).max()
    )
    assert definite_solve(jnp.zeros((0, 0)), jnp.zeros(0))[0].shape == (0,)


# --- splines -----------------------------------------------------------------------------------

KNOTS = {
    "uniform cubic": (np.arange(-3, 9) / 5, 3),
    "clamped": (np.array([0, 0, 0, 0.3, 0.4, 1, 1, 1]), 2),
    "repeated inside": (np.array([0, 0, 0, 0, 0.5, 0.5, 1, 1, 1, 1]), 3),
    "steps": (np.array([0, 0.5, 1]), 0),
}


@pytest.mark.parametrize("which", KNOTS)
def test_bspline_basis_is_scipys(which, rng):
    knots, degree = KNOTS[which]
    x = np.concatenate([[0, 1], rng.uniform(size=30)])
    ours = glam.bspline_basis(x, knots, degree)
    theirs = BSpline.design_matrix(x, knots, degree).toarray()
    np.testing.assert_allclose(ours, theirs, atol=1e-13)
    np.testing.assert_allclose(np.sum(ours, axis=1), 1)
    if degree > 1:
        basis = lambda z: glam.bspline_basis(z[None], knots, degree)[0]  # noqa: E731
        slopes = jax.jit(jax.vmap(jax.jacfwd(basis)))(x)
        spline = BSpline(knots, np.eye(ours.shape[1]), degree)
        np.testing.assert_allclose(slopes, spline.derivative()(x), atol=1e-11)


def test_p_splines():
    knots = glam.uniform_knots(1, 3, 4, degree=2)
    np.testing.assert_allclose(knots, np.arange(0.0, 4.1, 0.5))
    assert glam.bspline_basis(np.ones(2, int), knots, 2).shape == (2, 6)
    for order in range(4):
        P = glam.difference_penalty(5, order)
        np.testing.assert_array_equal(P, difference_oracle(5, order))
        for k in range(order):
            np.testing.assert_allclose(P @ np.arange(5.0) ** k, 0, atol=1e-12)
    repeated = glam.bspline_basis(np.array([0.0, 0.5]), np.array([0.0, 0, 1, 1]), 1)
    np.testing.assert_allclose(repeated, [[1, 0], [0.5, 0.5]])
    outside = glam.bspline_basis(np.array([-9.0, 9.0]), knots, 2)
    assert not np.any(outside)
