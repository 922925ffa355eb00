"""The lazy algebra: every rewriting law, value and derivatives, against dense NumPy oracles."""

import copy
import pickle
import subprocess
import sys
from math import prod
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from structure import largest_array

import jkr
from jkr import operators
from jkr.operators import FaceSplitting, KhatriRao, Kronecker
from jkr.operators._laws import LAWS, _blocks
from jkr.operators._product import Product

KINDS = {"Kronecker": Kronecker, "KhatriRao": KhatriRao, "FaceSplitting": FaceSplitting}
LAZY = SimpleNamespace(K=Kronecker, R=KhatriRao, F=FaceSplitting, H=lambda x: x.H)
DENSE = SimpleNamespace(
    K=oracles.kronecker,
    R=oracles.khatri_rao,
    F=oracles.face_splitting,
    H=lambda x: x.conj().T,
)
# What a law says: the left side's expression (of lazy products, or of dense ones), the shapes of
# its matrices, and what the lazy one is to be.
ARRAY = jax.Array
CASES = {
    "I1": (lambda P, a, b: P.F(a, b).T, KhatriRao, (3, 2), (3, 4)),
    "I4": (lambda P, a, b, k: k * P.F(a, b), FaceSplitting, (3, 2), (3, 4), (1, 1)),
    "I5": (lambda P, a, b, c: P.F(P.F(a, b), c), FaceSplitting, (3, 2), (3, 1), (3, 2)),
    "I7": (lambda P, a, b: P.F(a, b) @ P.R(a.T, b.T), ARRAY, (3, 2), (3, 4)),
    "I8": (lambda P, a, b, c, d: P.F(a, b) @ P.R(c, d), ARRAY, (3, 2), (3, 4), (2, 5), (4, 5)),
    "I9": (
        lambda P, *m: P.F(*m[:4]) @ P.R(*m[4:]),
        *(ARRAY, (3, 2), (3, 1), (3, 4), (3, 2), (2, 2), (1, 2), (4, 2), (2, 2)),
    ),
    "I10": (lambda P, a, b: P.R(a, b).T @ P.R(a, b), ARRAY, (3, 2), (4, 2)),
    "I10H": (lambda P, a, b: P.H(P.R(a, b)) @ P.R(a, b), ARRAY, (3, 2), (4, 2)),
    "I13": (lambda P, a, b, c, d: P.K(a, b) @ P.R(c, d), KhatriRao, (3, 2), (2, 4), (2, 5), (4, 5)),
    "I13 transposed": (
        lambda P, a, b, c, d: P.R(a, b).T @ P.K(c, d).T,
        *(FaceSplitting, (2, 5), (4, 5), (3, 2), (2, 4)),
    ),
    "I15": (
        lambda P, a, b, c, d: P.F(a, b) @ P.K(c, d),
        *(FaceSplitting, (3, 2), (3, 4), (2, 1), (4, 3)),
    ),
    "I15 transposed": (
        lambda P, a, b, c, d: P.K(a, b).T @ P.F(c, d).T,
        *(KhatriRao, (2, 1), (4, 3), (3, 2), (3, 4)),
    ),
    "mixed product": (
        lambda P, a, b, c, d: P.K(a, b) @ P.K(c, d),
        *(Kronecker, (3, 2), (2, 4), (2, 3), (4, 2)),
    ),
    "I16": (
        lambda P, a, z, b, m, c, s: P.F(a, z) @ P.K(b, m) @ P.K(c, s),
        *(FaceSplitting, (3, 2), (3, 4), (2, 3), (4, 2), (3, 2), (2, 3)),
    ),
    "I17": (lambda P, c, d: P.F(c, d) @ P.R(c.T, d.T), ARRAY, (1, 3), (1, 2)),
    "I19": (lambda P, a, c, d: P.R(a, c.T) @ d, ARRAY, (3, 2), (2, 1), (2, 1)),
    "I20": (lambda P, a, c, d: d.T @ P.F(c, a.T), ARRAY, (3, 2), (2, 1), (2, 1)),
    "I21": (lambda P, a, b, c, d: P.F(a, b) @ P.K(c, d), ARRAY, (3, 2), (3, 4), (2, 1), (4, 1)),
    "I21 transposed": (
        lambda P, a, b, c, d: P.K(c.T, d.T) @ P.R(a.T, b.T),
        *(ARRAY, (3, 2), (3, 4), (2, 1), (4, 1)),
    ),
    "I22": (
        lambda P, a, b, m, q, n, p, c, d: P.F(a, b) @ (P.K(m, q) @ P.K(n, p) @ P.K(c, d)),
        *(ARRAY, (3, 2), (3, 1), (2, 3), (1, 2), (3, 2), (2, 2), (2, 1), (2, 1)),
    ),
    "I28": (lambda P, w, a: P.F(w, a) @ P.K(a.T), ARRAY, (3, 1), (3, 2)),
    "I31": (
        lambda P, a, z, b, m, c, s, k, t: P.F(a, z) @ P.K(b, m) @ P.K(c, s) @ P.R(k, t),
        *(ARRAY, (3, 2), (3, 1), (2, 3), (1, 2), (3, 2), (2, 2), (2, 3), (2, 3)),
    ),
    "I32": (
        lambda P, a, z, b, m, c, d: P.F(a, z) @ P.K(b, m) @ P.K(c, d),
        *(ARRAY, (3, 2), (3, 1), (2, 3), (1, 2), (3, 1), (2, 1)),
    ),
    "I33": (
        lambda P, a, z, b, m, p, q, c, d: P.F(a, z) @ P.K(b, m) @ P.K(p @ c, q @ d),
        *(ARRAY, (3, 2), (3, 1), (2, 3), (1, 2), (3, 2), (2, 2), (2, 1), (2, 1)),
    ),
    # A vector or matrix on either side.
    "K x": (lambda P, a, b, x: P.K(a, b) @ x[:, 0], ARRAY, (3, 2), (2, 4), (8, 1)),
    "K X": (lambda P, *m: P.K(*m[:3]) @ m[3], ARRAY, (3, 2), (2, 4), (1, 3), (24, 2)),
    "X K": (lambda P, a, b, x: x @ P.K(a, b), ARRAY, (3, 2), (2, 4), (5, 6)),
    "R x": (lambda P, a, b, x: P.R(a, b) @ x[:, 0], ARRAY, (3, 2), (2, 2), (2, 1)),
    "X R": (lambda P, a, b, x: x @ P.R(a, b), ARRAY, (3, 2), (2, 2), (5, 6)),
    "x F": (lambda P, a, b, x: x[0] @ P.F(a, b), ARRAY, (3, 2), (3, 4), (1, 3)),
    "F X": (lambda P, a, b, x: P.F(a, b) @ x, ARRAY, (3, 2), (3, 4), (8, 2)),
    # Blocks of several factors.
    "(A⊗B)⊗C by D∗E": (
        lambda P, *m: P.K(*m[:3]) @ P.R(*m[3:]),
        *(KhatriRao, (2, 2), (2, 3), (3, 2), (6, 4), (2, 4)),
    ),
    "A•B by C⊗(D⊗E)": (
        lambda P, *m: P.F(*m[:2]) @ P.K(*m[2:]),
        *(FaceSplitting, (2, 2), (2, 6), (2, 3), (3, 1), (2, 2)),
    ),
    "A⊗1⊗B by C⊗D": (
        lambda P, *m: P.K(*m[:3]) @ P.K(*m[3:]),
        *(Kronecker, (2, 2), (2, 1), (3, 2), (2, 3), (2, 2)),
    ),
    "A⊗B by C⊗D⊗1": (
        lambda P, *m: P.K(*m[:2]) @ P.K(*m[2:]),
        *(Kronecker, (2, 2), (3, 2), (2, 3), (2, 2), (1, 3)),
    ),
    "two blocks by two": (
        lambda P, *m: P.F(*m[:3]) @ P.R(*m[3:]),
        *(ARRAY, (3, 2), (3, 3), (3, 2), (3, 2), (2, 2), (2, 2)),
    ),
    # Shapes that conform only as matrices.
    "K R askew": (lambda P, *m: P.K(*m[:2]) @ P.R(*m[2:]), ARRAY, (2, 2), (2, 3), (3, 4), (2, 4)),
    "K K askew": (lambda P, *m: P.K(*m[:2]) @ P.K(*m[2:]), ARRAY, (2, 2), (2, 3), (3, 4), (2, 1)),
    "F R askew": (lambda P, *m: P.F(*m[:2]) @ P.R(*m[2:]), ARRAY, (2, 2), (2, 3), (3, 4), (2, 4)),
    "F K askew": (lambda P, *m: P.F(*m[:2]) @ P.K(*m[2:]), ARRAY, (2, 2), (2, 3), (3, 2), (2, 9)),
    # Pairs without a law.
    "R R": (lambda P, *m: P.R(*m[:2]) @ P.R(*m[2:]), ARRAY, (2, 6), (3, 6), (2, 4), (3, 4)),
    "R F": (lambda P, *m: P.R(*m[:2]) @ P.F(*m[2:]), ARRAY, (2, 3), (3, 3), (3, 2), (3, 4)),
    "R K": (lambda P, *m: P.R(*m[:2]) @ P.K(*m[2:]), ARRAY, (2, 6), (3, 6), (2, 3), (3, 6)),
    "K F": (lambda P, *m: P.K(*m[:2]) @ P.F(*m[2:]), ARRAY, (2, 2), (3, 3), (6, 2), (6, 3)),
    "F F": (lambda P, *m: P.F(*m[:2]) @ P.F(*m[2:]), ARRAY, (2, 2), (2, 3), (6, 2), (6, 2)),
    # One factor is a matrix.
    "K(A) R(C, D)": (lambda P, *m: P.K(m[0]) @ P.R(*m[1:]), ARRAY, (3, 4), (2, 3), (2, 3)),
    "R(A) F(C, D)": (lambda P, *m: P.R(m[0]) @ P.F(*m[1:]), ARRAY, (3, 4), (4, 2), (4, 3)),
    "R(A) K(B)": (lambda P, *m: P.R(m[0]) @ P.K(m[1]), ARRAY, (3, 4), (4, 2)),
    "K(A) K(B)": (lambda P, *m: P.K(m[0]) @ P.K(m[1]), Kronecker, (3, 4), (4, 2)),
}


