"""Programs for other platforms than the one at hand: what they compute, and how.

`lax.platform_dependent` takes the branch for accelerators here, so that a CPU runs it; how programs
look that are lowered for a graphics card is read from their text.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax import lax
from jax.test_util import check_grads
from numpy.testing import assert_allclose
from structure import equations

import jkr
from jkr import cp
from jkr._contractions import _elementwise, _partial, _split
from jkr._contractions._split import long_middle, product_ends
from jkr._linalg import _psd
from jkr._linalg._definite import definite_solve
from jkr._linalg._psd import inverse_root, psd_solve, trusted_solve
from jkr.tensors import Dense

KEY = jax.random.key(0)


@pytest.fixture(autouse=True, scope="module")
def _as_on_an_accelerator():
    patch = pytest.MonkeyPatch()
    patch.setattr(lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    yield
    patch.undo()


@pytest.fixture
def in_two_stages(monkeypatch):
    """However small the tensor is."""
    for module in (_split, _partial):
        monkeypatch.setattr(module, "QUICK", 0)
    monkeypatch.setattr(_split, "_FORM", 10**9)


def arrays(rng, dtype, shape, rank):
    draw = [rng.standard_normal(s) for s in (shape, *[(n, rank) for n in shape])]
    if np.dtype(dtype).kind == "c":
        draw = [a + 1j * rng.standard_normal(a.shape) for a in draw]
    return [jnp.asarray(a, dtype) for a in draw]


# Splits


@pytest.mark.every_turn
@pytest.mark.parametrize(
    ("shape", "s", "ends"),
    [
        ((1000, 1000, 1000), 1, 2),  # one mode by the product
        ((400, 400, 400), 1, 2),
        ((80, 80, 80, 80), 2, 3),
        ((80, 80, 80, 80), 1, 3),
        ((40, 40, 40, 40, 40), 2, 3),
        ((20000, 300, 300), 1, 1),  # rows enough
        ((1000, 1000, 4), 1, 1),  # what the product would write is larger than the tensor
        ((60, 60, 60), 1, 1),  # read in no time
    ],
    ids=str,
)
def test_products_on_an_accelerator_are_of_few_modes(shape, s, ends):
    assert product_ends(shape, s) == ends


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 2, 4), (2, 1, 3, 2, 2), (2, 40, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_contractions_in_two_stages(in_two_stages, shape, dtype, monkeypatch, rng):
    monkeypatch.setattr(_split, "_TURN", 0)
    x, *factors = arrays(rng, dtype, shape, 3)
    expected = [
        oracles.unfold(np.asarray(x), n)
        @ oracles.khatri_rao(*(np.asarray(a) for m, a in enumerate(factors) if m != n))
        for n in range(len(shape))
    ]
    for ys in (jkr.mttkrps(x, factors), [jkr.mttkrp(x, factors, n) for n in range(len(shape))]):
        for y, z in zip(ys, expected, strict=True):
            assert_allclose(y, z, atol=1e-12 * abs(z).max())
    half = [a.real.astype(jnp.bfloat16) for a in (x, *factors)]
    assert all(y.dtype == jnp.bfloat16 for y in jax.eval_shape(jkr.mttkrps, half[0], half[1:]))
    if dtype == "float64":
        f = jax.jit(lambda x, *factors: [jnp.sin(y) for y in jkr.mttkrps(x, factors)])
        check_grads(f, [a / 3 for a in (x, *factors)], order=2, modes=("fwd", "rev"))
        lanes = jax.vmap(f, (0, None, *[0] * (len(shape) - 1)))
        both = [jnp.stack([a, 2 * a]) for a in (x, *factors)]
        both[1] = factors[0]
        second = f(2 * x, factors[0], *(2 * a for a in factors[1:]))
        for y, z in zip(lanes(*both), second, strict=True):
            assert_allclose(y[1], z, atol=1e-12)


@pytest.mark.every_turn
def test_programs_for_a_card_contract_one_mode_at_a_time():
    """Lowered here, for a platform that is not here."""
    x = jax.ShapeDtypeStruct((200, 200, 200), jnp.float32)
    factors = [jax.ShapeDtypeStruct((200, 8), jnp.float32)] * 3

    def text(f, platform):
        traced = jax.jit(f).trace(x, *factors)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    for f in (
        lambda x, *factors: jkr.mttkrps(x, factors),
        lambda x, *factors: jax.grad(
            lambda fs: cp.loss(cp.CPTensor(jnp.ones(8, jnp.float32), fs), x)
        )(factors),
    ):
        undo = pytest.MonkeyPatch()
        undo.setattr(lax, "platform_dependent", PLATFORM_DEPENDENT)
        jax.clear_caches()
        found = {p: _contracted(text(f, p), "200x200x200") for p in ("cpu", "cuda", "tpu")}
        undo.undo()
        jax.clear_caches()
        assert sorted(found["cpu"]) == [1, 2]
        assert sorted(found["cuda"]) == sorted(found["tpu"]) == [1, 1]


PLATFORM_DEPENDENT = lax.platform_dependent


def _contracted(text, operand):
    """How many modes each product contracts of an operand of that shape."""
    products = [line for line in text.splitlines() if "dot_general" in line and operand in line]
    small = [p for p in products if f"tensor<{operand}xf32>" in p]
    return [
        len(re.search(r"contracting_dims = \[([^\]]*)\]", p).group(1).split(",")) for p in small
    ]


# Blocks


@pytest.mark.parametrize("shape", [(9, 8, 7), (4, 5, 3, 6), (50, 3)], ids=str)
def test_blocks_of_an_accelerator_hold_a_share(shape, monkeypatch, rng):
    monkeypatch.setattr(_elementwise, "BLOCK", 50)
    monkeypatch.setattr(_elementwise, "_LEAST", 1)
    monkeypatch.setattr(_elementwise, "_SHARE", 3)
    factors = [jnp.asarray(rng.uniform(0.5, 1, (n, 2))) for n in shape]
    x = jnp.asarray(rng.poisson(2.0, shape), float)
    model = cp.CPTensor(jnp.ones(2), tuple(factors))
    m = np.asarray(model.full())

    def value(factors):
        return cp.loss(cp.CPTensor(jnp.ones(2), factors), x, loss=cp.losses.poisson)

    found, slopes = jax.jit(jax.value_and_grad(value))(tuple(factors))
    assert_allclose(found, np.sum(m - np.asarray(x) * np.log(m + 1e-10)), rtol=1e-6)
    d = 1 - np.asarray(x) / (m + 1e-10)
    for n, slope in enumerate(slopes):
        K = oracles.khatri_rao(*(np.asarray(a) for k, a in enumerate(factors) if k != n))
        assert_allclose(slope, oracles.unfold(d, n) @ K, rtol=1e-6)
    scale = Dense(x).scale()
    assert scale.unit == x.max()
    assert_allclose(scale.norm * scale.unit, np.linalg.norm(x), rtol=1e-12)


@pytest.mark.every_turn
@pytest.mark.parametrize(
    ("entries", "size"),
    [(1000, 1 << 18), (1 << 21, 1 << 22), (400**3, 1 << 22), (1 << 30, 1 << 26), (10**10, 1 << 26)],
)
def test_sizes_of_blocks_on_an_accelerator(entries, size):
    assert _elementwise.with_blocks(lambda size: size, entries) == size


# Solves


def grams(rng, rank, kind, dtype):
    a = rng.standard_normal((3 * rank, rank))
    if np.dtype(dtype).kind == "c":
        a = a + 1j * rng.standard_normal(a.shape)
    if kind == "singular":
        a[:, -1] = a[:, 0] + a[:, 1]
    if kind == "nearly singular":
        a[:, -1] = a[:, 0] + 3e-6 * a[:, -1]
    if kind == "zero column":
        a[:, 1] = 0
    scale = 10.0 ** np.linspace(-8, 8, rank) if kind == "ill scaled" else np.ones(rank)
    b = scale * (a.conj().T @ a @ np.ones(rank))
    return jnp.asarray((a * scale).conj().T @ (a * scale), dtype), jnp.asarray(b, dtype)


KINDS = ("regular", "singular", "nearly singular", "zero column", "ill scaled")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("minimum_norm", [True, False])
def test_both_ways_of_solving_agree(kind, dtype, minimum_norm, rng):
    G, b = grams(rng, 5, kind, dtype)

    def solve(G, b):
        return psd_solve(G, b, minimum_norm=minimum_norm)

    x = solve(G, b)
    F = _psd._eliminated_root(G, minimum_norm=minimum_norm)
    expected = _psd.implicit_solve(lambda v: G @ v, b, lambda v: F.conj().T @ (F @ v))
    # Where one way sees a full rank, so does the other; conditions differ by the kind.
    tolerance = {"nearly singular": 1e-3}.get(kind, 1e-9)
    assert_allclose(x, expected, atol=tolerance * abs(expected).max())
    exact = jax.jvp(
        lambda G, b: _psd.implicit_solve(lambda v: G @ v, b, lambda v: F.conj().T @ (F @ v)),
        (G, b),
        (G, 2 * b),
    )
    found = jax.jvp(solve, (G, b), (G, 2 * b))
    assert_allclose(found[1], exact[1], atol=tolerance * abs(exact[1]).max())
    back = jax.vjp(solve, G, b)[1](jnp.ones_like(b))
    assert all(jnp.all(jnp.isfinite(z)) for z in back)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_batch_is_solved_with_care_where_that_is_needed(dtype, rng):
    several = [grams(rng, 4, kind, dtype) for kind in ("regular", "singular", "zero column")]
    G, b = (jnp.stack(part) for part in zip(*several, strict=True))
    xs = jax.jit(jax.vmap(psd_solve))(G, b)
    for x, H, c in zip(xs, np.asarray(G, float), np.asarray(b, float), strict=True):
        assert_allclose(x, np.linalg.pinv(H, rcond=1e-5) @ c, rtol=2e-3, atol=2e-3)
    trusted, regular = jax.vmap(trusted_solve)(G, b)
    assert_allclose(trusted[0], xs[0], rtol=1e-4)
    assert regular.tolist() == [True, False, False]
    loops = [e for e in equations(jax.make_jaxpr(jax.vmap(inverse_root))(G).jaxpr)]
    assert "while" in {e.primitive.name for e in loops}  # turned by lanes that need it, and no cond


@pytest.mark.parametrize("kind", KINDS)
def test_definite_systems_say_that_they_are_singular(kind, rng):
    G, b = grams(rng, 40, kind, "float64")
    x, singular = jax.jit(definite_solve)(G, b)
    assert bool(singular) == (kind in ("singular", "zero column"))
    assert_allclose(G @ x, b, atol=1e-7 * abs(b).max())


def test_empty_systems(rng):
    x, regular = trusted_solve(jnp.ones((0, 0)), jnp.ones((0, 2)))
    assert x.shape == (0, 2)
    assert regular


# Fits


def _states(x, start, rank, sweeps):
    solver = cp.ALS()
    state = solver.init(x, rank, init=start)
    for _ in range(sweeps):
        state = solver.step(x, state)
    return state


@pytest.mark.parametrize("repeated", [False, True], ids=["regular", "a component twice"])
def test_sweeps_that_trust_their_solves_are_the_sweeps(repeated, rng):
    x = jnp.asarray(rng.standard_normal((6, 5, 4)))
    factors = [rng.standard_normal((n, 3)) for n in x.shape]
    if repeated:
        factors = [np.concatenate([a[:, :2], a[:, :1]], axis=1) for a in factors]
    start = cp.CPTensor(jnp.ones(3), tuple(map(jnp.asarray, factors)))
    result = cp.als(x, 3, init=start, max_iters=4, tol=0.0)
    expected = _states(x, start, 3, 4)
    assert_allclose(result.fit, expected.fit, atol=1e-9)
    assert_allclose(result.cp.full(), expected.cp.full(), atol=1e-7)
    assert jnp.all(jnp.isfinite(result.cp.weights))


def test_a_batch_of_fits(rng):
    """One of whose lanes starts with a component twice."""
    xs = jnp.asarray(rng.standard_normal((3, 6, 5, 4)))
    starts = cp.random(KEY, (6, 5, 4), 3, dtype=float)
    twice = jax.tree.map(lambda a: a.at[..., 2].set(a[..., 0]), starts)
    lanes = jax.tree.map(lambda a, b: jnp.stack([a, b, a]), starts, twice)
    fits = jax.vmap(lambda x, m: cp.als(x, 3, init=m, max_iters=5, tol=0.0).cp.full())(xs, lanes)
    for x, m, found in zip(xs, (starts, twice, starts), fits, strict=True):
        assert_allclose(found, _states(x, m, 3, 5).cp.full(), atol=1e-7)


@pytest.mark.parametrize(
    "fit",
    [
        lambda x: cp.nls(x, 2, key=KEY),
        lambda x: cp.als(x, 2, key=KEY, nonnegative=True),
        lambda x: cp.als(x, 2, key=KEY, l2=1e-3, restarts=3),
        lambda x: cp.als(x, 2, key=KEY, entry_weights=jnp.ones(x.shape).at[0, 0].set(0)),
        lambda x: cp.gcp(x, 2, key=KEY, loss=cp.losses.poisson),
        lambda x: cp.fit(x, 2, key=KEY),
    ],
    ids=["nls", "nonnegative", "l2", "weights", "gcp", "fit"],
)
def test_fits_end_as_they_do(fit, rng):
    truth = cp.CPTensor(
        jnp.ones(2), tuple(jnp.asarray(rng.uniform(size=(n, 2))) for n in (7, 6, 5))
    )
    result = fit(truth.full())
    assert int(result.status) <= 1
    assert result.fit > 0.99


def test_derivatives_of_fits(rng):
    x = jnp.asarray(rng.standard_normal((5, 4, 3)))
    fitted = lambda x: jnp.sum(cp.fit(x, 1, key=KEY).cp.full() ** 2)  # noqa: E731
    slope, h = jax.jit(jax.grad(fitted))(x), 1e-5
    v = jnp.asarray(rng.standard_normal(x.shape))
    central = (fitted(x + h * v) - fitted(x - h * v)) / (2 * h)
    assert_allclose(jnp.vdot(slope, v), central, rtol=1e-6)


def test_a_long_middle_mode_is_one_product_on_an_accelerator(rng):
    shape = (3, 2000, 4)
    assert long_middle(shape) == 1
    x, *factors = arrays(rng, "float64", shape, 2)
    names = {e.primitive.name for e in equations(jax.make_jaxpr(jkr.mttkrps)(x, factors).jaxpr)}
    assert not names & {"scan", "while"}
