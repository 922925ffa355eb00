"""Whole fits of Poisson counts, against pyttb's L-BFGS-B from the same start."""

import contextlib
import io
import logging
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jkr
from benchmarks.problems import label
from benchmarks.timing import ms, race, times

TITLE = "Poisson counts, whole fits (ms); −log-likelihood less that of the truth"
HEADER = (
    "problem",
    "jkr",
    "first call",
    "pyttb",
    "pyttb / jkr",
    "jkr −log L",
    "pyttb −log L",
)
SHAPE, RANK = (60, 50, 40), 5


def _counts(seed):
    rng = np.random.default_rng(seed)
    factors = [rng.gamma(0.5, 1.0, (n, RANK)) for n in SHAPE]
    mean = 2 * np.einsum("ir,jr,kr->ijk", *factors)
    counts = rng.poisson(mean).astype(float)
    start = [rng.uniform(size=(n, RANK)) for n in SHAPE]
    size = np.linalg.norm(counts) / np.linalg.norm(np.einsum("ir,jr,kr->ijk", *start))
    return counts, mean, [size ** (1 / 3) * a for a in start]


def _likelihood(mean, counts):
    return float(np.sum(mean - counts * np.log(mean + 1e-10)))


def _pyttb(counts, start):
    import pyttb
    from pyttb.gcp.handles import Objectives
    from pyttb.gcp.optimizers import LBFGSB

    def call():
        with contextlib.redirect_stdout(io.StringIO()):
            model, *_ = pyttb.gcp_opt(
                pyttb.tensor(counts),
                RANK,
                Objectives.POISSON,
                LBFGSB(maxiter=1000),
                init=pyttb.ktensor([a.copy() for a in start], np.ones(RANK)),
                printitn=0,
            )
        return model.full().data

    return call


def rows(compare, repeats):
    """One row a draw of the counts."""
    logging.getLogger().setLevel(logging.ERROR)  # pyttb warns of every copy
    for seed in range(3):
        with jax.enable_x64(True):
            counts, mean, start = _counts(seed)
            x, init = (
                jnp.asarray(counts),
                jkr.cp.CPTensor(jnp.ones(RANK), tuple(map(jnp.asarray, start))),
            )
            ours = lambda x=x, init=init: jkr.cp.gcp(  # noqa: E731
                x, RANK, init=init, loss=jkr.cp.losses.poisson
            )
            jax.clear_caches()
            began = time.perf_counter()
            model = np.asarray(jax.block_until_ready(ours()).cp.full())
            first = 1e3 * (time.perf_counter() - began)
            calls: dict[str, Any] = {"jkr": ours}
            if "pyttb" in compare:
                calls["pyttb"] = _pyttb(counts, start)
            t = race(calls, min(repeats, 5))
            truth = _likelihood(mean, counts)
            theirs = _likelihood(calls["pyttb"](), counts) - truth if "pyttb" in compare else None
        yield (
            f"{label(SHAPE, RANK)}, float64, draw {seed}",
            ms(t["jkr"]),
            ms(first),
            ms(t.get("pyttb")),
            times(t["pyttb"] / t["jkr"]) if "pyttb" in t else "–",
            f"{_likelihood(model, counts) - truth:.3f}",
            "–" if theirs is None else f"{theirs:.3f}",
        )
