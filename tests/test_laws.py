"""Every published law as a test case, selected by its label: `pytest -k I10`.

A law is a function of M, which draws a random matrix, and of dimensions a, b, c, …; it returns the
two sides. They run on complex data, of which the real are a case; the transforms table has the
dtypes.
"""

import inspect

import numpy as np
import oracles
import pytest
from numpy.testing import assert_array_equal

import jkr


def numpy_in_numpy_out(f):
    """Only the library's own work is JAX's; the rest of a law is NumPy's."""
    return lambda *args: np.asarray(f(*args))


face_splitting = numpy_in_numpy_out(jkr.face_splitting)
hadamard = numpy_in_numpy_out(jkr.hadamard)
khatri_rao = numpy_in_numpy_out(jkr.khatri_rao)
kronecker = numpy_in_numpy_out(jkr.kronecker)
penetrating_face = numpy_in_numpy_out(jkr.penetrating_face)
unfold = numpy_in_numpy_out(jkr.unfold)
vec = numpy_in_numpy_out(jkr.vec)

LAWS = {}


def law(label):
    def register(sides):
        assert label not in LAWS, label
        LAWS[label] = sides
        return sides

    return register


# --- the laws ------------------------------------------------------------------------------


@law("I1")
def _(M, a, b, c):
    A, B = M(a, b), M(a, c)
    return face_splitting(A, B).T, khatri_rao(A.T, B.T)


@law("I2")
def _(M, a, b, c):
    A, B, C = M(a, b), M(a, c), M(a, c)
    return face_splitting(A, B + C), face_splitting(A, B) + face_splitting(A, C)


@law("I3")
def _(M, a, b, c):
    A, B, C = M(a, b), M(a, c), M(a, c)
    return face_splitting(B + C, A), face_splitting(B, A) + face_splitting(C, A)


@law("I4")
def _(M, a, b, c):
    A, B, k = M(a, b), M(a, c), M(1, 1)[0, 0]
    once = k * face_splitting(A, B)
    return np.stack([face_splitting(k * A, B), face_splitting(A, k * B)]), np.stack([once, once])


@law("I5")
def _(M, a, b, c, d):
    A, B, C = M(a, b), M(a, c), M(a, d)
    left = face_splitting(face_splitting(A, B), C)
    right = face_splitting(A, face_splitting(B, C))
    return np.stack([left, face_splitting(A, B, C)]), np.stack([right, right])


@law("I6")
def _(M, a, b):
    x, B = M(a, 1), M(a, b)
    return face_splitting(x, B), face_splitting(B, x)


@law("I7")
def _(M, a, b, c):
    A, B = M(a, b), M(a, c)
    return face_splitting(A, B) @ khatri_rao(A.T, B.T), hadamard(A @ A.T, B @ B.T)


@law("I8")
def _(M, a, b, c, d):
    A, B, C, D = M(a, b), M(a, c), M(b, d), M(c, d)
    return face_splitting(A, B) @ khatri_rao(C, D), hadamard(A @ C, B @ D)


@law("I9")
def _(M, a, b, c, d):
    left = [M(a, b), M(a, c), M(a, d), M(a, 2)]
    right = [M(b, c), M(c, c), M(d, c), M(2, c)]
    pairs = zip(left, right, strict=True)
    return face_splitting(*left) @ khatri_rao(*right), hadamard(*(x @ y for x, y in pairs))


@law("I10")
def _(M, a, b, c):
    A, B = M(a, c), M(b, c)
    K = khatri_rao(A, B)
    return K.T @ K, hadamard(A.T @ A, B.T @ B)


@law("I10H")
def _(M, a, b, c):
    A, B = M(a, c), M(b, c)
    K = khatri_rao(A, B)
    dense = K.conj().T @ K
    return np.stack([dense] * 2), np.stack(
        [hadamard(A.conj().T @ A, B.conj().T @ B), jkr.khatri_rao_gram(A, B)]
    )


@law("I11")
def _(M, a, b, c):
    A, B, C, D = M(a, b), M(a, b), M(a, c), M(a, c)
    return (
        face_splitting(hadamard(A, B), hadamard(C, D)),
        hadamard(face_splitting(A, C), face_splitting(B, D)),
    )


@law("I12")
def _(M, a, b, c, d):
    x, B, C = M(1, a), M(b, c), M(b, d)
    return kronecker(x, face_splitting(B, C)), face_splitting(kronecker(x, B), C)