def draw(shapes, kind, seed=0):
    rng = np.random.default_rng(seed)
    ms = [rng.standard_normal(s) for s in shapes]
    return [m + 1j * rng.standard_normal(m.shape) if kind == "complex" else m for m in ms]


def formed(x):
    return x.to_dense() if isinstance(x, Product) else x


def directional(f, ms, vs):
    """d/dt f(ms + t vs) at 0: exact for a polynomial of degree 8 in t."""
    moved = lambda t: f(*(m + t * v for m, v in zip(ms, vs, strict=True)))  # noqa: E731
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    return sum(w * (moved(t / 4) - moved(-t / 4)) * 4 for t, w in weights.items())


def close(ours, theirs, tolerance=1e-9):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    scale = max(1, np.abs(theirs).max(initial=0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("case", "kind"), [(case, ("complex", "real")[k % 2]) for k, case in enumerate(CASES)]
)
def test_law(case, kind):
    expression, expected, *shapes = CASES[case]
    ms, vs = (tuple(draw(shapes, kind, seed)) for seed in (0, 1))
    lazily, densely = (lambda *ms, P=P: expression(P, *ms) for P in (LAZY, DENSE))

    assert isinstance(lazily(*ms), expected)
    reference = densely(*ms)
    cotangent = jnp.asarray(draw([reference.shape], kind, seed=2)[0])

    f = lambda *ms: formed(lazily(*ms))  # noqa: E731
    slope = directional(densely, ms, vs)
    if kind == "real":
        value, forward = jax.jit(lambda ms, vs: jax.jvp(f, ms, vs))(ms, vs)
        close(forward, slope)
    else:

        @jax.jit
        def value_and_gradient(ms):
            value, pull = jax.vjp(f, *ms)
            return value, pull(cotangent)

        value, reverse = value_and_gradient(ms)
        # Re Σ c·(J v) = Re Σ (Jᵀc)·v, with no conjugate: JAX's convention for cotangents.
        left = np.sum(cotangent * slope).real
        right = sum(np.sum(np.asarray(g) * v).real for g, v in zip(reverse, vs, strict=True))
        assert abs(left - right) <= 1e-9 * max(1, abs(left))
    close(value, reference)


def test_the_table_has_a_case_for_every_law_and_names_it():
    assert len(LAWS) == 4
    for left, right in LAWS:
        # The rule behind all four: crossed columns meet crossed rows.
        assert left.crossed[1]
        assert right.crossed[0]
    text = " ".join(law.label for law in LAWS.values())
    assert all(label in text for label in ("I7", "I8", "I9", "I10", "I13", "I15", "I21"))


def test_I34():
    f1, f2 = np.array([[1.0, 0], [0, 1], [1, 0]]), np.array([[1.0, 0], [1, 0], [0, 1]])
    h = np.array([[1.0, 1], [1, -1]])
    (s, r, x, y) = draw([(2,), (2,), (2, 1), (2, 1)], "real")
    chain = Kronecker(h, h) @ Kronecker(np.diag(s), np.diag(r)) @ KhatriRao(x, y)
    close(FaceSplitting(f1, f2) @ chain, (f1 @ h @ np.diag(s) @ x) * (f2 @ h @ np.diag(r) @ y))


def test_blocks_are_runs_of_factors_that_multiply_to_the_same_and_no_run_splits(rng):
    split = 0
    for _ in range(300):
        sizes = rng.choice([0, 1, 2, 2, 3], rng.integers(1, 5), p=[0.03, 0.27, 0.3, 0.2, 0.2])
        left, right = list(sizes), list(rng.permutation(sizes)) + [1] * int(rng.integers(0, 2))
        for side in (left, right):
            while len(side) > 1 and rng.random() < 0.3:
                side.append(side.pop() * side.pop())
        runs = _blocks(left, right)
        cover = [left[i] for i, _ in runs], [right[j] for _, j in runs]
        assert sum(cover[0], []) == left
        assert sum(cover[1], []) == right
        for a, b in zip(*cover, strict=True):
            assert prod(a) == prod(b)
            firsts = {prod(a[:n]) for n in range(1, len(a))} & {
                prod(b[:n]) for n in range(1, len(b))
            }
            assert firsts <= {0, 1, prod(a)}
        split += len(runs) > 1
    assert split > 30


# --- operators as arrays -------------------------------------------------------------------

OPERANDS = {
    "Kronecker": ((3, 2), (2, 4)),
    "KhatriRao": ((3, 2), (4, 2)),
    "FaceSplitting": ((3, 2), (3, 4)),
}


def example(name, kind="complex", seed=0):
    ms = draw(OPERANDS[name], kind, seed)
    return KINDS[name](*ms), {**vars(DENSE)}[{"Kr": "K", "Kh": "R", "Fa": "F"}[name[:2]]](*ms)


@pytest.mark.parametrize("name", OPERANDS)
def test_attributes(name):
    op, dense = example(name)
    assert op.shape == dense.shape
    assert op.dtype == dense.dtype
    close(op.to_dense(), dense)
    close(op.T.to_dense(), dense.T)
    close(op.H.to_dense(), dense.conj().T)
    close(op.norm(), np.linalg.norm(dense))
    shapes = ", ".join(map(str, OPERANDS[name]))
    assert repr(op) == f"{name}({shapes}, dtype=complex128)"
    close((type(op)(op, op.factors[0])).to_dense(), type(op)(*op.factors, op.factors[0]).to_dense())


@pytest.mark.parametrize("name", OPERANDS)
def test_arrays_on_the_left(name):
    op, dense = example(name)
    x = draw([(5, dense.shape[0])], "complex")[0]
    for left in (x, jnp.asarray(x), x[0], jnp.asarray(x)[0]):
        out = left @ op
        assert isinstance(out, jax.Array)
        close(out, np.asarray(left) @ dense)
    close(x.tolist() @ op, x @ dense)
    close(jax.jit(lambda x, op: x @ op)(x, op), x @ dense)


@pytest.mark.parametrize("name", OPERANDS)
def test_scalars_and_weights(name):
    op, dense = example(name)
    assert isinstance(2 * op, type(op))
    for k in (2, 2.5, 1j, np.float64(2.5), np.asarray(2.5), jnp.asarray(2.5 + 0j)):
        if isinstance(k, np.floating | np.ndarray):
            k = k.astype(complex)  # dtypes are strict here
        close((k * op).to_dense(), complex(k) * dense)
        close((op * k).to_dense(), complex(k) * dense)
    close((op / 4).to_dense(), dense / 4)
    close((-op).to_dense(), -dense)
    rows, columns = ([s[axis] for s in OPERANDS[name]] for axis in (0, 1))
    rows = rows if op.crossed[0] else rows[:1]
    columns = columns if op.crossed[1] else columns[:1]
    us, vs = (draw([(n,) for n in sizes], "complex") for sizes in (rows, columns))
    u, v = (oracles.kronecker(*(w[:, None] for w in ws)) for ws in (us, vs))
    scaled = op.scale_rows(*us).scale_columns(*vs)
    assert type(scaled) is type(op)
    close(scaled.to_dense(), u * dense * v.T)
    if len(us) == 1:
        close((u * op).to_dense(), u * dense)
        close((op * jnp.asarray(u)).to_dense(), u * dense)
    if len(vs) == 1:
        close((v.T * op).to_dense(), v.T * dense)


def test_scaling_promotes_as_arrays_do():
    ints = KhatriRao(np.arange(4).reshape(2, 2), np.arange(6).reshape(3, 2))
    assert (2 * ints).dtype == ints.dtype
    with jax.numpy_dtype_promotion("standard"):
        assert (2.5 * ints).dtype == (ints / 2).dtype == jnp.float64
    single = KhatriRao(*(m.astype("float32") for m in draw([(2, 2), (3, 2)], "real")))
    assert (2.5 * single).dtype == jnp.float32
    with jax.numpy_dtype_promotion("standard"):
        assert (2j * single).dtype == jnp.complex64
    assert single.norm().dtype == jnp.float32


@pytest.mark.parametrize("name", OPERANDS)
def test_a_pytree_under_every_transform(name):
    op, dense = example(name, "real")
    x = draw([dense.shape[1:]], "real")[0]

    def f(op, x):
        return jnp.sum(jnp.cos(op @ x))

    gradient = jax.jit(jax.grad(f))(op, x)
    assert type(gradient) is type(op)
    vs = draw(OPERANDS[name], "real", seed=3)
    moved = lambda t: np.sum(np.cos(  # noqa: E731
        np.asarray(type(op)(*(m + t * v for m, v in zip(op.factors, vs, strict=True))) @ x)
    ))  # fmt: skip
    slope = sum(np.sum(np.asarray(g) * v) for g, v in zip(gradient.factors, vs, strict=True))
    assert abs(slope - (moved(1e-5) - moved(-1e-5)) / 2e-5) < 1e-8

    ops = jax.tree.map(lambda a: jnp.stack([a, 2 * a, -a]), op)
    xs = jnp.stack([x, x, 3 * x])
    mapped = jax.vmap(lambda op, x: op @ x)(ops, xs)
    close(mapped, np.stack([dense @ x, 4 * dense @ x, 3 * dense @ x]))
    close(jax.vmap(lambda op, x: x @ op.T, (None, 0))(op, xs), xs @ dense.T)
    turned = jax.vmap(lambda op: op.T)(ops)
    assert type(turned) is type(op.T)
    scanned = jax.lax.scan(lambda op, _: (op * 2.0, op.norm()), op, length=3)
    close(scanned[0].to_dense(), 8 * dense)
    close(scanned[1], np.linalg.norm(dense) * np.array([1, 2, 4]))
    assert type(jax.eval_shape(lambda op: op.H, op)) is type(op.T)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(op)]
    assert paths == [".factors[0]", ".factors[1]"]


