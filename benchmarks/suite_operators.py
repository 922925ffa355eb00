"""Lazy products against the same with the products formed, where they fit in 200 MB."""

import jax
import jax.numpy as jnp

from benchmarks.timing import compiled, ms, race, temporaries, times
from jkr.operators import FaceSplitting, KhatriRao, Kronecker

TITLE = "Lazy operators (float32)"
HEADER = ("what", "jkr ms", "formed ms", "formed / jkr", "jkr MB", "formed MB")


def _draw(kind, k, *shapes):
    keys = jax.random.split(jax.random.key(k), len(shapes))
    pairs = zip(keys, shapes, strict=True)
    return kind(*(jax.random.normal(key, s) / s[0] ** 0.5 for key, s in pairs))


def _matmul(a, b):
    return a @ b


def _formed(x):
    return x.to_dense() if hasattr(x, "to_dense") else x


def _forming(f):
    return lambda *args: f(*(_formed(a) for a in args))


def _gradient(f):
    return jax.grad(lambda a, b: jnp.sum(jnp.sin(f(a, b))), (0, 1))


def _lstsq(K, y):
    return jnp.linalg.solve(K.T @ K, K.T @ y)


def _leverage(K):
    return jnp.sum(K * jnp.linalg.solve(K.T @ K, K.T).T, axis=1)


def _problems():
    """What, lazily, densely (None where no memory holds it), and arguments."""
    four = _draw(KhatriRao, 0, *[(5000, 8)] * 4)
    other = _draw(KhatriRao, 1, *[(5000, 3)] * 4)
    yield "Gram of four 5000×8", KhatriRao.gram, None, (four,)
    yield "norm of four 5000×8", KhatriRao.norm, None, (four,)
    yield "lstsq of four 5000×8, y of four 5000×3", KhatriRao.lstsq, None, (four, other)
    two = _draw(KhatriRao, 2, (2000, 16), (1000, 16))
    y = _draw(KhatriRao, 3, (2000, 3), (1000, 3))
    what = "2000×16 ∗ 1000×16"
    yield f"lstsq of {what}, y = 2000×3 ∗ 1000×3", KhatriRao.lstsq, _forming(_lstsq), (two, y)
    yield f"leverage of {what}", KhatriRao.leverage_scores, _forming(_leverage), (two,)
    kronecker, what = _draw(Kronecker, 4, (60, 80), (80, 80)), "(60×80 ⊗ 80×80)"
    for k in (1, 64):
        args = kronecker, jax.random.normal(jax.random.key(5), (6400, k))
        yield f"{what} @ 6400×{k}", _matmul, _forming(_matmul), args
        yield "its gradient", _gradient(_matmul), _gradient(_forming(_matmul)), args
    args = (
        _draw(FaceSplitting, 6, (300, 400), (300, 300)),
        _draw(KhatriRao, 7, (400, 64), (300, 64)),
    )
    yield "(300×400 • 300×300) @ (400×64 ∗ 300×64)", _matmul, _forming(_matmul), args
    args = _draw(KhatriRao, 8, (300, 64), (200, 64)), _draw(FaceSplitting, 9, (64, 6), (64, 6))
    yield "no law: (300×64 ∗ 200×64) @ (64×6 • 64×6)", _matmul, _forming(_matmul), args


def rows(compare, repeats):
    """One row a problem: times, and temporaries."""
    for what, lazily, densely, args in _problems():
        contestants = {"jkr": lazily} | ({"formed": densely} if densely else {})
        t = race({name: compiled(f, *args) for name, f in contestants.items()}, 3 * repeats)
        megabytes = {name: f"{temporaries(f, *args):.3g}" for name, f in contestants.items()}
        yield (
            what,
            *(ms(t.get(name)) for name in ("jkr", "formed")),
            times(t["formed"] / t["jkr"]) if densely else "–",
            *(megabytes.get(name, "–") for name in ("jkr", "formed")),
        )
