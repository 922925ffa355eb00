"""Constraints: their proximal operators against dumb ones, and what fits make of them."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.tree_util import Partial
from numpy.testing import assert_allclose

from jkr import cp
from jkr.cp.constraints import Constraint, ball, l1, nonnegative, prox, simplex
from jkr.tensors import Dense

KEY = jax.random.key(0)
SHAPE = (4, 3, 5)
RADIUS, WEIGHT, RIDGE = 0.8, 0.4, 0.7


def noisy(rng, shape=SHAPE):
    factors = [rng.uniform(0.2, 1.5, (n, 2)) for n in shape]
    return np.einsum("ir,jr,kr->ijk", *factors) + 0.2 * rng.standard_normal(shape)


def shrunken(size, y, step):
    return y / (1 + step * size)


def of_squares(size, a):
    return size / 2 * jnp.sum((a * a.conj()).real)


def between(y, step):
    return jnp.clip(y, 0, 0.5)


CONSTRAINTS = {
    "nonnegative": nonnegative(),
    "columns of sum one": simplex(),
    "rows of sum one": simplex(axis=1),
    "ball": ball(RADIUS),
    "l1": l1(WEIGHT),
    "squares": prox(Partial(shrunken, RIDGE), Partial(of_squares, RIDGE)),
    "box": prox(between, kind="bounded"),
}
KINDS = ["cone", "bounded", "bounded", "bounded", "penalty", "penalty", "bounded"]
VALUES = {
    "l1": lambda a: WEIGHT * np.sum(np.abs(a)),
    "squares": lambda a: RIDGE / 2 * np.sum(a**2),
}


def holds(name, a, atol=0.0):
    """Whether a factor is as the constraint says."""
    assert np.isfinite(a).all()
    if name in ("nonnegative", "box") or "sum one" in name:
        assert np.all(a >= -atol)
    if name == "box":
        assert np.all(a <= 0.5 + atol)
    if "sum one" in name:
        assert_allclose(a.sum(axis=0 if "columns" in name else 1), 1, atol=1e-9 + atol)
    if name == "ball":
        assert np.all(np.linalg.norm(a, axis=0) <= RADIUS * (1 + 1e-9) + atol)


# Proximal operators


def sum_one_by_bisection(y):
    low, high = y.min() - 1, y.max()
    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if np.maximum(y - level, 0).sum() > 1 else (low, level)
    return np.maximum(y - level, 0)


def nearest(name, y, step):
    """Column by column, or entry by entry."""
    if "sum one" in name:
        return np.apply_along_axis(sum_one_by_bisection, 0 if "columns" in name else 1, y)
    if name == "ball":
        return np.stack([c * min(1, RADIUS / np.linalg.norm(c)) for c in y.T], axis=1)
    found, bounds = np.empty_like(y), {"nonnegative": (0, 9), "box": (0, 0.5)}.get(name, (-9, 9))
    for at in np.ndindex(*y.shape):
        cost = lambda z, at=at: (z - y[at]) ** 2 / 2 + step * VALUES.get(name, np.zeros_like)(z)  # noqa: E731
        found[at] = scipy.optimize.minimize_scalar(
            cost, bounds=bounds, method="bounded", options={"xatol": 1e-9}
        ).x
    return found


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_prox_is_the_nearest_point_or_the_least_sum(name, rng):
    for step in (0.3, 2.0):
        y = 1.5 * rng.standard_normal((6, 4))
        ours = CONSTRAINTS[name].prox(jnp.asarray(y), jnp.asarray(step))
        assert_allclose(ours, nearest(name, y, step), atol=1e-6)
        holds(name, np.asarray(ours))
        single = CONSTRAINTS[name].prox(jnp.asarray(y, "float32"), jnp.float32(step))
        assert single.dtype == jnp.float32
        assert_allclose(single, ours, atol=1e-5)


@pytest.mark.parametrize("name", ["ball", "l1", "squares"])
def test_prox_of_complex_factors_shrinks_sizes_and_keeps_phases(name, rng):
    y = rng.standard_normal((6, 4)) + 1j * rng.standard_normal((6, 4))
    ours = CONSTRAINTS[name].prox(jnp.asarray(y), jnp.asarray(0.3))
    assert_allclose(ours, nearest(name, np.abs(y), 0.3) * y / np.abs(y), atol=1e-6)


def test_kinds_and_values(rng):
    a = rng.standard_normal((4, 2))
    assert [c.kind for c in CONSTRAINTS.values()] == KINDS
    for name, constraint in CONSTRAINTS.items():
        assert_allclose(constraint.value(jnp.asarray(a)), VALUES[name](a) if name in VALUES else 0)


# Fits


def documented(name, x, w, l2, state):
    """½‖W½∘(T − M)‖² and what the constraint of the first factor adds."""
    weights, factors = jax.tree.map(np.asarray, state)
    m = np.einsum("r,ir,jr,kr->ijk", weights, *factors)
    total = np.sum(w * (x - m) ** 2) / 2
    if name in VALUES:
        assert np.array_equal(weights, np.ones(2))
        total += VALUES[name](factors[0]) + l2 / 2 * sum(np.sum(a**2) for a in factors)
    return total


def generic(name, x, w, l2, result):
    """The same objective by SLSQP, from where the fit ended."""
    shape, rank = x.shape, 2
    ends = np.cumsum([n * rank for n in shape])[:-1]

    def factors(v):
        return [part.reshape(-1, rank) for part in np.split(v, ends)]

    def objective(v):
        a = factors(v)
        residual = np.einsum("ir,jr,kr->ijk", *a) - x
        total, slope = np.sum(w * residual**2) / 2, w * residual
        slopes = [
            np.einsum("ijk,jr,kr->ir", slope, a[1], a[2]),
            np.einsum("ijk,ir,kr->jr", slope, a[0], a[2]),
            np.einsum("ijk,ir,jr->kr", slope, a[0], a[1]),
        ]
        if name in VALUES:
            total += VALUES[name](a[0]) + l2 / 2 * sum(np.sum(b**2) for b in a)
            added = WEIGHT * np.sign(a[0]) if name == "l1" else RIDGE * a[0]
            slopes = [s + l2 * b for s, b in zip(slopes, a, strict=True)]
            slopes[0] = slopes[0] + added
        return total, np.concatenate([s.ravel() for s in slopes])

    weights, given = jax.tree.map(np.asarray, result.cp)
    start = [given[0], given[1], given[2] * weights]
    bounds, rules = [(None, None)] * sum(n * rank for n in shape), []
    if name == "l1":  # on the orthant where it ended
        signs = np.sign(given[0]).ravel()
        bounds[: signs.size] = [(0 if s >= 0 else None, 0 if s <= 0 else None) for s in signs]
    if name in ("nonnegative", "box") or "sum one" in name:
        bounds[: shape[0] * rank] = [(0, 0.5 if name == "box" else None)] * (shape[0] * rank)
    if "sum one" in name:
        axis = 0 if "columns" in name else 1
        rules.append({"type": "eq", "fun": lambda v: factors(v)[0].sum(axis=axis) - 1})
    held = [0] if name == "ball" else [1, 2] if name in VALUES and not l2 else []
    for n in held:
        most = RADIUS if name == "ball" else 1
        rules.append(
            {
                "type": "ineq",
                "fun": lambda v, n=n, most=most: most**2 - np.sum(factors(v)[n] ** 2, axis=0),
            }
        )
    found = scipy.optimize.minimize(
        objective,
        np.concatenate([a.ravel() for a in start]),
        jac=True,
        method="SLSQP",
        bounds=bounds,
        constraints=rules,
        options={"maxiter": 300, "ftol": 1e-12},
    )
    return found.fun


@pytest.mark.parametrize(
    ("name", "weighted"),
    [
        ("nonnegative", True),
        ("columns of sum one", True),
        ("rows of sum one", True),
        ("ball", False),
        ("l1", True),
        ("squares", True),
        ("box", False),
    ],
)
def test_als_obeys_descends_and_ends_where_a_generic_solver_stays(name, weighted, rng):
    x = noisy(rng)
    w = rng.uniform(size=SHAPE) * (rng.uniform(size=SHAPE) > 0.2) if weighted else np.ones(SHAPE)
    tensor = Dense(np.where(w == 0, np.nan, x), w) if weighted else x
    l2 = 0.1 if name == "squares" else 0.0
    every, options = [], {"constraints": {0: CONSTRAINTS[name]}, "l2": l2, "tol": 0}
    key = jax.random.key(1) if name == "box" else KEY  # from KEY it crawls
    result = cp.als(
        tensor, 2, key=key, max_iters=800, callback=lambda s: every.append(s.cp), **options
    )
    cost = partial(documented, name, x, w, l2)
    factors = [np.asarray(a) for a in result.cp.factors]
    holds(name, factors[0])
    if name not in VALUES:
        assert np.all(np.asarray(result.cp.weights) >= 0)
        for a in factors[1:]:
            assert_allclose(np.linalg.norm(a, axis=0), 1)
    elif not l2:
        assert all(np.all(np.linalg.norm(a, axis=0) <= 1 + 1e-9) for a in factors[1:])
    model = np.asarray(result.cp.full())
    error = np.sqrt(np.sum(w * (x - model) ** 2) / np.sum(w * x**2))
    assert_allclose(result.relative_error, error, atol=1e-9)
    assert result.stationarity < 1e-4

    costs = [cost(model) for model in every]
    assert np.all(np.diff(costs) < 1e-3 * costs[0])
    assert cost(result.cp) <= min(costs) + 1e-7 * costs[0]

    found = generic(name, x, w, l2, result)
    assert abs(cost(result.cp) - found) < 1e-5 * costs[0]


def test_components_that_a_bounded_constraint_brings_to_zero_come_back(rng):
    # Both do in the first sweep: their other columns point the wrong way.
    result = cp.als(noisy(rng), 2, key=jax.random.key(3), constraints={0: CONSTRAINTS["box"]})
    assert result.fit > 0.89
    assert np.all(np.asarray(result.cp.weights) < 1e3)


def test_nonnegative_is_the_option(rng):
    x = noisy(rng)
    for fit, options in ((cp.als, {}), (cp.gcp, {"loss": cp.losses.huber(1)})):
        options = options | {"key": KEY, "tol": 0, "max_iters": 5}
        one = fit(x, 2, nonnegative=[0, 2], **options)
        other = fit(x, 2, constraints={0: nonnegative(), -1: nonnegative()}, **options)
        for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
            assert np.array_equal(a, b)


def test_several_constraints_and_a_fixed_mode(rng):
    x, start = noisy(rng), cp.random(KEY, SHAPE, 2)
    options = {"init": start, "fixed_modes": 2, "constraints": {0: simplex(), 1: l1(0.1)}}
    result = cp.als(x, 2, max_iters=50, **options)
    assert np.array_equal(result.cp.factors[2], start.factors[2])
    holds("columns of sum one", np.asarray(result.cp.factors[0]))
    assert np.array_equal(result.cp.weights, np.ones(2))
    assert [c.kind for c in result.objective.constraints] == ["bounded", "penalty", "fixed"]


def test_a_strong_l1_leaves_few_entries(rng):
    x = noisy(rng)
    few, more = (
        np.count_nonzero(cp.als(x, 2, key=KEY, constraints={0: l1(size)}).cp.factors[0])
        for size in (4.0, 1e-3)
    )
    assert few < more == 8


def test_derivatives_through_other_constraints_are_refused(rng):
    x = jnp.asarray(noisy(rng))
    fit = lambda x: cp.als(x, 2, key=KEY, constraints={0: simplex()}, max_iters=3).fit  # noqa: E731
    with pytest.raises(ValueError, match=r"^cp: derivatives through a fit .* constraint Simplex;"):
        jax.grad(fit)(x)
    assert jax.grad(lambda x: fit(jax.lax.stop_gradient(x)) + x[0, 0, 0])(x)[0, 0, 0] == 1
    result = cp.als(x, 2, key=KEY, constraints={0: simplex()}, max_iters=3)
    with pytest.raises(ValueError, match="constraint Simplex"):
        cp.pullback(result, x, result.cp)


def test_numbers_of_constraints_are_batched(rng):
    x = noisy(rng)
    sizes = jnp.array([0.1, 0.4, 1.0])

    @jax.jit
    def fitted(size):
        return cp.als(x, 2, key=KEY, constraints={0: l1(size)}, tol=0, max_iters=10).cp.full()

    batch = jax.jit(jax.vmap(fitted))(sizes)
    for k in range(3):
        assert_allclose(batch[k], fitted(sizes[k]), atol=1e-9)


@partial(jax.tree_util.register_dataclass, data_fields=("least", "most"), meta_fields=())
@dataclass(frozen=True)
class Between(Constraint):
    """Entries between two numbers."""

    least: float
    most: float
    kind = "bounded"

    def prox(self, y, step):
        return jnp.clip(y, self.least, self.most)


def test_a_constraint_of_ones_own(rng):
    result = cp.als(noisy(rng), 2, key=KEY, constraints={1: Between(0.3, 0.5)}, max_iters=100)
    entries = np.asarray(result.cp.factors[1])
    assert (entries.min(), entries.max()) == (0.3, 0.5)
    assert result.fit > 0.8