@law("I13")
def _(M, a, b, c, d, e):
    A, B, C, D = M(a, b), M(c, d), M(b, e), M(d, e)
    return kronecker(A, B) @ khatri_rao(C, D), khatri_rao(A @ C, B @ D)


@law("I14")
def _(M, a, b, c, d, e, f):
    A, B, C, D = M(a, e), M(b, f), M(c, e), M(d, f)
    left = khatri_rao(kronecker(A, B), kronecker(C, D))
    right = kronecker(khatri_rao(A, C), khatri_rao(B, D))
    return left, right[jkr.kronecker_permutation(a, b, c, d)]


@law("I15")
def _(M, a, b, c, d, e):
    A, B, C, D = M(a, b), M(a, c), M(b, d), M(c, e)
    return face_splitting(A, B) @ kronecker(C, D), face_splitting(A @ C, B @ D)


@law("I16")
def _(M, a, b, c, d, e):
    A, L, B, Q, C, S = M(a, b), M(a, c), M(b, d), M(c, e), M(d, 2), M(e, 3)
    left = face_splitting(A, L) @ kronecker(B, Q) @ kronecker(C, S)
    return left, face_splitting(A @ B @ C, L @ Q @ S)


@law("I17")
def _(M, a, b):
    c, d = M(1, a), M(1, b)
    return face_splitting(c, d), kronecker(c, d)


@law("I18")
def _(M, a, b):
    c, d = M(a, 1), M(b, 1)
    return khatri_rao(c, d), kronecker(c, d)


@law("I19")
def _(M, a, b):
    A, c, d = M(a, b), M(b, 1), M(b, 1)
    return khatri_rao(A, c.T) @ d, khatri_rao(A, d.T) @ c


@law("I20")
def _(M, a, b):
    A, c, d = M(a, b), M(b, 1), M(b, 1)
    return d.T @ face_splitting(c, A.T), c.T @ face_splitting(d, A.T)


@law("I21")
def _(M, a, b, c):
    A, B, x, y = M(a, b), M(a, c), M(b, 1), M(c, 1)
    return face_splitting(A, B) @ kronecker(x, y), hadamard(A @ x, B @ y)


@law("I22")
def _(M, a, b, c, d, e):
    A, B, P, Q, N, R = M(a, b), M(a, c), M(b, d), M(c, e), M(d, 2), M(e, 3)
    x, y = M(2, 1), M(3, 1)
    left = face_splitting(A, B) @ kronecker(P @ N @ x, Q @ R @ y)
    return left, hadamard(A @ P @ N @ x, B @ Q @ R @ y)


@law("I23")
def _(M, a, b, c):
    C1, C2, x, y = M(a, b), M(a, c), M(b, 1), M(c, 1)
    u, v = C1 @ x, C2 @ y
    shifts = (np.arange(a)[:, None] - np.arange(a)[None, :]) % a
    convolution = u[:, 0][shifts] @ v
    k = np.arange(a)
    F = np.exp(-2j * np.pi * k[:, None] * k[None, :] / a)
    spectrum = F @ convolution
    split = face_splitting(F @ C1, F @ C2) @ kronecker(x, y)
    return (
        np.stack([spectrum, split]),
        np.stack([hadamard(F @ C1 @ x, F @ C2 @ y)] * 2),
    )


@law("I24")
def _(M, a, b, c):
    A, B = M(a, b), M(a, c)
    row = lambda n: np.ones((1, n), A.dtype)  # noqa: E731
    return face_splitting(A, B), hadamard(kronecker(A, row(c)), kronecker(row(b), B))


@law("I25")
def _(M, a, b):
    A = M(a, b)
    row = np.ones((1, b), A.dtype)
    return face_splitting(A, A), hadamard(kronecker(A, row), kronecker(row, A))


@law("I26")
def _(M, a, b):
    A = M(a, b)
    row = np.ones((1, b), A.dtype)
    return face_splitting(A, A), penetrating_face(A, kronecker(A, row))


@law("I27")
def _(M, a, b, c):
    P, N = M(a, c), M(b, c)
    column = lambda n: np.ones((n, 1), P.dtype)  # noqa: E731
    return khatri_rao(P, N), hadamard(kronecker(P, column(b)), kronecker(column(a), N))


@law("I28")
def _(M, a, b):
    A, w = M(a, b), M(a, 1)
    return np.diag(w[:, 0]) @ A, face_splitting(w, A)