def test_immutable_and_copied():
    op, dense = example("KhatriRao")
    with pytest.raises(AttributeError):
        op.factors = ()
    for other in (copy.deepcopy(op), pickle.loads(pickle.dumps(op))):
        close(other.to_dense(), dense)


def test_never_an_array_by_accident():
    op, _ = example("KhatriRao")
    for form in (np.asarray, lambda op: jnp.asarray(op), lambda op: np.ones((2, 12)).dot(op)):
        with pytest.raises(TypeError):
            form(op)
    with pytest.raises(ValueError, match="needs matrices of numbers, got KhatriRao"):
        FaceSplitting(op)
    with pytest.raises(ValueError, match="pass its factors"):
        jkr.khatri_rao_matmul(op, np.ones(2))


@pytest.mark.parametrize(
    ("case", "dtype"),
    [("I8", "bfloat16"), ("I8", "int8"), ("I13", "float32"), ("K X", "complex64"), ("R F", "int8")],
)
def test_dtypes_are_kept(case, dtype):
    expression, _, *shapes = CASES[case]
    ms = [np.random.default_rng(n).integers(-2, 3, s) for n, s in enumerate(shapes)]
    out = formed(expression(LAZY, *(jnp.asarray(m).astype(dtype) for m in ms)))
    assert out.dtype == dtype
    reference = expression(DENSE, *ms)
    assert np.abs(reference).max() < 128
    np.testing.assert_array_equal(out.astype(complex), reference)


