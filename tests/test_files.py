"""Models in files come back as they were, and NumPy alone can read them."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from jkr import cp

KEY = jax.random.key(0)


def npy(array):
    np.save(file := io.BytesIO(), array)
    return file.getvalue()


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "complex64", "complex128", "int32"]
)
def test_a_model_comes_back_as_it_was(tmp_path, dtype):
    weights, factors = cp.random(KEY, (4, 5, 6), 3)
    model = cp.CPTensor(weights, tuple((9 * a).astype(dtype) for a in factors))
    cp.save(tmp_path / "model", model)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    found = cp.load(str(tmp_path / "model"))
    assert jax.tree.structure(found) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(model), strict=True):
        assert a.dtype == b.dtype
        assert_array_equal(np.asarray(a), np.asarray(b))


def test_batches_many_modes_and_pairs(tmp_path):
    batch = jax.vmap(lambda key: cp.random(key, (2,) * 12, 2))(jax.random.split(KEY, 3))
    cp.save(tmp_path / "batch.npz", (batch.weights, list(batch.factors)))
    found = cp.load(tmp_path / "batch.npz")
    assert found.weights.shape == (3, 2)
    assert_array_equal(np.stack(found.factors), np.stack(batch.factors))
    cp.save(tmp_path / "ones", cp.CPTensor(None, batch.factors))
    assert_array_equal(cp.load(tmp_path / "ones").weights, np.ones((3, 2)))


def test_numpy_reads_it_without_pickle(tmp_path):
    model = cp.random(KEY, (4, 5), 2)
    cp.save(tmp_path / "m.npz", model)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as stored:
        assert_array_equal(stored["factor_1"], model.factors[1])
        assert set(stored.files) == {"weights", "factor_0", "factor_1", "dtypes"}


def test_what_numpy_wrote_is_read(tmp_path):
    np.savez(tmp_path / "m.npz", factor_0=np.ones((2, 1)), weights=np.ones(1), note=np.array([{}]))
    assert cp.load(tmp_path / "m.npz").shape == (2,)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no archive"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 and no more"),
        lambda path: np.savez(path, a=np.ones(2)),
        lambda path: np.savez(path, weights=np.ones(1)),
        lambda path: np.savez(path, factor_0=np.ones((2, 1)), factor_1=np.ones((2, 1))),
        lambda path: np.savez(path, weights=np.ones(1), factor_0=np.ones(1), factor_2=np.ones(1)),
        lambda path: np.savez(path, weights=np.array([{}]), factor_0=np.ones((2, 1))),
        lambda path: np.savez(path, weights=np.ones(1), dtypes=np.array(["float32", "float32"])),
        lambda path: path.write_bytes(npy(np.ones(3))),
    ],
)
def test_other_files_are_refused(tmp_path, write):
    write(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"cp.load: needs an .npz file with weights and factor_0"):
        cp.load(tmp_path / "x.npz")


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        cp.load(tmp_path / "none.npz")


def test_traced_models_are_refused(tmp_path):
    model = cp.random(KEY, (4, 5), 2)
    with pytest.raises(ValueError, match="cp.save: works outside jit, vmap and grad only"):
        jax.jit(lambda m: cp.save(tmp_path / "m.npz", m))(model)
    assert not list(tmp_path.iterdir())


def test_no_models_are_refused(tmp_path):
    for bad in (jnp.ones(3), cp.als(jnp.ones((2, 2)), 1, key=KEY, max_iters=1)):
        with pytest.raises(ValueError, match="cp.save: needs a CPTensor"):
            cp.save(tmp_path / "m.npz", bad)