@law("I29")
def _(M, a, b, c):
    A, B, w = M(a, b), M(b, c), M(b, 1)
    middle = (khatri_rao(B.T, A) @ w)[:, 0]
    return (
        np.stack([vec(khatri_rao(w.T, A) @ B), vec(A @ face_splitting(w, B))]),
        np.stack([middle, middle]),
    )


@law("I30")
def _(M, a, b):
    A, w = M(a, b), M(a, 1)
    return vec(A.T @ np.diag(w[:, 0]) @ A), (face_splitting(A, A).T @ w)[:, 0]


@law("I31")
def _(M, a, b, c, d, e):
    A, L, B, Q, C, S = M(a, b), M(a, c), M(b, d), M(c, e), M(d, 2), M(e, 3)
    K, T = M(2, b), M(3, b)
    left = face_splitting(A, L) @ kronecker(B, Q) @ kronecker(C, S) @ khatri_rao(K, T)
    return left, hadamard(A @ B @ C @ K, L @ Q @ S @ T)


@law("I32")
def _(M, a, b, c, d, e):
    A, L, B, Q, C, S = M(a, b), M(a, c), M(b, d), M(c, e), M(d, 2), M(e, 3)
    x, y = M(2, 1), M(3, 1)
    left = face_splitting(A, L) @ kronecker(B, Q) @ kronecker(C, S) @ kronecker(x, y)
    return left, hadamard(A @ B @ C @ x, L @ Q @ S @ y)


@law("I33")
def _(M, a, b, c, d, e):
    A, L, B, Q, C, S = M(a, b), M(a, c), M(b, d), M(c, e), M(d, 2), M(e, 3)
    P, U, x, y = M(2, a), M(3, b), M(a, 1), M(b, 1)
    left = face_splitting(A, L) @ kronecker(B, Q) @ kronecker(C, S) @ kronecker(P @ x, U @ y)
    return left, hadamard(A @ B @ C @ P @ x, L @ Q @ S @ U @ y)


@law("I34")
def _(M):
    s, r, x, y = M(2, 1)[:, 0], M(2, 1)[:, 0], M(2, 1), M(2, 1)
    of = lambda rows: np.asarray(rows, s.dtype)  # noqa: E731
    F1, F2 = of([[1, 0], [0, 1], [1, 0]]), of([[1, 0], [1, 0], [0, 1]])
    H = of([[1, 1], [1, -1]])
    left = face_splitting(F1, F2) @ kronecker(H, H) @ kronecker(np.diag(s), np.diag(r))
    return left @ khatri_rao(x, y), hadamard(F1 @ H @ np.diag(s) @ x, F2 @ H @ np.diag(r) @ y)


@law("J1")
def _(M, a, b, c):
    # Of full column rank where a·b allows it and c is odd; else with a repeated column.
    A, B, y = M(a + 2, c), M(b + 2, c), M((a + 2) * (b + 2), 2)
    if c % 2 == 0:
        A, B = (np.concatenate([m, m[:, :1]], axis=1) for m in (A, B))
    K = khatri_rao(A, B)
    rcond = np.sqrt(30 * np.finfo(K.dtype).eps)
    return np.linalg.pinv(K, rcond=rcond) @ y, np.asarray(jkr.khatri_rao_lstsq([A, B], y))


@law("J2")
def _(M, a, b, c, d):
    A, B, C, D = M(a, c), M(b, c), M(a, d), M(b, d)
    return (
        face_splitting(khatri_rao(A, B), khatri_rao(C, D)),
        khatri_rao(face_splitting(A, C), face_splitting(B, D)),
    )


def _weighted_grams(A, B, W, first):
    """KᴴWᵢK for every row i of W: by definition; by J3ᴴ; and by `weighted_gram`."""
    K, r = khatri_rao(A, B), A.shape[1]
    rows = np.stack([K.conj().T @ np.diag(w.reshape(-1)) @ K for w in W])
    split = [face_splitting(first(m), m) for m in (A, B)]
    at_once = (unfold(W, 0) @ khatri_rao(*split)).reshape(W.shape[0], r, r)
    unread = np.zeros((W.shape[0], r), A.dtype)
    ours = np.asarray(jkr.weighted_gram(W.real, [unread, A, B], 0))
    return np.stack([rows, rows]), np.stack([at_once, ours])