@pytest.mark.parametrize("shapes", [((0, 2), (3, 2)), ((2, 0), (3, 0))], ids=str)
def test_empty_axes(shapes):
    op = KhatriRao(*(np.ones(s) for s in shapes))
    rows, columns = op.shape
    assert (op @ np.ones((columns, 2))).shape == (rows, 2)
    assert (op.T @ op).shape == (columns, columns)
    assert (Kronecker(*(np.ones(s).T for s in shapes)) @ op).shape[1] == columns
    assert (KhatriRao(np.ones((2, rows)), np.ones((2, rows))) @ op).shape == (4, columns)
    assert float(op.norm()) == 0


# --- what a Khatri–Rao matrix is wanted for --------------------------------------------------


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gram_and_leverage_scores(kind):
    for shapes in (((3, 3), (4, 3)), ((2, 3), (2, 3), (3, 3))):
        ms = draw(shapes, kind)
        dense = oracles.khatri_rao(*ms)
        close(KhatriRao(*ms).gram(), dense.conj().T @ dense)
        scores = KhatriRao(*ms).leverage_scores()
        close(scores, np.diag(dense @ np.linalg.pinv(dense)).real)
    dependent = [
        np.concatenate([m, m[:, :1]], axis=1) for m in draw(((3, 2), (4, 2)), kind)
    ]  # R = 3
    scores = np.asarray(KhatriRao(*dependent).leverage_scores())
    close(scores.sum(), 2)  # the rank
    assert scores.min() > -1e-12
    assert scores.max() < 1 + 1e-12


