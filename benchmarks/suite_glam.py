"""P-spline smoothing of a 60×80×20 array, against the regression with its dense basis."""

import jax
import jax.numpy as jnp
import numpy as np

import jkr
from benchmarks.timing import compiled, ms, race, temporaries, times
from jkr import glam

TITLE = "Array models: P-splines on 60×80×20 cells, a fifth of them missing (float64)"
HEADER = (
    *("what", "coefficients", "jkr ms", "dense ms", "dense / jkr", "jkr MB", "dense MB"),
    "relative difference",
)
CELLS = (60, 80, 20)


def _problem(columns):
    rng = np.random.default_rng(0)
    points = [np.linspace(0, 1, n) for n in CELLS]
    bases = [
        glam.bspline_basis(x, glam.uniform_knots(0.0, 1.0, j - 3))
        for x, j in zip(points, columns, strict=True)
    ]
    x, y, z = np.meshgrid(*points, indexing="ij")
    data = np.sin(6 * x * y) + np.cos(4 * z) * x + 0.2 * rng.standard_normal(CELLS)
    weights = rng.uniform(0.5, 2, CELLS) * (rng.uniform(size=CELLS) > 0.2)
    penalties = [glam.difference_penalty(j) for j in columns]
    return jnp.asarray(data), bases, penalties, jnp.asarray(weights)


def _ours(y, w, bases, penalties, smoothing):
    fit = glam.smooth(y, bases, penalties, smoothing, entry_weights=w)
    return fit.coefficients, fit.gcv


def _dense(y, w, bases, penalties, smoothing):
    """The same regression with B_1 ⊗ B_2 ⊗ B_3 formed."""
    X, w, y = jkr.kronecker(*bases), w.ravel(), jnp.where(w == 0, 0, y).ravel()
    eyes = [jnp.eye(len(p)) for p in penalties]
    P = sum(
        smoothing[n] * jkr.kronecker(*eyes[:n], p, *eyes[n + 1 :]) for n, p in enumerate(penalties)
    )
    G = X.T @ (w[:, None] * X)
    factor = jax.scipy.linalg.cho_factor(G + P)
    theta = jax.scipy.linalg.cho_solve(factor, X.T @ (w * y))
    edf = jnp.trace(jax.scipy.linalg.cho_solve(factor, G))
    n, rss = jnp.sum(w != 0), jnp.sum(w * (y - X @ theta) ** 2)
    return theta.reshape([p.shape[0] for p in penalties]), n * rss / (n - edf) ** 2


def _gradient(f):
    return jax.grad(lambda s, *args: f(*args, jnp.exp(s))[1])


def _cases(columns):
    """What, the two functions, and their arguments."""
    y, bases, penalties, w = _problem(columns)
    args = y, w, bases, penalties
    yield "fit and GCV", _ours, _dense, (*args, jnp.ones(3))
    yield "gradient of GCV", _gradient(_ours), _gradient(_dense), (jnp.zeros(3), *args)


def rows(compare, repeats):
    """One row a basis size and function."""
    with jax.enable_x64(True):
        for columns in ((6, 8, 5), (10, 12, 6)):
            for what, ours, dense, args in _cases(columns):
                programs = {"jkr": compiled(ours, *args), "dense": compiled(dense, *args)}
                t = race(programs, max(3, repeats // 2))
                one, other = (jax.tree.leaves(programs[name]()) for name in ("jkr", "dense"))
                apart = max(
                    float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))
                    for a, b in zip(one, other, strict=True)
                )
                yield (
                    what,
                    "·".join(map(str, columns)),
                    *(ms(t[name]) for name in ("jkr", "dense")),
                    times(t["dense"] / t["jkr"]),
                    *(f"{temporaries(f, *args):.3g}" for f in (ours, dense)),
                    f"{apart:.1e}",
                )