@law("J3")
def _(M, a, b, c, d):
    A, B, W = M(a, c).real, M(b, c).real, M(d * a, b).real.reshape(d, a, b)
    return _weighted_grams(A, B, W, first=lambda m: m)


@law("J3H")
def _(M, a, b, c, d):
    A, B, W = M(a, c), M(b, c), M(d * a, b).real.reshape(d, a, b)
    return _weighted_grams(A, B, W, first=np.conj)


@law("J4")
def _(M, a, b, c, d):
    factors, weights = [M(a, d), M(b, d), M(c, d)], M(d, 1)[:, 0]
    x = oracles.full(weights, factors)
    A, B, C = factors
    scaled = [m * weights[None, :] for m in factors]
    sides = [scaled[0] @ khatri_rao(B, C).T, scaled[1] @ khatri_rao(A, C).T]
    sides.append(scaled[2] @ khatri_rao(A, B).T)
    flat = [side.reshape(-1) for side in sides]
    return (
        np.concatenate([unfold(x, n).reshape(-1) for n in range(3)]),
        np.concatenate(flat),
    )


@law("J5")
def _(M, a, b, c, d):
    factors = [M(a, d), M(b, d), M(c, d)]
    X = M(a * b, c).reshape(a, b, c)
    value = np.sum(X * oracles.full(np.ones(d), factors))
    sums = [np.sum(f * jkr.mttkrp(X, factors, n)) for n, f in enumerate(factors)]
    return np.stack(sums), np.stack([value] * 3)


@law("J6")
def _(M, a, b, c, d):
    factors, w = [M(a, d), M(b, d), M(c, d)], M(d, 1)[:, 0]
    norm = jkr.cp.CPTensor(w, tuple(factors)).norm()
    return np.asarray(norm), np.linalg.norm(oracles.full(w, factors))


# --- running them --------------------------------------------------------------------------

LABELS = [f"I{n}" for n in range(1, 35)] + [f"J{n}" for n in range(1, 7)] + ["I10H", "J3H"]


def test_every_label_has_a_law():
    assert sorted(LAWS) == sorted(LABELS)


@pytest.mark.parametrize("label", LABELS)
def test_law(label):
    sides = LAWS[label]
    dims = [name for name in inspect.signature(sides).parameters if name != "M"]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sizes = {name: int(rng.integers(1, 4)) for name in dims}

        def M(rows, columns, rng=rng):
            m = rng.standard_normal((2, rows, columns))
            return m[0] + 1j * m[1]

        left, right = (np.asarray(side) for side in sides(M, **sizes))
        assert left.shape == right.shape
        # In J1 the condition number of the drawn matrices is squared in the Gram.
        tolerance = 1e-9 if label == "J1" else 1e-11
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * max(1, abs(right).max()))


# --- worked examples -----------------------------------------------------------------------

NINE = np.arange(1, 10).reshape(3, 3)


def test_E1():
    product = jkr.block_khatri_rao(NINE, NINE.T, ((2, 1), (2, 1)), ((1, 2), (1, 2)))
    expected = [[1, 2, 12, 21], [4, 5, 24, 42], [14, 16, 45, 72], [21, 24, 54, 81]]
    assert_array_equal(product, expected)


def test_E1_is_a_submatrix_of_the_tracy_singh_product():
    pa, pb = ((2, 1), (2, 1)), ((1, 2), (1, 2))
    whole = np.asarray(jkr.tracy_singh(NINE, NINE.T, pa, pb))
    part = jkr.block_khatri_rao(NINE, NINE.T, pa, pb)
    # Blocks (1,1) and (2,2) of the row and column blocks: lines 0-1 and 7-8.
    assert_array_equal(part, whole[np.ix_([0, 1, 7, 8], [0, 1, 7, 8])])


def test_E2():
    expected = [
        [1, 4, 7, 2, 8, 14, 3, 12, 21],
        [8, 20, 32, 10, 25, 40, 12, 30, 48],
        [21, 42, 63, 24, 48, 72, 27, 54, 81],
    ]
    assert_array_equal(face_splitting(NINE, NINE.T), expected)


def test_E3():
    a, b = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[3, 4, 5], [6, 7, 8], [2, 3, 9]])
    expected = [[3, 8, 15], [6, 14, 24], [2, 6, 27], [12, 20, 30], [24, 35, 48], [8, 15, 54]]
    assert_array_equal(khatri_rao(a, b), expected)