def right_hand_sides(kind):
    ms = draw(((4, 2), (5, 2), (4, 3), (5, 1), (20, 2), (20, 3), (2,)), kind, seed=5)
    model = jkr.cp.CPTensor(ms[6], tuple(ms[:2]))
    return {
        "vector": (ms[4][:, 0], ms[4][:, 0]),
        "matrix": (ms[5], ms[5]),
        "KhatriRao": (KhatriRao(*ms[:2]), oracles.khatri_rao(*ms[:2])),
        "Kronecker": (Kronecker(*ms[2:4]), oracles.kronecker(*ms[2:4])),
        "FaceSplitting": (FaceSplitting(*ms[4:6]), oracles.face_splitting(*ms[4:6])),
        "CP tensor": (model, oracles.full(*model).ravel()),
    }


@pytest.mark.parametrize(
    ("which", "kind"),
    [(which, "complex") for which in right_hand_sides("complex")]
    + [("KhatriRao", "real"), ("CP tensor", "real")],
)
def test_lstsq(which, kind):
    ms = draw(((4, 3), (5, 3)), kind)
    y, dense_y = right_hand_sides(kind)[which]
    lstsq = jax.jit(KhatriRao.lstsq)
    for l2 in (0.0, 0.7):
        solution = lstsq(KhatriRao(*ms), y, l2)
        K = np.concatenate([oracles.khatri_rao(*ms), np.sqrt(l2) * np.eye(3)])
        padded = np.concatenate([dense_y, np.zeros((3, *dense_y.shape[1:]))])
        close(solution, np.linalg.lstsq(K, padded)[0])


