"""Calls without `jit`, the second time and later: what Python and dispatch cost, what is kept."""

import gc
import resource

import jax
import jax.numpy as jnp

import jkr
from benchmarks.timing import ms, race
from jkr import cp

TITLE = "Eager calls on 6×5×4, R=2, float32 (ms; bytes kept a call, of 300)"
HEADER = ("call", "jkr", "bytes a call")
CALLS = 300


def _calls():
    model, other = (cp.random(jax.random.key(k), (6, 5, 4), 2) for k in (0, 1))
    x = model.full() + jax.random.normal(jax.random.key(2), (6, 5, 4))
    w, counts = jnp.abs(x), jnp.abs(x)
    positive = jax.tree.map(jnp.abs, model)
    weighted = lambda model: cp.loss(model, x, entry_weights=w)  # noqa: E731
    slope = jax.grad(weighted)
    key = jax.random.key(3)
    return {
        "khatri_rao": lambda: jkr.khatri_rao(*model.factors),
        "mttkrp": lambda: jkr.mttkrp(x, model.factors, 0),
        "weighted_gram": lambda: jkr.weighted_gram(w, model.factors, 0),
        "CPTensor.norm": lambda: model.norm(),
        "CPTensor.full": lambda: model.full(),
        "cp.loss": lambda: cp.loss(model, x),
        "cp.loss, entry weights": lambda: weighted(model),
        "its gradient": lambda: slope(model),
        "cp.loss, Poisson": lambda: cp.loss(positive, counts, loss=cp.losses.poisson),
        "cp.congruence": lambda: cp.congruence(model, other),
        "cp.factor_match_score": lambda: cp.factor_match_score(model, other),
        "cp.align": lambda: cp.align(model, other),
        "cp.degeneracy": lambda: cp.degeneracy(model),
        "cp.core_consistency": lambda: cp.core_consistency(model, x),
        "cp.condition": lambda: cp.condition(model),
        "cp.project": lambda: cp.project(model, x, 0),
        "cp.als, 5 sweeps": lambda: cp.als(x, 2, key=key, max_iters=5, tol=0),
        "cp.nls, 5 steps": lambda: cp.nls(x, 2, key=key, max_iters=5, tol=0),
    }


def _kept(call):
    """Bytes of resident memory that a call leaves behind."""
    for _ in range(20):
        jax.block_until_ready(call())
    gc.collect()
    before = _resident()
    for _ in range(CALLS):
        jax.block_until_ready(call())
    gc.collect()
    return max(0, _resident() - before) / CALLS


def _resident():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # the largest so far, where there is no more
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rows(compare, repeats):
    """One row a function."""
    for name, call in _calls().items():
        median = race({"jkr": call}, 3 * repeats)["jkr"]
        yield name, ms(median), f"{_kept(call):.0f}"
