"""The transforms table: every public function of arrays is a row, with a dense reference.

A row gives the function of its array arguments alone (everything static closed over), a
reference made of einsum and reshapes, which JAX differentiates plainly, and the shapes.
`test_transforms.py` crosses the rows with the transforms.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jkr
from jkr import cp, glam, operators, sketch
from jkr.operators import FaceSplitting, KhatriRao, Kronecker

PRODUCT_DTYPES = (
    *("float64", "float32", "bfloat16", "float16"),
    *("complex128", "complex64", "int32", "int8", "bool"),
)
INEXACT_DTYPES = ("float64", "float32", "complex128", "complex64")


class Row(NamedTuple):
    """One function (of arrays) and what it should agree with, to so many times eps."""

    function: Callable
    reference: Callable
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...] = INEXACT_DTYPES
    differentiable: bool = True
    rounding: float = 40


def einsum(subscripts, *shape):
    return lambda *ms: jnp.einsum(subscripts, *ms).reshape(shape)


def two_models(w, a, b, v, c, d):
    return cp.CPTensor(w, (a, b)), cp.CPTensor(v, (c, d))


def congruence_reference(one, other):
    pairs = zip(one.factors, other.factors, strict=True)
    norms = lambda a: jnp.sqrt(jnp.sum(jnp.abs(a) ** 2, axis=0, keepdims=True))  # noqa: E731
    unit = lambda a: a / norms(a).astype(a.dtype)  # noqa: E731
    cosines = [jnp.einsum("ir,is->rs", unit(a).conj(), unit(b)) for a, b in pairs]
    return cosines[0] * cosines[1]


def match_reference(one, other):
    alike = jnp.abs(congruence_reference(one, other))
    both = [alike[0, p] + alike[1, q] for p in range(3) for q in range(3) if p != q]
    return jnp.max(jnp.stack(both)) / 2


def rank_one_sweep_reference(x, w, a, b):
    """The best column for the given row, then the best row for that column."""
    a = (x @ b.conj()) / jnp.sum(b * b.conj())
    b = (x.T @ a.conj()) / jnp.sum(a * a.conj())
    return a @ b.T


def rank_one_reference(x, l2=0.0):
    """The best matrix of rank one; l2 on its factors takes as much from the singular value."""
    u, s, v = jnp.linalg.svd(x, full_matrices=False)
    return (s[0] - l2).astype(u.dtype) * u[:, :1] * v[:1]


def of_rank_one(fit, max_iters):
    """A fit of a matrix to its end."""

    def fitted(x):
        return fit(x, 1, key=jax.random.key(0), tol=0, max_iters=max_iters).cp.full()

    return Row(fitted, rank_one_reference, ((3, 3),))


def expanded(small):
    """What a compressed matrix stands for."""
    return jnp.einsum(
        "ia,ab,jb->ij", small.bases[0], small.core, small.bases[1], precision="highest"
    )


SGD = optax.sgd(0.1)


def descended(x, a, b):
    """The model after a step."""
    solver = cp.GCP(optimizer=SGD)
    start = solver.init(x, 1, init=cp.CPTensor(jnp.ones(1, x.dtype), (a, b)))
    return solver.step(x, start).cp.full()


def sgd_step_reference(x, a, b):
    """A step down the gradient of ½‖x − a bᵀ‖², in the units of a start with equal norms."""
    norms = [jnp.sqrt(jnp.sum(jnp.abs(z) ** 2)) for z in (a, b)]
    share = jnp.sqrt(norms[0] * norms[1])
    a, b = (z * (share / n).astype(z.dtype) for z, n in zip((a, b), norms, strict=True))
    residual = a @ b.T - x
    parts = [part for z in (a, b) for part in ((z.real, z.imag) if jnp.iscomplexobj(z) else (z,))]
    size = sum(jnp.sum(part**2) for part in parts) / sum(part.size for part in parts)
    step = (0.1 * size / (jnp.sum(jnp.abs(residual) ** 2) / 2)).astype(x.dtype)
    return (a - step * residual @ b.conj()) @ (b - step * residual.T @ a.conj()).T


STORED = np.array([[2, 0, 3], [0, 1, 1], [2, 1, 0], [0, 0, 2], [2, 0, 0]])  # nothing in row 1


def sparse(values, unstored, entry_weights=None):
    """Of shape (3, 2, 4)."""
    return jkr.tensors.Sparse(
        STORED, values, (3, 2, 4), unstored=unstored, entry_weights=entry_weights
    )


def scattered(values):
    return jnp.zeros((3, 2, 4), values.dtype).at[tuple(STORED.T)].set(values)


def scattered_loss_reference(values, weights, factors):
    """½ Σ w|m − v|² over what is stored."""
    off = jnp.einsum("ir,jr,kr->ijk", *factors)[tuple(STORED.T)] - values
    return jnp.sum(weights.real * (off * off.conj()).real) / 2


SQUARE = np.random.default_rng(6).standard_normal((3, 3))


def largest_singular_value_reference(c):
    """Its cotangent, c times its direction; the weight is real."""
    u, _, v = np.linalg.svd(SQUARE)
    return c[0].real.astype(c.dtype) * jnp.asarray(u[:, :1] * v[:1]).astype(c.dtype)


def condition_reference(w, *factors, entry_weights=None):
    """Orthonormal tangent vectors of every component, side by side, each entry as it weighs."""
    columns = []
    for r in range(w.shape[0]):
        units = [a[:, r] / jnp.linalg.norm(a[:, r]).astype(a.dtype) for a in factors]
        bases = [jnp.linalg.qr(u[:, None], mode="complete")[0][:, 1:] for u in units]
        tangent = [jnp.einsum("a,b,c->abc", *units).reshape(-1, 1)]
        for n, basis in enumerate(bases):
            terms = ["az" if n == 0 else "a", "bz" if n == 1 else "b", "cz" if n == 2 else "c"]
            moved = [*units[:n], basis, *units[n + 1 :]]
            product = jnp.einsum(f"{','.join(terms)}->abcz", *moved)
            tangent.append(product.reshape(-1, basis.shape[1]))
        columns += tangent
    columns = jnp.concatenate(columns, axis=1)
    if entry_weights is not None:
        relative = entry_weights / jnp.max(entry_weights)
        columns = jnp.sqrt(relative).reshape(-1, 1).astype(columns.dtype) * columns
    squares = jnp.linalg.svd(columns, compute_uv=False) ** 2
    return 1 / jnp.sqrt(squares[-1]), squares


def rank_one_errors_reference(x, w, a, b):
    """Of a rank-one matrix λuv: σ for λ, σ√(1 − |u|²)/λ for u, σ√(1 − |v|²)/λ for v."""
    unit = lambda z: z / jnp.linalg.norm(z).astype(z.dtype)  # noqa: E731
    size = jnp.abs(w) * jnp.linalg.norm(a) * jnp.linalg.norm(b)
    residual = x - w[0] * a @ b.T
    noise = jnp.sqrt(jnp.sum(jnp.abs(residual) ** 2) / (x.size - a.size - b.size + 1))
    half = 2 if jnp.iscomplexobj(x) else 1
    columns = (noise * jnp.sqrt(1 - jnp.abs(unit(z)) ** 2) / size[0] for z in (a, b))
    return noise[None] / jnp.sqrt(half).astype(noise.dtype), tuple(columns)


def core_consistency_reference(x, w, a, b):
    """The core by pseudo-inverses of factors whose columns share the size of their component."""
    norms = [jnp.linalg.norm(z, axis=0) for z in (a, b)]
    share = jnp.sqrt(jnp.abs(w) * norms[0] * norms[1]).real
    a, b = (z * (share / n).astype(z.dtype)[None, :] for z, n in zip((a, b), norms, strict=True))
    a = a * (w / jnp.abs(w).astype(w.dtype))[None, :]
    core = jnp.linalg.pinv(a) @ x @ jnp.linalg.pinv(b).T
    return 100 * (1 - jnp.sum(jnp.abs(core - jnp.eye(2, dtype=core.dtype)) ** 2) / 2)


def degeneracy_reference(w, *factors):
    one, other = (jnp.einsum("a,b,c->abc", *(f[:, r] for f in factors)) * w[r] for r in range(2))
    inner = jnp.sum(one.conj() * other).real
    return inner / (jnp.linalg.norm(one.ravel()) * jnp.linalg.norm(other.ravel()))


TWO_MODELS = ((2,), (3, 2), (2, 2), (3,), (3, 3), (2, 3))

PA, PB = ((2, 1), (1, 2)), ((1, 2), (2, 1))  # partitions of two 3×3 matrices


def blocks_reference(subscripts, matching):
    """Blocks by slicing, products of blocks by einsum, put together by concatenation."""

    def split(m, partition):
        rows = jnp.split(m, np.cumsum(partition[0])[:-1], axis=0)
        return [jnp.split(row, np.cumsum(partition[1])[:-1], axis=1) for row in rows]

    def product(x, y):
        z = jnp.einsum(subscripts, x, y)
        rows = x.shape[0] * (y.shape[0] if subscripts[5:].count("k") else 1)
        return z.reshape(rows, -1)

    def reference(pa, pb):
        def f(a, b):
            xs, ys = split(a, pa), split(b, pb)
            if matching:
                pairs = zip(xs, ys, strict=True)
                return jnp.block(
                    [[product(x, y) for x, y in zip(r, s, strict=True)] for r, s in pairs]
                )
            return jnp.block(
                [[jnp.block([[product(x, y) for y in s] for s in ys]) for x in r] for r in xs]
            )

        return f

    return reference


def model_reference(w, *factors):
    letters = "abcdef"[: len(factors)]
    return jnp.einsum(f"z,{','.join(c + 'z' for c in letters)}->{letters}", w, *factors)


def of_model(method):
    return lambda w, *factors: method(cp.CPTensor(w, factors))


def mttkrp_reference(n, order):
    letters = "abcdef"[:order]
    others = ",".join(c + "z" for m, c in enumerate(letters) if m != n)

    def f(x, *factors):
        kept = [a for m, a in enumerate(factors) if m != n]
        if not kept:  # a vector: the product over no factors is one
            return x[:, None] * jnp.ones_like(factors[0])
        return jnp.einsum(f"{letters},{others}->{letters[n]}z", x, *kept)

    return f


def normalize_reference(w, *factors):
    norms = [jnp.sqrt(jnp.sum((a * a.conj()).real, axis=0)) for a in factors]
    for norm in norms:
        w = w * norm.astype(w.dtype)
    return w, tuple(a / n[None, :].astype(a.dtype) for a, n in zip(factors, norms, strict=True))


def dense_khatri_rao(*ms):
    letters = "abcdef"[: len(ms)]
    product = jnp.einsum(f"{','.join(c + 'z' for c in letters)}->{letters}z", *ms)
    return product.reshape(-1, ms[0].shape[1])


def lstsq_reference(l2):
    def f(a, b, y):
        K = dense_khatri_rao(a, b)
        G = K.conj().T @ K + l2 * jnp.eye(K.shape[1], dtype=K.dtype)
        b = K.conj().T @ y
        return jnp.linalg.solve(G, b[:, None])[:, 0] if b.ndim == 1 else jnp.linalg.solve(G, b)

    return f


def weighted_gram_reference(w, *factors):
    b, c = factors[1:]
    return jnp.einsum("ijk,jr,kr,js,ks->irs", w.astype(b.dtype), b.conj(), c.conj(), b, c)


def loss_reference(x, weights, *factors, entry_weights=None):
    residual = x - model_reference(weights, *factors)
    squares = (residual * residual.conj()).real
    return jnp.sum(squares if entry_weights is None else squares * entry_weights) / 2


def rational(m, x):
    """An elementwise loss of complex arguments that is not one of least squares."""
    squares = ((m - x) * (m - x).conj()).real
    return squares / (1 + squares) + 0.1 * (m * x.conj()).real


def exposed(m, x, c):
    """One that takes a constant of each entry."""
    return rational(c.astype(m.dtype) * m, x)


def huber_reference(m, x):
    far = jnp.abs(m - x) > 0.5
    return jnp.where(far, 0.5 * jnp.abs(m - x) - 0.125, (m - x) ** 2 / 2)


# Real in the table: what the two complex ones do is in the rows of `cp.loss` and `cp.gcp`.
TINY = 1e-10  # of the paper, added where m = 0 would leave the domain
LOSSES = {
    "gaussian": (cp.losses.gaussian, lambda m, x: (m - x) ** 2 / 2),
    "huber": (cp.losses.huber(0.5), huber_reference),
    "poisson": (cp.losses.poisson, lambda m, x: m - x * jnp.log(m + TINY)),
    "poisson_log": (cp.losses.poisson_log, lambda m, x: jnp.exp(m) - x * m),
    "bernoulli_odds": (
        cp.losses.bernoulli_odds,
        lambda m, x: jnp.log(1 + m) - x * jnp.log(m + TINY),
    ),
    "bernoulli_logit": (
        cp.losses.bernoulli_logit,
        lambda m, x: jnp.log(1 + jnp.exp(m)) - x * m,
    ),
    "negative_binomial": (
        cp.losses.negative_binomial(2),
        lambda m, x: (2 + x) * jnp.log(1 + m) - x * jnp.log(m + TINY),
    ),
    "gamma": (cp.losses.gamma, lambda m, x: x / (m + TINY) + jnp.log(m + TINY)),
    "rayleigh": (
        cp.losses.rayleigh,
        lambda m, x: 2 * jnp.log(m + TINY) + jnp.pi / 4 * x**2 / (m + TINY) ** 2,
    ),
    "beta_divergence": (
        cp.losses.beta_divergence(1.5),
        lambda m, x: (m + TINY) ** 1.5 / 1.5 - x * (m + TINY) ** 0.5 / 0.5,
    ),
}


def simplex_reference(y, *_):
    """Column by column: the largest entries, less what makes their sum one; zeros."""
    columns = []
    for column in y.T:
        falling = jnp.sort(column)[::-1]
        excess = (jnp.cumsum(falling) - 1) / jnp.arange(1, len(y) + 1).astype(y.dtype)
        count = jnp.sum(falling > excess)
        columns.append(jnp.maximum(column - excess[count - 1], 0))
    return jnp.stack(columns, axis=1)


def ball_reference(y, radius):
    norms = jnp.sqrt(jnp.sum(y**2, axis=0, keepdims=True))
    return y * jnp.minimum(1, radius / norms)


# A constraint and its proximal operator, of a matrix and of two positive numbers: the step, and one
# that the constraint depends on. Both are multiplied where it is a penalty.
CONSTRAINTS = {
    "nonnegative": (
        lambda size: cp.constraints.nonnegative(),
        lambda y, *_: jnp.where(y > 0, y, 0),
    ),
    "simplex": (lambda size: cp.constraints.simplex(), simplex_reference),
    "ball": (cp.constraints.ball, lambda y, step, size: ball_reference(y, size)),
    "l1": (
        cp.constraints.l1,
        lambda y, step, size: jnp.sign(y) * jnp.maximum(jnp.abs(y) - step * size, 0),
    ),
    "prox": (
        lambda size: cp.constraints.prox(
            jax.tree_util.Partial(lambda size, y, step: y / (1 + step * size), size)
        ),
        lambda y, step, size: y / (1 + step * size),
    ),
}


def at_positive(f):
    """As a function of a real matrix and of positive numbers, whatever comes."""
    return lambda y, step, size: f(y.real, 0.5 + jnp.abs(step), 0.5 + jnp.abs(size))


def dense_kronecker(a, b):
    return einsum("ij,kl->ikjl", a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])(a, b)


def leverage_reference(a, b):
    K = dense_khatri_rao(a, b)
    return jnp.diagonal(K @ jnp.linalg.solve(K.conj().T @ K, K.conj().T)).real


def of_sketch(dims, size, form):
    """A function of (S, arguments), S of a fixed draw, and the same of S as a dense array."""
    # By NumPy, because the table is imported by every process that runs tests.
    rng = np.random.default_rng(0)
    places = [jnp.asarray(rng.integers(0, size, n), "int32") for n in dims]
    signs = [jnp.asarray(rng.choice([-1, 1], n), "int8") for n in dims]
    pairs = zip(places, signs, strict=True)
    S = sketch.TensorSketch(tuple(sketch.CountSketch(*pair, size) for pair in pairs))
    dense = np.zeros((size, *dims))
    for cell in np.ndindex(*dims):
        parts = list(zip(S.sketches, cell, strict=True))
        place = sum(int(C.indices[i]) for C, i in parts) % size
        dense[(place, *cell)] = np.prod([int(C.signs[i]) for C, i in parts])
    dense = dense.reshape(size, -1)
    return (
        lambda *args: form(S, *args),
        lambda *args: form(jnp.asarray(dense).astype(args[0].dtype), *args),
    )


def one_part(S):
    return S if isinstance(S, jax.Array) else S.sketches[0]


def polynomial_reference(dense, x, gamma, coef0):
    """S z⊗z, z = (√γ x, √c), of a dense S."""
    root = lambda c: jnp.sqrt((c * c.conj()).real).astype(x.dtype)  # noqa: E731
    z = jnp.concatenate([root(gamma) * x, jnp.full_like(x[:, :1], 1) * root(coef0)], axis=1)
    return jnp.einsum("zab,na,nb->nz", dense.reshape(-1, z.shape[1], z.shape[1]), z, z)


def real_of(x):
    return x.real.astype(x.dtype)


def square_of(x):
    return (x * x.conj()).real


def spline_reference(x, t, degree):
    """The recursion as it stands, a function at a time."""

    def value(j, k, x):
        if k == 0:
            return jnp.where((t[j] <= x) & (x < t[j + 1]), 1.0, 0.0).astype(x.dtype)
        left = (x - t[j]) / (t[j + k] - t[j]) * value(j, k - 1, x)
        right = (t[j + k + 1] - x) / (t[j + k + 1] - t[j + 1]) * value(j + 1, k - 1, x)
        return left + right

    return jnp.stack([value(j, degree, x) for j in range(len(t) - degree - 1)], axis=1)


def moved_knots(t):
    return jnp.arange(-2, 3).astype(t.real.dtype) + jnp.sin(t.real) / 4


def smooth_reference(y, X, w, smoothing):
    w, P = w.astype(y.dtype), jnp.asarray(PENALTIES[1]).astype(y.dtype)
    G = X.conj().T @ (w[:, None] * X)
    hat = jnp.linalg.solve(G + smoothing.astype(y.dtype)[:, None] * P, X.conj().T * w[None, :])
    edf = jnp.trace(hat @ X).real
    rss = jnp.sum(w.real * square_of(y - X @ hat @ y))
    n = jnp.sum(w.real != 0).astype(rss.dtype)
    return X @ hat @ y, n * rss / (n - edf) ** 2


def thousandths(arrays):
    return tuple((1000 * a).astype("int32") for a in arrays)


PENALTIES = [np.diff(np.eye(n), order, axis=0) for n, order in ((2, 1), (3, 2))]
PENALTIES = [D.T @ D for D in PENALTIES]
ENTRY_WEIGHTS = np.random.default_rng(5).uniform(0.5, 2, (3, 2, 4))
FEW, FEW_AND_HALF = ("float64", "complex64"), ("float64", "complex64", "bfloat16")
INEXACT_AND_HALF = ("float64", "float32", "complex128", "complex64", "bfloat16", "float16")

MODEL = ((2,), (3, 2), (2, 2), (4, 2))
TENSOR = ((3, 2, 4), (3, 2), (2, 2), (4, 2))

ROWS: dict[str, list[Row]] = {
    "kronecker": [
        Row(jkr.kronecker, einsum("ij,kl->ikjl", 6, 6), ((2, 3), (3, 2)), PRODUCT_DTYPES),
        Row(
            jkr.kronecker,
            einsum("ij,kl,mn->ikmjln", 8, 6),
            ((2, 3), (2, 1), (2, 2)),
        ),
    ],
    "hadamard": [
        Row(jkr.hadamard, einsum("ij,ij->ij", 2, 3), ((2, 3), (2, 3)), PRODUCT_DTYPES),
        Row(jkr.hadamard, einsum("ij,ij,ij->ij", 2, 3), ((2, 3),) * 3),
    ],
    "khatri_rao": [
        Row(jkr.khatri_rao, einsum("ir,kr->ikr", 6, 3), ((2, 3), (3, 3)), PRODUCT_DTYPES),
        Row(jkr.khatri_rao, einsum("ir,jr,kr->ijkr", 12, 2), ((2, 2), (3, 2), (2, 2))),
        Row(jkr.khatri_rao, lambda a: a, ((2, 3),), PRODUCT_DTYPES),
        Row(
            jkr.khatri_rao,
            lambda a, b: jnp.einsum("xir,kr->xikr", a, b).reshape(2, 6, 3),
            ((2, 2, 3), (3, 3)),
        ),
    ],
    "face_splitting": [
        Row(jkr.face_splitting, einsum("ij,il->ijl", 2, 12), ((2, 3), (2, 4)), PRODUCT_DTYPES),
        Row(jkr.face_splitting, einsum("ij,ik,il->ijkl", 2, 12), ((2, 3), (2, 2), (2, 2))),
    ],
    "penetrating_face": [
        Row(
            jkr.penetrating_face,
            lambda a, b: (a[:, None, :] * b.reshape(2, 2, 3)).reshape(2, 6),
            ((2, 3), (2, 6)),
            PRODUCT_DTYPES,
        )
    ],
    "tracy_singh": [
        Row(
            lambda a, b: jkr.tracy_singh(a, b, PA, PB),
            blocks_reference("ij,kl->ikjl", matching=False)(PA, PB),
            ((3, 3), (3, 3)),
            PRODUCT_DTYPES,
        )
    ],
    "block_khatri_rao": [
        Row(
            lambda a, b: jkr.block_khatri_rao(a, b, PA, PB),
            blocks_reference("ij,kl->ikjl", matching=True)(PA, PB),
            ((3, 3), (3, 3)),
            PRODUCT_DTYPES,
        )
    ],
    "block_face_splitting": [
        Row(
            lambda a, b: jkr.block_face_splitting(a, b, PA, (PA[0], PB[1])),
            blocks_reference("ij,il->ijl", matching=True)(PA, (PA[0], PB[1])),
            ((3, 3), (3, 3)),
            PRODUCT_DTYPES,
        )
    ],
    "block_column_khatri_rao": [
        Row(
            lambda a, b: jkr.block_column_khatri_rao(a, b, PA, (PB[0], PA[1])),
            blocks_reference("ij,kj->ikj", matching=True)(PA, (PB[0], PA[1])),
            ((3, 3), (3, 3)),
            PRODUCT_DTYPES,
        )
    ],
    "vec": [Row(jkr.vec, lambda a: jnp.einsum("ij->ji", a).reshape(6), ((2, 3),), PRODUCT_DTYPES)],
    "unvec": [
        Row(
            lambda v: jkr.unvec(v, (2, 3)),
            lambda v: jnp.einsum("ij->ji", v.reshape(3, 2)),
            ((6,),),
            PRODUCT_DTYPES,
        )
    ],
    "unfold": [
        Row(
            lambda x, n=n: jkr.unfold(x, n),
            lambda x, n=n: jnp.einsum(("ijk->ijk", "ijk->jik", "ijk->kij")[n], x).reshape(
                x.shape[n], -1
            ),
            ((2, 3, 4),),
            PRODUCT_DTYPES,
        )
        for n in range(3)
    ],
    "fold": [
        Row(
            lambda m: jkr.fold(m, 1, (2, 3, 4)),
            lambda m: jnp.einsum("jik->ijk", m.reshape(3, 2, 4)),
            ((3, 8),),
            PRODUCT_DTYPES,
        )
    ],
    "mttkrp": [
        Row(
            lambda x, *factors, n=n: jkr.mttkrp(x, factors, n),
            mttkrp_reference(n, 3),
            TENSOR,
            INEXACT_AND_HALF,
        )
        for n in range(3)
    ],
    "mttkrps": [
        Row(
            lambda x, *factors: jkr.mttkrps(x, factors),
            lambda x, *factors: tuple(
                mttkrp_reference(n, x.ndim)(x, *factors) for n in range(x.ndim)
            ),
            shapes,
            dtypes,
        )
        for shapes, dtypes in (
            (TENSOR, INEXACT_AND_HALF),
            (((2, 3, 2, 2), (2, 2), (3, 2), (2, 2), (2, 2)), INEXACT_DTYPES),
            (((3,), (3, 2)), INEXACT_DTYPES),
        )
    ],
    "khatri_rao_gram": [
        Row(
            jkr.khatri_rao_gram,
            lambda *ms: dense_khatri_rao(*ms).conj().T @ dense_khatri_rao(*ms),
            shapes,
            INEXACT_AND_HALF,
        )
        for shapes in (((3, 2), (2, 2), (4, 2)), ((3, 2),))
    ],
    "khatri_rao_matmul": [
        Row(
            lambda a, b, x: jkr.khatri_rao_matmul([a, b], x),
            lambda a, b, x: dense_khatri_rao(a, b) @ x,
            ((3, 2), (4, 2), tail),
            INEXACT_AND_HALF,
        )
        for tail in ((2,), (2, 3))
    ],
    "khatri_rao_rmatmul": [
        Row(
            lambda a, b, y: jkr.khatri_rao_rmatmul([a, b], y),
            lambda a, b, y: dense_khatri_rao(a, b).conj().T @ y,
            ((3, 2), (4, 2), tail),
            INEXACT_AND_HALF,
        )
        for tail in ((12,), (12, 3))
    ],
    "face_splitting_matmul": [
        Row(
            lambda a, b, x: jkr.face_splitting_matmul([a, b], x),
            lambda a, b, x: dense_khatri_rao(a.T, b.T).T @ x,
            ((3, 2), (3, 4), tail),
            INEXACT_AND_HALF,
        )
        for tail in ((8,), (8, 3))
    ],
    "khatri_rao_lstsq": [
        Row(
            lambda a, b, y, l2=l2: jkr.khatri_rao_lstsq([a, b], y, l2=l2),
            lstsq_reference(l2),
            ((3, 2), (4, 2), tail),
            INEXACT_AND_HALF,
        )
        for tail, l2 in (((12,), 0.0), ((12, 3), 0.5))
    ],
    "weighted_gram": [
        Row(
            lambda w, *factors: jkr.weighted_gram(w.real, factors, 0),
            lambda w, *factors: weighted_gram_reference(w.real, *factors),
            TENSOR,
        )
    ],
    "cp.loss": [
        Row(
            lambda x, w, *factors: cp.loss(cp.CPTensor(w, factors), x),
            loss_reference,
            ((3, 2, 4), *MODEL),
            INEXACT_AND_HALF,
        ),
        Row(
            lambda x, w, *factors: cp.loss(
                cp.CPTensor(w, factors), x, entry_weights=ENTRY_WEIGHTS.astype(x.real.dtype)
            ),
            lambda *args: loss_reference(
                *args, entry_weights=ENTRY_WEIGHTS.astype(args[0].real.dtype)
            ),
            ((3, 2, 4), *MODEL),
        ),
        Row(
            lambda x, w, *factors: cp.loss(cp.CPTensor(w, factors), x, loss=rational),
            lambda x, w, *factors: jnp.sum(rational(model_reference(w, *factors), x)),
            ((3, 2, 4), *MODEL),
        ),
        Row(
            lambda c, x, w, *factors: cp.loss(
                cp.CPTensor(w, factors), x, loss=exposed, entry_constants=square_of(c)
            ),
            lambda c, x, w, *factors: jnp.sum(
                exposed(model_reference(w, *factors), x, jnp.broadcast_to(square_of(c), x.shape))
            ),
            ((2, 1), (3, 2, 4), *MODEL),
        ),
        Row(
            lambda v, x, w, *factors: cp.loss(
                cp.CPTensor(w, factors), x, entry_weights=(v * v.conj()).real
            ),
            lambda v, *args: loss_reference(*args, entry_weights=(v * v.conj()).real),
            ((3, 2, 4), (3, 2, 4), *MODEL),
        ),
    ],
    **{
        f"cp.losses.{name}": [
            Row(
                lambda m, x, loss=loss: loss(0.5 + jnp.abs(m), jnp.abs(x)),
                lambda m, x, f=f: f(0.5 + jnp.abs(m), jnp.abs(x)),
                ((2, 3), (2, 3)),
                ("float64", "float32"),
            )
        ]
        for name, (loss, f) in LOSSES.items()
    },
    "cp.CPTensor.full": [Row(of_model(cp.CPTensor.full), model_reference, MODEL, INEXACT_AND_HALF)],
    "cp.CPTensor.at": [
        Row(
            of_model(lambda m: m.at(STORED)),
            lambda *m: model_reference(*m)[tuple(STORED.T)],
            MODEL,
        )
    ],
    "cp.CPTensor.norm": [
        Row(
            of_model(cp.CPTensor.norm),
            lambda *m: jnp.sqrt(jnp.sum(jnp.abs(model_reference(*m)) ** 2)),
            MODEL,
            INEXACT_AND_HALF,
        )
    ],
    "cp.CPTensor.inner": [
        Row(
            lambda w, a, b, v, c, d: cp.CPTensor(w, (a, b)).inner(cp.CPTensor(v, (c, d))),
            lambda w, a, b, v, c, d: jnp.sum(
                model_reference(w, a, b).conj() * model_reference(v, c, d)
            ),
            ((2,), (3, 2), (2, 2), (3,), (3, 3), (2, 3)),
        )
    ],
    "cp.CPTensor.normalize": [
        Row(of_model(cp.CPTensor.normalize), normalize_reference, MODEL, INEXACT_AND_HALF)
    ],
    "cp.CPTensor.arrange": [
        Row(
            lambda *m: (lambda arranged: (arranged.full(), arranged.weights))(
                cp.CPTensor(m[0], m[1:]).arrange()
            ),
            lambda *m: (
                model_reference(*m),
                (lambda w: -jnp.sort(-jnp.abs(w)).astype(w.dtype))(normalize_reference(*m)[0]),
            ),
            MODEL,
        )
    ],
    "cp.CPTensor.mode_dot": [
        Row(
            lambda m, w, *factors: cp.CPTensor(w, factors).mode_dot(m, 1).full(),
            lambda m, *model: jnp.einsum("ijk,lj->ilk", model_reference(*model), m),
            ((3, 2), *MODEL),
        ),
        Row(
            lambda v, w, *factors: cp.CPTensor(w, factors).mode_dot(v, 2).full(),
            lambda v, *model: jnp.einsum("ijk,k->ij", model_reference(*model), v),
            ((4,), *MODEL),
        ),
    ],
    "cp.CPTensor.take": [
        Row(
            lambda w, *factors: cp.CPTensor(w, factors).take([2, 0], 0).take(-1, 2).full(),
            lambda *model: model_reference(*model)[::-2, :, -1],
            MODEL,
        )
    ],
    "cp.congruence": [
        Row(
            lambda *m: cp.congruence(*two_models(*m)),
            lambda *m: congruence_reference(*two_models(*m)),
            TWO_MODELS,
        )
    ],
    "cp.factor_match_score": [
        Row(
            lambda *m: cp.factor_match_score(*two_models(*m)),
            lambda *m: match_reference(*two_models(*m)),
            TWO_MODELS,
        )
    ],
    "cp.project": [
        Row(
            lambda x, w, b, c: cp.project(cp.CPTensor(w, (jnp.zeros_like(b), b, c)), x, 0),
            lambda x, w, b, c: (
                jnp.linalg.solve(
                    dense_khatri_rao(b, c).conj().T @ dense_khatri_rao(b, c),
                    dense_khatri_rao(b, c).conj().T @ x.reshape(3, -1).T,
                ).T
                / w[None, :]
            ),
            ((3, 2, 4), (2,), (2, 2), (4, 2)),
        )
    ],
    "cp.core_consistency": [
        Row(
            lambda x, w, a, b: cp.core_consistency(cp.CPTensor(w, (a, b)), x),
            core_consistency_reference,
            ((4, 3), (2,), (4, 2), (3, 2)),
        )
    ],
    "cp.rank_scan": [
        Row(
            lambda x: (
                lambda scan: (scan.fit[:, 0], scan.core_consistency[0, 0], scan.stability[0])
            )(cp.rank_scan(x, (1,), key=jax.random.key(0), restarts=2, tol=0, max_iters=300)),
            lambda x: (
                1 - jnp.linalg.norm(x - rank_one_reference(x))[None] / jnp.linalg.norm(x),
                100 * jnp.ones((), x.real.dtype),
                jnp.ones((), x.real.dtype),
            ),
            ((3, 3),),
            differentiable=False,
        )
    ],
    "cp.degeneracy": [
        Row(
            of_model(cp.degeneracy),
            degeneracy_reference,
            MODEL,
        )
    ],
    "cp.align": [
        Row(
            lambda *m: cp.align(*two_models(*m)).full(),
            lambda *m: model_reference(m[0], *m[1:3]),
            TWO_MODELS,
        )
    ],
    "cp.ALS": [
        Row(
            lambda x, *m: cp.ALS().init(x, 2, init=cp.CPTensor(m[0], m[1:])).cp.full(),
            lambda x, *m: model_reference(*m),
            ((3, 2, 4), *MODEL),
        ),
        Row(
            lambda x, w, a, b: (
                cp.ALS().step(x, cp.ALS().init(x, 1, init=cp.CPTensor(w, (a, b)))).cp.full()
            ),
            rank_one_sweep_reference,
            ((3, 4), (1,), (3, 1), (4, 1)),
        ),
    ],
    "cp.Solver": [
        Row(
            lambda x, l2: cp.Solver(
                cp.ALS().algorithm, l2=square_of(jnp.tanh(l2)) / 4, tol=0, max_iters=300
            )(x, 1, key=jax.random.key(0)).cp.full(),
            lambda x, l2: rank_one_reference(x, square_of(jnp.tanh(l2)) / 4),
            ((3, 3), ()),
        )
    ],
    "cp.als": [of_rank_one(cp.als, 300)],
    "cp.gcp": [of_rank_one(cp.gcp, 200)],
    "cp.nls": [of_rank_one(cp.nls, 500)],
    "cp.fit": [of_rank_one(cp.fit, 500)],
    "cp.compress": [
        Row(
            lambda a, b: expanded(
                cp.compress(jnp.matmul(a, b.T, precision="highest"), 3, key=jax.random.key(0))
            ),
            lambda a, b: a @ b.T,
            ((4, 2), (5, 2)),
            differentiable=False,  # with its bases held: `test_fit`
        )
    ],
    "cp.NLS": [
        Row(
            lambda x, l2: cp.NLS(l2=square_of(jnp.tanh(l2)) / 4, tol=0, max_iters=500)(
                x, 1, key=jax.random.key(0)
            ).cp.full(),
            lambda x, l2: rank_one_reference(x, square_of(jnp.tanh(l2)) / 4),
            ((3, 3), ()),
        )
    ],
    "cp.GCP": [
        Row(
            lambda x, *m: cp.GCP().init(x, 2, init=cp.CPTensor(m[0], m[1:])).cp.full(),
            lambda x, *m: model_reference(*m),
            ((3, 2, 4), *MODEL),
        ),
        Row(descended, sgd_step_reference, ((3, 4), (3, 1), (4, 1))),
    ],
    **{
        f"cp.constraints.{name}": [
            Row(
                at_positive(lambda y, step, size, of=of: of(size).prox(y, step)),
                at_positive(f),
                ((4, 3), (), ()),
                ("float64", "float32"),
            )
        ]
        for name, (of, f) in CONSTRAINTS.items()
    },
    "tensors.Dense": [
        Row(
            lambda x, v, *factors: jkr.mttkrp(jkr.tensors.Dense(x, square_of(v)), factors, 1),
            lambda x, v, *factors: mttkrp_reference(1, 3)(
                square_of(v).astype(x.dtype) * x, *factors
            ),
            ((3, 2, 4), *TENSOR),
        )
    ],
    "tensors.Sparse": [
        Row(
            lambda v, *factors: jkr.mttkrp(sparse(v, "zero"), factors, 1),
            lambda v, *factors: mttkrp_reference(1, 3)(scattered(v), *factors),
            ((5,), *TENSOR[1:]),
        ),
        Row(
            lambda v, w, *factors: cp.loss(
                cp.CPTensor(jnp.ones(2, v.dtype), factors), sparse(v, "missing", square_of(w))
            ),
            lambda v, w, *factors: scattered_loss_reference(v, square_of(w), factors),
            ((5,), (5,), *TENSOR[1:]),
        ),
    ],
    "cp.pullback": [
        Row(
            lambda c: (
                cp.pullback(
                    cp.als(SQUARE.astype(c.dtype), 1, key=jax.random.key(0), max_iters=300, tol=0),
                    SQUARE.astype(c.dtype),
                    cp.CPTensor(c, (jnp.zeros((3, 1), c.dtype), jnp.zeros((3, 1), c.dtype))),
                ).tensor
            ),
            largest_singular_value_reference,
            ((1,),),
        )
    ],
    # Of the lazy products the table has one kind each; `test_operators.py` has them all.
    "operators.Product.to_dense": [
        Row(
            lambda a, b: Kronecker(a, b).to_dense(),
            dense_kronecker,
            ((2, 3), (3, 2)),
            PRODUCT_DTYPES,
        )
    ],
    "operators.Product.@": [
        Row(
            lambda a, b, x, y: (Kronecker(a, b) @ x, y @ Kronecker(a, b)),
            lambda a, b, x, y: (dense_kronecker(a, b) @ x, y @ dense_kronecker(a, b)),
            ((2, 3), (3, 1), (3, 2), (6,)),
            FEW_AND_HALF,
        ),
    ],
    "operators.Product.norm": [
        Row(
            lambda a, b: FaceSplitting(a, b).norm(),
            lambda a, b: jnp.sqrt(jnp.sum(jnp.abs(dense_khatri_rao(a.T, b.T)) ** 2)),
            ((2, 3), (2, 4)),
            FEW_AND_HALF,
        )
    ],
    "operators.Product.scale_rows": [
        Row(
            lambda a, b, u, v: Kronecker(a, b).scale_rows(u, v).to_dense(),
            lambda a, b, u, v: dense_kronecker(u[:, None] * a, v[:, None] * b),
            ((2, 3), (3, 2), (2,), (3,)),
            FEW_AND_HALF,
        )
    ],
    "operators.Product.scale_columns": [
        Row(
            lambda a, b, w: KhatriRao(a, b).scale_columns(w).to_dense(),
            lambda a, b, w: dense_khatri_rao(a, b) * w[None, :],
            ((3, 2), (4, 2), (2,)),
            FEW_AND_HALF,
        )
    ],
    "operators.KhatriRao.gram": [
        Row(
            lambda a, b: KhatriRao(a, b).gram(),
            lambda a, b: dense_khatri_rao(a, b).conj().T @ dense_khatri_rao(a, b),
            ((3, 2), (4, 2)),
            FEW_AND_HALF,
        )
    ],
    "operators.KhatriRao.lstsq": [
        Row(
            lambda a, b, c, d: KhatriRao(a, b).lstsq(KhatriRao(c, d), 0.5),
            lambda a, b, c, d: lstsq_reference(0.5)(a, b, dense_khatri_rao(c, d)),
            ((3, 2), (4, 2), (3, 1), (4, 1)),
            FEW,
        )
    ],
    "operators.KhatriRao.leverage_scores": [
        Row(
            lambda a, b: KhatriRao(a, b).leverage_scores(),
            leverage_reference,
            ((3, 2), (4, 2)),
            FEW,
        )
    ],
    "operators.to_lineax": [
        Row(
            lambda a, b, x: operators.to_lineax(KhatriRao(a, b)).T.mv(x),
            lambda a, b, x: dense_khatri_rao(a, b).T @ x,
            ((3, 2), (4, 2), (12,)),
            FEW,
        )
    ],
    "sketch.CountSketch.@": [
        Row(
            *of_sketch((5,), 3, lambda S, x, y: tuple(one_part(S) @ z for z in (x, y))),
            ((5,), (5, 2)),
            ("float64", "complex64", "bfloat16", "int8"),
        )
    ],
    "sketch.TensorSketch.@": [
        Row(
            *of_sketch(
                (3, 2),
                5,
                lambda S, x, *ms: (
                    S @ x,
                    *(
                        S @ (kind(*ms).to_dense() if isinstance(S, jax.Array) else kind(*ms))
                        for kind in (KhatriRao, Kronecker)
                    ),
                ),
            ),
            ((6,), (3, 2), (2, 2)),
            FEW_AND_HALF,
        ),
    ],
    "sketch.CountSketch.to_dense": [
        Row(
            lambda: sketch.CountSketch(jnp.array([1, 0]), jnp.array([1, -1]), 3).to_dense(),
            lambda: jnp.array([[0.0, -1.0], [1.0, 0.0], [0.0, 0.0]]),
            (),
            ("float64",),
            differentiable=False,
        )
    ],
    "sketch.TensorSketch.to_dense": [
        Row(
            *(lambda ours, dense: (lambda: ours(jnp.zeros(0)), lambda: dense(jnp.zeros(0))))(
                *of_sketch((2, 3), 4, lambda S, _: S if isinstance(S, jax.Array) else S.to_dense())
            ),
            (),
            ("float64",),
            differentiable=False,
        )
    ],
    "sketch.polynomial_features": [
        Row(
            *of_sketch(
                (3, 3),
                8,
                lambda S, x, gamma, coef0: (
                    polynomial_reference(S, x, gamma, coef0)
                    if isinstance(S, jax.Array)
                    else sketch.polynomial_features(
                        x, S, gamma=square_of(gamma), coef0=square_of(coef0)
                    )
                ),
            ),
            ((3, 2), (), ()),
            FEW_AND_HALF,
        )
    ],
    "glam.fitted": [
        Row(
            lambda a, b, x: glam.fitted([a, b], x),
            lambda a, b, x: jnp.einsum("ai,bj,ij->ab", a, b, x),
            ((3, 2), (4, 3), (2, 3)),
            FEW_AND_HALF,
        )
    ],
    "glam.cross_product": [
        Row(
            lambda a, b, y, w: glam.cross_product([a, b], y, entry_weights=w.real),
            lambda a, b, y, w: jnp.einsum("ai,bj,ab->ij", a.conj(), b.conj(), y * real_of(w)),
            ((3, 2), (4, 3), (3, 4), (3, 4)),
            FEW,
        )
    ],
    "glam.weighted_gram": [
        Row(
            lambda w, *bases: glam.weighted_gram(bases, w.real),
            lambda w, *bases: jnp.einsum(
                "ab,ai,bj,ak,bl->ijkl", real_of(w), *(b.conj() for b in bases), *bases
            ).reshape(6, 6),
            ((3, 4), (3, 2), (4, 3)),
            FEW,
        )
    ],
    "glam.smooth": [  # of two modes in `test_glam.py`
        Row(
            lambda y, a, w, v: glam.smooth(
                y, [a], PENALTIES[1:], square_of(v) + 1, entry_weights=square_of(w)
            )[1:5:3],
            lambda y, a, w, v: smooth_reference(y, a, square_of(w), square_of(v) + 1),
            ((5,), (5, 3), (5,), (1,)),
            FEW,
        ),
    ],
    "glam.bspline_basis": [
        Row(
            lambda x, t: glam.bspline_basis(x.real, moved_knots(t), 1),
            lambda x, t: spline_reference(x.real, moved_knots(t), 1),
            ((4,), (5,)),
            FEW,
        )
    ],
    "glam.uniform_knots": [
        Row(
            lambda low, high: glam.uniform_knots(low.real, high.real, 3, degree=1),
            lambda low, high: low.real + jnp.arange(-1.0, 5) * (high.real - low.real) / 3,
            ((), ()),
            FEW,
        )
    ],
    # Not differentiable: integers in, integers or random numbers out.
    "glam.difference_penalty": [
        Row(
            lambda: glam.difference_penalty(4, order=1),
            lambda: (
                2 * jnp.eye(4).at[0, 0].add(-0.5).at[3, 3].add(-0.5)
                - jnp.eye(4, k=1)
                - jnp.eye(4, k=-1)
            ),
            (),
            ("float64",),
            differentiable=False,
        )
    ],
    "sketch.count_sketch": [
        Row(
            lambda seed: sketch.count_sketch(jax.random.key(seed), 5, 3).indices,
            lambda seed: jax.random.randint(
                jax.random.split(jax.random.key(seed))[0], (5,), 0, 3, "int32"
            ),
            ((),),
            ("int32",),
            differentiable=False,
        )
    ],
    "sketch.tensor_sketch": [
        Row(
            lambda seed: tuple(
                C.signs.astype("int32")
                for C in sketch.tensor_sketch(jax.random.key(seed), (5, 4), 3).sketches
            ),
            lambda seed: tuple(
                jax.random.rademacher(jax.random.split(key)[1], (n,), "int32")
                for key, n in zip(jax.random.split(jax.random.key(seed)), (5, 4), strict=True)
            ),
            ((),),
            ("int32",),
            differentiable=False,
        )
    ],
    "kronecker_permutation": [
        Row(
            lambda: jkr.kronecker_permutation(2, 3, 4, 5),
            lambda: jnp.einsum("acbd->abcd", jnp.arange(120).reshape(2, 4, 3, 5)).reshape(-1),
            (),
            ("int64",),
            differentiable=False,
        )
    ],
    "cp.random": [
        Row(
            lambda seed: thousandths(cp.random(jax.random.key(seed), (2, 3), 2).factors),
            lambda seed: thousandths(
                jnp.split(jax.random.normal(jax.random.key(seed), (5, 2)), [2])
            ),
            ((),),
            ("int32",),
            differentiable=False,
        )
    ],
    # Not differentiable: eigenvalues that coincide, as they do here.
    "cp.condition": [
        Row(
            lambda w, *factors: cp.condition(cp.CPTensor(w, factors)),
            condition_reference,
            MODEL,
            differentiable=False,
            rounding=80,  # the square of a condition of 6, in each of two eigenvalues
        ),
        Row(
            lambda v, w, *factors: (
                cp.condition(cp.CPTensor(w, factors), entry_weights=square_of(v)).spectrum
            ),
            lambda v, *model: condition_reference(*model, entry_weights=square_of(v))[1],
            ((3, 2, 4), *MODEL),
            differentiable=False,
        ),
    ],
    "cp.standard_errors": [
        Row(
            lambda x, w, a, b: cp.standard_errors(cp.CPTensor(w, (a, b)), x),
            rank_one_errors_reference,
            ((4, 3), (1,), (4, 1), (3, 1)),
            differentiable=False,
        )
    ],
}


def public_names():
    """Every public function, every solver and tensor, and methods of classes that compute."""
    for prefix, module in (
        ("", jkr),
        ("cp.", cp),
        ("cp.losses.", cp.losses),
        ("cp.constraints.", cp.constraints),
        ("tensors.", jkr.tensors),
        ("operators.", operators),
        ("sketch.", sketch),
        ("glam.", glam),
    ):
        for name in module.__all__:
            value = getattr(module, name)
            of_files = value in (cp.save, cp.load)  # tests/test_files.py
            computes = inspect.isfunction(value) or isinstance(value, cp.losses.Loss)
            if computes and not of_files or any(value is kind for kind in MADE):
                yield prefix + name
    for name, method in vars(cp.CPTensor).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            yield f"cp.CPTensor.{name}"
    for kind in (sketch.CountSketch, sketch.TensorSketch):
        yield from (f"sketch.{kind.__name__}.{name}" for name in ("@", "to_dense"))
    for method in {m: None for kind in KINDS for m in methods(kind)}:
        yield f"operators.{method.__qualname__.replace('__matmul__', '@')}"


MADE = (
    cp.ALS,
    cp.GCP,
    cp.NLS,
    cp.Solver,
    jkr.tensors.Dense,
    jkr.tensors.Sparse,
)  # classes that one makes and calls
KINDS = [kind for kind in vars(operators).values() if inspect.isclass(kind)]


def methods(kind):
    """Public methods and `@`, of the class that they are written in."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") or name == "__matmul__":
            yield method