def test_a_model_as_right_hand_side_keeps_complex_weights_and_converts_integers():
    a, b = draw(((3, 2), (4, 2)), "complex")
    weights = np.array([1 + 2j, 3j])
    solution = KhatriRao(a, b).lstsq(jkr.cp.CPTensor(weights, (a, b)))
    close(solution, weights)
    ints = KhatriRao(np.array([[1, 2], [3, 4]]), np.array([[1, 0], [2, 1]]))
    close(ints.lstsq(jkr.cp.CPTensor(np.array([3, 4]), ints.factors)), [3.0, 4.0])
    assert ints.norm().dtype == jnp.float64


SIZES, RANK = (5000, 5000, 5000, 5000), 8


def test_four_thousands_of_rows():
    """6·10¹⁴ rows: nothing larger than the factors is computed, nor their derivatives."""
    ms = [m / 70 for m in draw([(n, RANK) for n in SIZES], "real")]
    ys = [m / 70 for m in draw([(n, 3) for n in SIZES], "real", seed=1)]
    K, Y = KhatriRao(*ms), KhatriRao(*ys)
    assert K.shape == (prod(SIZES), RANK)
    model = jkr.cp.CPTensor(np.array([1.0, -2.0, 3.0]), tuple(Y.factors))
    gram = oracles.hadamard(*(m.T @ m for m in ms))
    cross = oracles.hadamard(*(m.T @ y for m, y in zip(ms, ys, strict=True)))
    close(K.gram(), gram)
    close(K.norm(), np.sqrt(np.trace(gram)))
    close(K.lstsq(Y), np.linalg.solve(gram, cross))
    close(K.lstsq(model, l2=0.1), np.linalg.solve(gram + 0.1 * np.eye(8), cross @ model.weights))
    close((Kronecker(*(m.T for m in ms)) @ Y).to_dense().shape, (RANK**4, 3))
    for f in (
        lambda K: K.norm() + jnp.sum(K.gram()),
        lambda K: jnp.sum(K.lstsq(Y) ** 2),
        lambda K: jnp.sum(K.lstsq(model) ** 2),
    ):
        assert largest_array(f, K) <= SIZES[0] * RANK
        assert largest_array(jax.grad(f), K) <= SIZES[0] * RANK


