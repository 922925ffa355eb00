"""Held-out relations of the Kinships data: which of 104 × 104 people are what to each other.

The triples come from the `pykeen` wheel. A tenth of all 104² × 25 entries, true or not, is held
out, ten times over; a Bernoulli model of the others says how likely they are. The area is that
under the curve of precision and recall, as published: RESCAL .95, CP .94, BCTF .90, MRC .85
(Nickel, Tresp & Kriegel, A three-way model for collective learning on multi-relational data, ICML
2011, figure 4).
"""

import importlib.util
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jkr import cp
from jkr.tensors import Sparse

TITLE = "Kinships, ten folds: area under precision and recall of held-out entries"
HEADER = ("model", "mean average precision", "least", "published area, CP", "s a fold")
FOLDS = 10
_RANK, _L2, _STEPS = 100, 2.0, 300  # the best of a few on fold 1, fitted to folds 2 to 9


def rows(compare, repeats):
    """One row, where the wheel is."""
    if "pykeen" not in compare:
        return
    from sklearn.metrics import average_precision_score

    truth = _tensor()
    order = np.random.default_rng(0).permutation(truth.size)
    fold = order.reshape(truth.shape) % FOLDS  # of one size, so that one program serves all
    areas, seconds = [], []
    for k in range(FOLDS):
        known, asked = np.argwhere(fold != k), np.argwhere(fold == k)
        values = truth[tuple(known.T)].astype(np.float32)
        x = Sparse(known, values, truth.shape, unstored="missing")
        begin = time.perf_counter()
        loss = cp.losses.bernoulli_logit
        model = cp.gcp(x, _RANK, key=jax.random.key(0), loss=loss, l2=_L2, max_iters=_STEPS).cp
        scores = np.asarray(model.at(jnp.asarray(asked)))
        seconds.append(time.perf_counter() - begin)
        areas.append(average_precision_score(truth[tuple(asked.T)], scores))
    yield (
        f"Bernoulli, R={_RANK}, l2={_L2}, {_STEPS} steps; these chosen on fold 1",
        f"{np.mean(areas):.3f}",
        f"{min(areas):.3f}",
        ".94",
        f"{np.median(seconds):.2g}",
    )


def _tensor() -> np.ndarray:
    """Person × person × relation, booleans."""
    spec = importlib.util.find_spec("pykeen")
    (root,) = spec.submodule_search_locations  # pyright: ignore
    folder = Path(root) / "datasets" / "kinships"
    lines = [
        line.split("\t")
        for name in ("train", "valid", "test")
        for line in (folder / f"{name}.txt").read_text().splitlines()
    ]
    people = {p: k for k, p in enumerate(sorted({p for a, _, b in lines for p in (a, b)}))}
    kinds = {r: k for k, r in enumerate(sorted({r for _, r, _ in lines}))}
    truth = np.zeros((len(people), len(people), len(kinds)), bool)
    for a, r, b in lines:
        truth[people[a], people[b], kinds[r]] = True
    return truth
