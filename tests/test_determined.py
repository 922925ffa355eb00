"""What a fit says of models that the observed entries do not determine, against dense Jacobians."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jkr import cp

SHAPE = (8, 7, 6)


def tensor(rng, rank, noise, shape=SHAPE):
    factors = [rng.standard_normal((n, rank)) for n in shape]
    return np.einsum("ir,jr,kr->ijk", *factors) + noise * rng.standard_normal(shape)


def two_blocks(rng, shape=SHAPE):
    w, (i, j, k) = np.zeros(shape), (n // 2 for n in shape)
    w[:i, :j, :k] = w[i:, j:, k:] = 1
    return w


def fibres(rng):
    return (rng.uniform(size=(*SHAPE[:2], 1)) > 0.4) * np.ones(SHAPE)


def bands(rng):
    """Scatter in fluorescence data: entries near a diagonal of two modes are cut out."""
    w = np.ones(SHAPE)
    w[:, np.abs(np.arange(7)[:, None] * 6 / 7 - np.arange(6)[None, :]) < 1.2] = 0
    return w


def staircase(rng):
    steps = np.arange(7)[None, :, None] / 7 < (np.arange(8)[:, None, None] + 1) / 8
    return steps * np.ones(SHAPE)


def at_random(rng):
    return 1.0 * (rng.uniform(size=SHAPE) < rng.uniform(0.1, 0.9))


MASKS = [two_blocks, fibres, bands, staircase, at_random]


def relative_errors(x, w, model):
    """σ̂ times the standard error of each column in its weakest direction, over the column, (N, R).

    From the singular values of the Jacobian of the observed entries, in float64; inf where some
    direction off the gauge changes none of them.
    """
    weights, factors = jax.tree.map(np.asarray, model)
    order, rank = len(factors), weights.size
    factors = [a * weights ** (1 / order) for a in factors]
    seen, columns, of = w > 0, [], []
    dense = lambda factors: np.einsum("ir,jr,kr->ijk", *factors)  # noqa: E731
    for n, a in enumerate(factors):
        for i, r in np.ndindex(a.shape):
            if not np.moveaxis(seen, n, 0)[i].any():
                continue  # nothing is known of that row, which is zero
            moved = [np.zeros_like(b) if m == n else b for m, b in enumerate(factors)]
            moved[n][i, r] = 1
            columns.append((np.sqrt(w) * dense(moved))[seen])
            of.append((n, i, r))
    J, of = np.stack(columns, 1), np.array(of)
    size = np.array([np.linalg.norm(factors[n][:, r]) for n, _, r in of])
    gauge = []
    for r in range(rank):
        for n in range(1, order):
            along = [factors[m][i, s] * (int(m == 0) - int(m == n)) * (s == r) for m, i, s in of]
            gauge.append(along / size)
    # Changes relative to the columns: no component is large or small.
    off = np.linalg.svd(np.stack(gauge, 1))[0][:, len(gauge) :]
    _, values, V = np.linalg.svd((J * size) @ off)
    values = np.pad(values, (0, off.shape[1] - values.size))
    V = off @ V.conj().T
    null = values <= max(J.shape) * np.finfo(float).eps * values[0]
    spare = max(seen.sum() - off.shape[1], 1)
    noise = np.sqrt(np.sum((w * np.abs(np.where(seen, x, 0) - dense(factors)) ** 2)[seen]) / spare)
    found = np.empty((order, rank))
    for n, r in np.ndindex(found.shape):
        mine = V[(of[:, 0] == n) & (of[:, 2] == r)]
        open_ended = np.sum(np.abs(mine[:, null]) ** 2) > 1e-10
        error = noise * np.linalg.norm(mine[:, ~null] / values[~null], 2)
        found[n, r] = np.inf if open_ended else error
    return found


@partial(jax.jit, static_argnums=2)
def fitted(x, w, rank, key):
    return cp.als(x, rank, entry_weights=w, key=key, max_iters=1000, tol=1e-10)


@pytest.mark.parametrize(("rank", "dtype"), [(2, "float64"), (3, "float64"), (2, "complex128")])
def test_what_is_undetermined_is_what_a_dense_jacobian_says(rank, dtype):
    statuses = []
    for turn in range(10):
        rng = np.random.default_rng(turn)
        noise = [0, 1e-3, 0.1][turn % 3]
        x, w = tensor(rng, rank, noise), MASKS[turn % 5](rng)
        if dtype == "complex128":
            x = x + 1j * tensor(rng, rank, noise)
        if turn % 2:
            w = w * rng.uniform(0.2, 1, SHAPE)
        data = jnp.asarray(np.where(w > 0, x, np.nan))
        result = fitted(data, jnp.asarray(w), rank, jax.random.key(turn))
        if result.status not in (0, 1, 10):
            continue
        if result.cp.weights.max() > 1e12:  # a dense Jacobian in float64 has no digits left
            assert result.status == 10
            continue
        errors = relative_errors(x, w, result.cp)
        assert np.array_equal(result.undetermined, errors > 1), (turn, errors)
        assert (result.status == 10) == np.any(errors > 1)
        statuses.append(int(result.status))
    assert len(statuses) > 4
    assert 10 in statuses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_blocks_leave_the_ratio_of_components_open(dtype, rng):
    x, w = tensor(rng, 2, 0, (8, 8, 8)), two_blocks(rng, (8, 8, 8))
    options = {"entry_weights": jnp.asarray(w, dtype), "key": jax.random.key(0)}
    result = cp.als(jnp.asarray(x, dtype), 2, **options)
    assert (int(result.status), bool(result.converged)) == (10, True)
    assert bool(result.undetermined.all())
    assert "do not determine" in result.message
    assert np.isinf(cp.condition(result, entry_weights=w.astype(dtype)).number)
    whole = cp.als(jnp.asarray(x, dtype), 2, key=jax.random.key(0))
    assert (int(whole.status), bool(whole.undetermined.any())) == (0, False)


def test_l2_is_a_cure_and_one_unobserved_pair_of_rows_is_enough(rng):
    a, b = rng.uniform(0.5, 1, (6, 2)), np.array([[1, 1], [1, 2], [1e-4, 1]])
    c = np.array([[1, 1], [2, 1], [1.0, 1]])
    x = np.einsum("ir,jr,kr->ijk", a, b, c) + 0.01 * rng.standard_normal((6, 3, 3))
    w = np.ones((6, 3, 3))
    w[:, :2, 2] = 0  # where the first component is seen there, it is small
    fit = partial(cp.als, jnp.asarray(x), 2, entry_weights=w, max_iters=3000, tol=1e-9)
    result = fit(key=jax.random.key(0))
    assert int(result.status) == 10
    assert np.array_equal(result.undetermined.any(axis=0), [False, True])
    cured = fit(key=jax.random.key(3), l2=1e-2)
    assert (int(cured.status), bool(cured.undetermined.any())) == (0, False)


@pytest.mark.parametrize("fit", [cp.nls, cp.fit])
def test_every_solver_says_so(fit, rng):
    x, w = jnp.asarray(tensor(rng, 2, 0.01)), two_blocks(rng)
    open_ended = fit(x, 2, entry_weights=w, key=jax.random.key(3))
    known = fit(x, 2, entry_weights=bands(rng), key=jax.random.key(3))
    assert (int(open_ended.status), bool(open_ended.undetermined.all())) == (10, True)
    assert (int(known.status), bool(known.undetermined.any())) == (0, False)


@pytest.mark.parametrize("fit", [cp.als, cp.gcp])
def test_beyond_300_entries_the_weakest_direction_is_searched_for(fit, rng):
    shape = (40, 30, 35)
    x = tensor(rng, 3, 0.01, shape)
    options = {"key": jax.random.key(1)}
    open_ended = fit(jnp.asarray(x), 3, entry_weights=two_blocks(rng, shape), **options)
    known = fit(jnp.asarray(x), 3, entry_weights=1.0 * (rng.uniform(size=shape) < 0.4), **options)
    assert (int(open_ended.status), bool(open_ended.undetermined.any())) == (10, True)
    assert (int(known.status), bool(known.undetermined.any())) == (0, False)


def test_a_search_that_does_not_end_is_said(rng):
    shape = (40, 30, 35)
    x, w = jnp.asarray(tensor(rng, 3, 0.01, shape)), two_blocks(rng, shape)
    fit = partial(cp.als, x, 3, entry_weights=w, key=jax.random.key(1), tol=1e-2)
    short = fit()
    assert (int(short.status), bool(short.converged), short.undetermined.any()) == (11, True, False)
    assert "was not settled" in short.message
    assert np.isinf(cp.condition(short, entry_weights=w).number)
    assert int(fit(l2=1.0).status) in (0, 1)  # which holds all directions


def test_of_other_losses_what_is_endless(rng):
    rate = np.abs(np.einsum("ir,jr,kr->ijk", *(rng.uniform(0.5, 2, (n, 2)) for n in SHAPE)))
    counts, key = jnp.asarray(rng.poisson(5 * rate)), jax.random.key(0)
    options = {"loss": cp.losses.poisson, "key": key, "tol": 1e-9, "max_iters": 3000}
    result = cp.gcp(counts.astype(float), 2, entry_weights=two_blocks(rng), **options)
    assert bool(result.undetermined.any())
    halves = 1.0 * (rng.uniform(size=SHAPE) < 0.5)
    result = cp.gcp(counts.astype(float), 2, entry_weights=halves, **options)
    assert not bool(result.undetermined.any())


def test_what_does_not_move_does_not_count(rng):
    # Fixed factors, and zeros that a constraint holds.
    x, w = tensor(rng, 2, 0), two_blocks(rng)
    truth = cp.als(jnp.asarray(x), 2, key=jax.random.key(0), tol=1e-12).cp
    options = {"entry_weights": w, "init": truth, "tol": 1e-9}
    held = cp.als(jnp.asarray(x), 2, fixed_modes=(0, 1), **options)
    assert (int(held.status), bool(held.undetermined.any())) == (0, False)
    factors = [rng.uniform(0.5, 1, (n, 2)) for n in SHAPE]
    for a in factors:  # each component lives in a block of its own
        a[: len(a) // 2, 0] = a[len(a) // 2 :, 1] = 0
    y, start = np.einsum("ir,jr,kr->ijk", *factors), cp.CPTensor(jnp.ones(2), tuple(factors))
    options |= {"init": jax.tree.map(jnp.asarray, start), "nonnegative": True}
    assert not bool(cp.als(jnp.asarray(y), 2, **options).undetermined.any())
    options["nonnegative"] = False
    assert bool(cp.als(jnp.asarray(y), 2, **options).undetermined.any())


def test_batches_and_restarts(rng):
    x = jnp.asarray(np.stack([tensor(rng, 2, 0.01) for _ in range(2)]))
    w = jnp.asarray(np.stack([two_blocks(rng), np.ones(SHAPE)]))
    fit = lambda x, w: cp.als(x, 2, entry_weights=w, key=jax.random.key(0), restarts=3)  # noqa: E731
    results = jax.vmap(fit)(x, w)
    assert np.array_equal(results.status, [10, 0])
    assert np.array_equal(results.undetermined.any(axis=(1, 2)), [True, False])
    alone = cp.als(x[0], 2, entry_weights=w[0], key=jax.random.key(0), callback=lambda state: None)
    assert int(alone.status) == 10