# --- structure: no product is formed -----------------------------------------------------------

STRUCTURE = {
    "I8": (
        (F := FaceSplitting),
        ((9, 20), (9, 30), (9, 40)),
        KhatriRao,
        ((20, 5), (30, 5), (40, 5)),
    ),
    "I13": (Kronecker, ((8, 20), (9, 30), (9, 40)), KhatriRao, ((20, 5), (30, 5), (40, 5))),
    "I15": (F, ((9, 20), (9, 30), (9, 40)), Kronecker, ((20, 5), (30, 5), (40, 5))),
    "mixed product": (Kronecker, ((8, 20), (9, 30)), Kronecker, ((20, 5), (30, 5))),
    "grouped": (Kronecker, ((8, 5), (8, 4), (9, 30)), KhatriRao, ((20, 5), (30, 5))),
    "F F": (F, ((30, 20), (30, 20), (30, 20)), F, ((8000, 2), (8000, 3))),
    "K F": (Kronecker, ((20, 20), (20, 20)), F, ((400, 2), (400, 3))),
    "R R": (KhatriRao, ((20, 60), (30, 60)), KhatriRao, ((6, 5), (10, 5))),
    "K R askew": (Kronecker, ((20, 20), (20, 30)), KhatriRao, ((30, 5), (20, 5))),
}


@pytest.mark.parametrize("case", STRUCTURE)
def test_the_left_product_is_never_formed(case):
    left, lefts, right, rights = STRUCTURE[case]
    ms = [jnp.ones(s) for s in (*lefts, *rights)]
    n = len(lefts)
    dense = prod(left(*ms[:n]).shape)
    product = lambda *ms: left(*ms[:n]) @ right(*ms[n:])  # noqa: E731
    assert largest_array(product, *ms) < dense
    if isinstance(product(*ms), jax.Array):
        gradient = jax.grad(lambda *ms: jnp.sum(product(*ms) ** 2), tuple(range(len(ms))))
        assert largest_array(gradient, *ms) < dense


@pytest.mark.parametrize("name", OPERANDS)
def test_a_product_with_a_vector_forms_nothing(name):
    shapes = {
        "Kronecker": ((20, 30), (30, 20), (20, 20)),
        "KhatriRao": ((20, 40), (30, 40), (10, 40)),
        "FaceSplitting": ((40, 20), (40, 30), (40, 10)),
    }[name]
    op = KINDS[name](*(jnp.ones(s) for s in shapes))
    x, y = jnp.ones(op.shape[1]), jnp.ones(op.shape[0])
    for f, v in ((lambda op, x: op @ x, x), (lambda op, y: y @ op, y)):
        assert largest_array(f, op, v) < prod(op.shape) / 8
        gradient = jax.grad(lambda op, v, f=f: jnp.sum(f(op, v) ** 2), (0, 1))
        assert largest_array(gradient, op, v) < prod(op.shape) / 8


