"""The semi-definite solve and its least squares (R3) against LAPACK and the formed product."""

import jax
import jax.numpy as jnp

import jkr
from benchmarks.timing import compiled, ms, race, times
from jkr._linalg._psd import psd_solve

TITLE = "Solves (float32, ms)"
HEADER = ("what", "jkr", "LAPACK", "LAPACK / jkr")


def _cholesky(G, b):
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(G), b)


def _between_products(solve):
    """Ten solves, each between two matrix products: what a sweep of ALS does."""

    def f(G, b, x, k):
        for _ in range(10):
            y = x @ k
            k = k + 1e-6 * (x.T @ y)
            b = solve(G + 1e-6 * k[: G.shape[0]] * jnp.eye(G.shape[0]), b) + 1e-9 * jnp.sum(y)
        return b

    return f


def _lstsq_gradient(solve):
    return jax.grad(lambda a, b, y: jnp.sum(solve(a, b, y) ** 2), (0, 1, 2))


def _formed_lstsq(a, b, y):
    return jnp.linalg.lstsq(jkr.khatri_rao(a, b), y)[0]


def rows(compare, repeats):
    """Alone, batched, between matrix products, and as the gradient of a least-squares solve."""
    draw = lambda k, *shape: jax.random.normal(jax.random.key(k), shape)  # noqa: E731
    for R, k in ((4, 20), (10, 200), (32, 400), (64, 400), (128, 400)):
        m = draw(0, 2 * R, R)
        args = m.T @ m, draw(1, R, k)
        yield _row(f"R={R}, {k} right-hand sides", psd_solve, _cholesky, args, 5 * repeats)
    m = draw(0, 256, 8, 4)
    batch = m.mT @ m, draw(1, 256, 4, 20)
    yield _row("256 of R=4 by vmap", jax.vmap(psd_solve), jax.vmap(_cholesky), batch, 5 * repeats)
    for R in (10, 32):
        m = draw(0, 2 * R, R)
        args = (m.T @ m, draw(1, R, 200), draw(2, 4000, 2000) / 100, draw(3, 2000, R))
        ours, lapack = _between_products(psd_solve), _between_products(_cholesky)
        yield _row(f"ten of R={R}, between products", ours, lapack, args, repeats)
    args = draw(0, 300, 16), draw(1, 200, 16), draw(2, 300 * 200)
    ours = _lstsq_gradient(lambda a, b, y: jkr.khatri_rao_lstsq([a, b], y))
    formed = _lstsq_gradient(_formed_lstsq)
    yield _row("gradient of lstsq, 300×16 ∗ 200×16, product formed", ours, formed, args, repeats)


def _row(what, ours, lapack, args, repeats):
    t = race({"jkr": compiled(ours, *args), "lapack": compiled(lapack, *args)}, repeats)
    return what, ms(t["jkr"]), ms(t["lapack"]), times(t["lapack"] / t["jkr"])
