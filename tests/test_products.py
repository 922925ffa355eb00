"""Products against dumb oracles: values, batches, empty shapes, one matrix alone, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.linalg
from numpy.testing import assert_array_equal

import jkr

NARY = {
    "kronecker": (jkr.kronecker, oracles.kronecker),
    "hadamard": (jkr.hadamard, oracles.hadamard),
    "khatri_rao": (jkr.khatri_rao, oracles.khatri_rao),
    "face_splitting": (jkr.face_splitting, oracles.face_splitting),
}
SHAPES = {
    "kronecker": [(2, 3), (4, 1), (3, 2)],
    "hadamard": [(2, 3), (2, 3), (2, 3)],
    "khatri_rao": [(2, 3), (4, 3), (1, 3)],
    "face_splitting": [(2, 3), (2, 4), (2, 1)],
}
PARTITIONED = {
    "tracy_singh": (jkr.tracy_singh, oracles.tracy_singh),
    "block_khatri_rao": (
        jkr.block_khatri_rao,
        lambda *args: oracles.blockwise(np.kron, *args),
    ),
    "block_face_splitting": (
        jkr.block_face_splitting,
        lambda *args: oracles.blockwise(oracles.face_splitting, *args),
    ),
    "block_column_khatri_rao": (
        jkr.block_column_khatri_rao,
        lambda *args: oracles.blockwise(oracles.khatri_rao, *args),
    ),
}


def whole_numbers(rng, *shape):
    return rng.integers(-9, 10, shape)


@pytest.mark.parametrize("name", NARY)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_integers_are_exact(name, count, rng):
    product, oracle = NARY[name]
    ms = [whole_numbers(rng, *shape) for shape in SHAPES[name][:count]]
    out = product(*ms)
    assert_array_equal(out, oracle(*ms))
    assert out.dtype == ms[0].dtype


@pytest.mark.parametrize("name", NARY)
def test_leading_batch_dimensions_broadcast(name, rng):
    product, oracle = NARY[name]
    (s, t, u) = SHAPES[name]
    ms = [whole_numbers(rng, *s), whole_numbers(rng, 5, 1, *t), whole_numbers(rng, 2, *u)]
    out = product(*ms)
    for i in range(5):
        for j in range(2):
            assert_array_equal(out[i, j], oracle(ms[0], ms[1][i, 0], ms[2][j]))


@pytest.mark.parametrize("name", NARY)
def test_one_matrix_alone_is_returned_as_it_is(name):
    m = jnp.arange(6).reshape(2, 3)
    assert_array_equal(NARY[name][0](m), m)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", PARTITIONED)
def test_partitioned_products(name, seed):
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(1, 4, (rng.integers(1, 4), 2)).tolist() for _ in range(2))
    if name == "block_face_splitting":
        rows = [(m, m) for m, _ in rows]
    if name == "block_column_khatri_rao":
        columns = [(n, n) for n, _ in columns]
    pa, pb = (tuple((tuple(r[k] for r in rows), tuple(c[k] for c in columns))) for k in range(2))
    a, b = (whole_numbers(rng, sum(p[0]), sum(p[1])) for p in (pa, pb))
    product, oracle = PARTITIONED[name]
    product = jax.jit(product, static_argnums=(2, 3))  # quicker than to compile every operation
    assert_array_equal(product(a, b, pa, pb), oracle(a, b, pa, pb))


@pytest.mark.parametrize(
    ("name", "unpartitioned"),
    [
        ("tracy_singh", jkr.kronecker),
        ("block_khatri_rao", jkr.kronecker),
        ("block_face_splitting", jkr.face_splitting),
        ("block_column_khatri_rao", jkr.khatri_rao),
    ],
)
def test_one_block_in_each_matrix(name, unpartitioned, rng):
    a, b = whole_numbers(rng, 2, 2, 3), whole_numbers(rng, 2, 3)
    one = ((2,), (3,))
    assert_array_equal(PARTITIONED[name][0](a, b, one, one), unpartitioned(a, b))


def test_block_khatri_rao_by_columns_and_by_entries(rng):
    a, b = whole_numbers(rng, 2, 3), whole_numbers(rng, 4, 3)
    by_columns = jkr.block_khatri_rao(a, b, ((2,), (1,) * 3), ((4,), (1,) * 3))
    assert_array_equal(by_columns, jkr.khatri_rao(a, b))
    entries = ((1, 1), (1, 1, 1))
    assert_array_equal(jkr.block_khatri_rao(a, b[:2], entries, entries), a * b[:2])


def test_block_twins_are_transposes(rng):
    a, b = whole_numbers(rng, 5, 3), whole_numbers(rng, 4, 3)
    pa, pb = ((2, 3), (1, 2)), ((3, 1), (1, 2))
    left = jkr.block_column_khatri_rao(a, b, pa, pb).T
    assert_array_equal(left, jkr.block_face_splitting(a.T, b.T, pa[::-1], pb[::-1]))


@pytest.mark.parametrize(
    ("shape_a", "shape_b"), [((0, 2), (3, 2)), ((3, 2), (0, 2)), ((2, 0), (3, 0)), ((0, 0), (0, 0))]
)
def test_empty_khatri_rao_as_in_scipy(shape_a, shape_b):
    a, b = np.empty(shape_a), np.empty(shape_b)
    assert jkr.khatri_rao(a, b).shape == scipy.linalg.khatri_rao(a, b).shape


def test_empty_shapes_of_the_others():
    e = np.empty
    assert jkr.kronecker(e((0, 2)), e((3, 4))).shape == (0, 8)
    assert jkr.hadamard(e((0, 2)), e((0, 2))).shape == (0, 2)
    assert jkr.face_splitting(e((2, 0)), e((2, 3))).shape == (2, 0)
    assert jkr.penetrating_face(e((2, 0)), e((2, 0))).shape == (2, 0)
    assert jkr.penetrating_face(e((2, 3)), e((2, 0))).shape == (2, 0)
    nothing = ((), ())
    assert jkr.tracy_singh(e((0, 0)), e((2, 3)), nothing, ((2,), (3,))).shape == (0, 0)
    assert jkr.block_khatri_rao(e((2, 0)), e((3, 4)), ((2,), (0,)), ((3,), (4,))).shape == (6, 0)
    assert jkr.vec(e((0, 3))).shape == (0,)
    assert jkr.unvec(e((0,)), (0, 3)).shape == (0, 3)
    assert jkr.unfold(e((2, 0, 3)), 0).shape == (2, 0)
    assert jkr.fold(e((2, 0)), 0, (2, 0, 3)).shape == (2, 0, 3)
    assert jkr.kronecker_permutation(2, 0, 3, 1).shape == (0,)


# The cases of SciPy's own test-suite for khatri_rao: small, rectangular, batched, complex.
SCIPY_CASES = [
    ((2, 3), (3, 3)),
    ((3, 4), (5, 4)),
    ((4, 2, 3), (4, 5, 3)),
    ((6, 1, 2, 3), (4, 5, 3)),
]


@pytest.mark.parametrize(("shape_a", "shape_b"), SCIPY_CASES)
@pytest.mark.parametrize("dtype", ["int64", "float64", "complex128"])
def test_khatri_rao_agrees_with_scipy(shape_a, shape_b, dtype, rng):
    a, b = (whole_numbers(rng, *s).astype(dtype) for s in (shape_a, shape_b))
    if dtype == "complex128":
        a = a + 1j * whole_numbers(rng, *shape_a)
    assert_array_equal(jkr.khatri_rao(a, b), scipy.linalg.khatri_rao(a, b))


def test_vec_stacks_columns_and_unvec_undoes_it(rng):
    a = whole_numbers(rng, 2, 3, 4)
    assert_array_equal(jkr.vec(a)[0], a[0].ravel(order="F"))
    assert_array_equal(jkr.unvec(jkr.vec(a), (3, 4)), a)


def test_vec_of_a_product(rng):
    a, x, b = whole_numbers(rng, 2, 3), whole_numbers(rng, 3, 4), whole_numbers(rng, 4, 2)
    assert_array_equal(jkr.vec(a @ x @ b), jkr.kronecker(b.T, a) @ jkr.vec(x))


@pytest.mark.parametrize("mode", [-3, -2, -1, 0, 1, 2])
def test_unfold_and_fold(mode, rng):
    x = whole_numbers(rng, 2, 3, 4)
    m = jkr.unfold(x, mode)
    assert_array_equal(m, oracles.unfold(x, mode % 3))
    assert_array_equal(jkr.fold(m, mode, x.shape), x)


def test_mixed_dtypes_promote_as_jax_promotes():
    with jax.numpy_dtype_promotion("standard"):
        assert (
            jkr.khatri_rao(np.ones((1, 1), "int32"), np.ones((1, 1), "float32")).dtype == "float32"
        )


def test_inputs_are_not_changed(rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((4, 3))
    copies = a.copy(), b.copy()
    jkr.khatri_rao(a, b)
    assert_array_equal(a, copies[0])
    assert_array_equal(b, copies[1])


class OnlyDLPack:
    """An array that says nothing of itself but by DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_arrays_of_other_kinds_are_taken():
    a = np.arange(6.0).reshape(2, 3)
    still = np.array(a)
    still.flags.writeable = False
    backwards = np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]
    for other in (
        *(a.astype(">f8"), a.astype(">i4"), a.astype("<f8"), OnlyDLPack(a), memoryview(a)),
        *(np.ma.masked_array(a).data, still, backwards, np.asfortranarray(a)),
    ):
        np.testing.assert_array_equal(jkr.khatri_rao(other, other), oracles.khatri_rao(a, a))