def test_a_kronecker_product_acts_by_the_factors_that_shrink_first():
    wide, tall = np.ones((2, 50)), np.ones((50, 2))
    for ms in ((wide, tall), (tall, wide)):
        K = Kronecker(*ms)
        assert largest_array(lambda K, x: K @ x, K, np.ones(100)) <= 100


# --- lineax ------------------------------------------------------------------------------------

lineax = pytest.importorskip("lineax", reason="extra `lineax`, which `test` includes")


def positive(kind):
    return Kronecker(*(m @ m.conj().T + np.eye(len(m)) for m in draw(((3, 3), (2, 2)), kind)))


def solvers(kind):
    cg = lineax.CG(rtol=1e-13, atol=1e-13)
    normal, lsmr = lineax.Normal(cg), lineax.LSMR(rtol=1e-13, atol=1e-13)
    tall, wide = (
        op(*draw(s, kind)) for op, s in ((KhatriRao, ((4, 3), (5, 3))), (F, ((3, 2), (3, 4))))
    )
    return {
        "normal CG, KhatriRao": (tall, normal, ()),
        "normal CG, FaceSplitting": (wide, normal, ()),
        "LSMR, KhatriRao": (tall, lsmr, ()),
        "LSMR, FaceSplitting": (wide, lsmr, ()),
        "CG, Kronecker": (positive(kind), cg, lineax.positive_semidefinite_tag),
    }


@pytest.mark.parametrize(
    ("which", "kind"),
    [(which, "real") for which in solvers("real")] + [("normal CG, KhatriRao", "complex")],
)
def test_lineax_solvers(which, kind):
    op, solver, tags = solvers(kind)[which]
    (y,) = draw([op.shape[:1]], kind, seed=7)
    moved, dy = jax.tree.map(lambda a: jnp.cos(a), op), np.sin(y)

    def ours(op, y):
        return lineax.linear_solve(operators.to_lineax(op, tags), y, solver).value

    def theirs(op, y):
        K = op.to_dense()
        L = K.conj().T
        tall = K.shape[0] >= K.shape[1]
        return jnp.linalg.solve(L @ K, L @ y) if tall else L @ jnp.linalg.solve(K @ L, y)

    @jax.jit
    def derivatives(op, y):
        cotangent = lambda x: jnp.cos(x.real).astype(x.dtype)  # noqa: E731
        results = []
        for solve in (ours, theirs):
            value, forward = jax.jvp(solve, (op, y), (moved, dy))
            pulled = jax.vjp(solve, op, y)[1](cotangent(value))
            results.append((value, forward, pulled))
        return results

    one, other = derivatives(op, jnp.asarray(y))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        close(a, b, 1e-7)


def test_a_lineax_operator_says_what_it_is():
    op, dense = example("KhatriRao")
    operator = operators.to_lineax(op)
    close(operator.as_matrix(), dense)
    close(operator.T.as_matrix(), dense.T)
    close(lineax.conj(operator).as_matrix(), dense.conj())
    close(lineax.materialise(operator).as_matrix(), dense)
    assert (operator.out_size(), operator.in_size()) == dense.shape
    assert not lineax.is_symmetric(operator)
    tagged = operators.to_lineax(positive("real"), [lineax.positive_semidefinite_tag])
    assert lineax.is_positive_semidefinite(tagged.T)
    assert not lineax.is_diagonal(tagged)
    close(lineax.diagonal(tagged), np.diag(positive("real").to_dense()))
    close(lineax.tridiagonal(tagged)[1], np.diag(positive("real").to_dense(), -1))
    ints = operators.to_lineax(Kronecker(np.eye(2, dtype=int)))
    assert ints.in_structure().dtype == jnp.float64


def test_lineax_is_imported_when_used_and_missed_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "lineax", None)
    monkeypatch.delitem(sys.modules, "jkr.operators._lineax", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jkr\[lineax\]'"):
        operators.to_lineax(Kronecker(np.eye(2)))
    code = "import sys, jkr.operators; print({'lineax', 'equinox'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "set()"
