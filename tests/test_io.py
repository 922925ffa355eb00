"""Files: what is written comes back, other libraries agree, damaged ones are refused."""

import gzip
import io as streams
import re
import subprocess
import sys
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pyttb
import scipy.sparse
from numpy.testing import assert_array_equal

from jkr import cp, io
from jkr.__main__ import main
from jkr.io import _lines
from jkr.tensors import Sparse

KEY = jax.random.key(0)
INDICES = np.array([[0, 1, 2], [3, 0, 0], [3, 2, 6], [1, 1, 1]])
VALUES = np.array([0.1, -2.5e-300, 1e300, 1 / 3])
SHAPE = (5, 3, 7)  # more rows than the largest index says


def stored(x):
    """A sparse tensor as a dictionary, whatever its order."""
    pairs = zip(np.asarray(x.indices).tolist(), np.asarray(x.values).tolist(), strict=True)
    return {tuple(at): value for at, value in pairs}


def by_hand(indices, values):
    """The same, of entries that may be there twice."""
    found = {}
    for at, value in zip(indices, values, strict=True):
        found[tuple(map(int, at))] = found.get(tuple(map(int, at)), 0.0) + float(value)
    return found


@pytest.fixture
def sparse():
    return Sparse(INDICES, VALUES, SHAPE, unstored="zero")


# What is written comes back


@pytest.mark.parametrize("suffix", [".tns", ".tns.gz", ".txt", ".npz"])
@pytest.mark.parametrize("unstored", ["zero", "missing"])
def test_a_sparse_tensor_comes_back(tmp_path, sparse, suffix, unstored):
    path = tmp_path / f"x{suffix}"
    io.write(path, sparse)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    options = {"shape": SHAPE} if "tns" in suffix else {}
    found = io.read(str(path), unstored=unstored, **options)
    assert isinstance(found, Sparse)
    assert found.unstored == unstored
    assert found.shape == SHAPE
    assert stored(found) == by_hand(INDICES, VALUES)


def test_entry_weights_come_back(tmp_path):
    weights = np.array([0.5, 0.0, 2.0, 1.0])
    values = np.where(weights > 0, VALUES, np.nan)  # which counts for nothing
    x = Sparse(INDICES, values, SHAPE, unstored="missing", entry_weights=weights)
    io.write(tmp_path / "x.npz", x)
    found = io.read(tmp_path / "x.npz", unstored="missing", compact=True)
    assert_array_equal(found.entry_weights, x.entry_weights)
    assert_array_equal(found.values, x.values)
    assert not found._layouts


def test_the_shape_of_a_tns_file_is_that_of_its_indices(tmp_path, sparse):
    io.write(tmp_path / "x.tns", sparse)
    assert io.read(tmp_path / "x.tns", unstored="zero").shape == (4, 3, 7)


def test_equal_tensors_are_equal_files(tmp_path, sparse):
    for name in ("a.tns.gz", "b.tns.gz"):
        io.write(tmp_path / name, sparse)
    assert (tmp_path / "a.tns.gz").read_bytes() == (tmp_path / "b.tns.gz").read_bytes()
    assert b"\n1 2 3 0.1" in b"\n" + gzip.decompress((tmp_path / "a.tns.gz").read_bytes())


@pytest.mark.parametrize("suffix", [".txt", ".npz", ".npy"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "bool"])
def test_an_array_comes_back(tmp_path, rng, suffix, dtype):
    x = (5 * rng.standard_normal((2, 3, 4))).astype(dtype)
    io.write(tmp_path / f"x{suffix}", x)
    found = io.read(tmp_path / f"x{suffix}")
    assert type(found) is np.ndarray
    assert found.dtype == (np.float64 if suffix == ".txt" else x.dtype)
    assert_array_equal(found, x)


def test_nan_stays_missing(tmp_path):
    x = np.array([[1.0, np.nan], [3.0, 4.0]])
    for suffix in (".txt", ".npz", ".npy"):
        io.write(tmp_path / f"x{suffix}", x)
        assert_array_equal(io.read(tmp_path / f"x{suffix}"), x)


def test_bfloat16_is_written_as_numpy_can(tmp_path):
    x = jnp.array([[1.5, 2.0], [0.25, 8.0]], jnp.bfloat16)
    for suffix in (".txt", ".npz", ".npy"):
        io.write(tmp_path / f"x{suffix}", x)
        assert_array_equal(io.read(tmp_path / f"x{suffix}"), np.asarray(x, np.float32))


@pytest.mark.parametrize("suffix", [".txt", ".npz"])
def test_a_model_comes_back(tmp_path, suffix):
    model = cp.random(KEY, (4, 5, 6), 3)
    io.write(tmp_path / f"m{suffix}", model)
    found = io.read(tmp_path / f"m{suffix}")
    assert jax.tree.structure(found) == jax.tree.structure(model)
    jax.tree.map(assert_array_equal, found, model)


def test_complex_numbers_are_for_npz(tmp_path):
    x = Sparse(INDICES, VALUES + 1j, SHAPE, unstored="zero")
    io.write(tmp_path / "x.npz", x)
    assert stored(io.read(tmp_path / "x.npz", unstored="zero")) == stored(x)


def test_one_array_of_several(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones((2, 3)), indices=np.eye(3))
    assert io.read(tmp_path / "x.npz", array="a").shape == (2, 3)


# Other libraries


def test_pyttb_reads_what_is_written(tmp_path, sparse, rng):
    path = str(tmp_path / "x.txt")
    io.write(path, sparse)
    theirs = pyttb.import_data(path)
    assert theirs.shape == SHAPE
    assert by_hand(theirs.subs, theirs.vals[:, 0]) == stored(sparse)
    x = rng.standard_normal((2, 3, 4))
    io.write(path, x)
    assert_array_equal(pyttb.import_data(path).data, x)
    model = cp.random(KEY, (4, 5, 6), 3)
    io.write(path, model)
    theirs = pyttb.import_data(path)
    assert_array_equal(theirs.weights, model.weights)
    for ours, factor in zip(model.factors, theirs.factor_matrices, strict=True):
        assert_array_equal(factor, ours)


def test_what_pyttb_wrote_is_read(tmp_path, rng):
    path = str(tmp_path / "x.tensor")
    x = rng.standard_normal((2, 3, 4))
    pyttb.export_data(pyttb.tensor(x), path)
    assert_array_equal(io.read(path), x)
    pyttb.export_data(x[0], path)
    assert_array_equal(io.read(path), x[0])
    pyttb.export_data(pyttb.sptensor(INDICES, VALUES[:, None], SHAPE), path)
    found = io.read(path, unstored="missing")
    assert found.shape == SHAPE
    assert stored(found) == by_hand(INDICES, VALUES)
    factors = [rng.standard_normal((n, 2)) for n in (2, 3, 4)]
    pyttb.export_data(pyttb.ktensor(factors, np.array([2.0, 1.0])), path)
    found = io.read(path)
    assert_array_equal(found.weights, [2.0, 1.0])
    for factor, known in zip(found.factors, factors, strict=True):
        assert_array_equal(factor, known)


def test_what_pydata_sparse_writes_is_read(tmp_path):
    arrays = {"data": VALUES, "shape": np.array(SHAPE), "fill_value": np.array(0.0)}
    kind = {"format": np.array("coo"), "coords": INDICES.T.astype(np.uint8)}  # as pydata's files
    np.savez_compressed(tmp_path / "x.npz", **kind, **arrays)
    found = io.read(tmp_path / "x.npz", unstored="zero")
    assert found.shape == SHAPE
    assert stored(found) == by_hand(INDICES, VALUES)


# What is in text beside numbers


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n\n1 2 3 0.5\n  \n# another\n2 1 1 -1e-3\n\n",
        "1 2 3 0.5\r\n2 1 1 -1e-3\r\n",
        "\ufeff1\t2\t3\t0.5\n2   1 1 -.001 # the last",
        "1.0 2e0 3 5e-1\n2 1 1 -1.E-3",
        "sptensor\n3\n2 2 3\n2\n1 2 3 0.5\n2 1 1 -0.001\n",
        "  sptensor \n\n# of pyttb\n3\n2 2 3\n2\n1 2 3 0.5\n\n2 1 1 -0.001\n# the end\n",
    ],
)
def test_text_that_is_read(tmp_path, text):
    (tmp_path / "x.tns").write_bytes(text.encode())
    found = io.read(tmp_path / "x.tns", unstored="zero")
    assert found.shape == (2, 2, 3)
    assert stored(found) == {(0, 1, 2): 0.5, (1, 0, 0): -0.001}


def test_numbers_of_dense_text_stand_as_they_like(tmp_path):
    (tmp_path / "x").write_text("tensor\n2\n2 3\n0 1 2\n3\n\n4 5\n")
    assert_array_equal(io.read(tmp_path / "x"), [[0, 2, 4], [1, 3, 5]])
    (tmp_path / "x").write_text("matrix\n2\n2 3\n0 1 2 3 4 5")
    assert_array_equal(io.read(tmp_path / "x"), [[0, 1, 2], [3, 4, 5]])


def test_a_shape_that_is_known(tmp_path):
    (tmp_path / "x.tns").write_text("1 1 5\n3000000 1 5\n")
    assert io.read(tmp_path / "x.tns", unstored="zero", shape=(3000000, 2)).shape == (3000000, 2)


# Errors: one line, which names the file and, in text, the line


SPTENSOR = "sptensor\n3\n4 5 6\n2\n1 1 1 0.5\n4 5 6 1.5\n"
TENSOR = "tensor\n2\n2 2\n1\n2\n3\n4\n"
KTENSOR = "ktensor\n2\n1 2\n1\n3.0\nmatrix\n2\n1 1\n0.5\nmatrix\n2\n2 1\n0.5\n0.25\n"

TNS = [
    ("1 1 1 2\n1 1 x 2\n", "line 2: needs 3 indices and a value, got '1 1 x 2'"),
    ("1 1 1 2\n\n1 1 2\n", "line 3: needs 3 indices and a value, got 3 numbers"),
    ("1 1 1 2\n1 1 2 3 4\n", "line 2: needs 3 indices and a value, got 5 numbers"),
    ("1 1 2\n1 2 1_0\n", "line 2: needs 2 indices and a value, got '1 2 1_0'"),
    ("# no\n3 2\n", "line 2: needs two indices or more and a value, got 2 numbers"),
    ("1 1 1 2\n0 1 1 2\n", "line 2: needs indices from 1 to 2147483647, got 0 1 1"),
    ("1 1 2\n1 -3 2\n", "line 2: needs indices from 1 to 2147483647, got 1 -3"),
    ("1 1 2\n1 nan 2\n", "line 2: needs indices from 1 to 2147483647, got 1 nan"),
    ("1 3e9 2\n", "line 1: needs indices from 1 to 2147483647, got 1 3000000000"),
    ("1 1 2\n1 1.5 2\n", "line 2: needs indices that are whole numbers, got 1 1.5"),
    ("1 1 2\n1 2 nan\n", "line 2: needs a finite value, got nan"),
    ("1 1 2\n1 2 1e999\n", "line 2: needs a finite value, got inf"),
    ("1 1 2\n\n1 3000000 2\n1 2 2", "line 3: has the shape (1, 3000000) and 3 entries, as if"),
    ("# nothing\n", "it holds no entry"),
]
SPTENSORS = [
    (SPTENSOR.replace("3\n", "3 4\n", 1), "line 2: needs the number of modes alone, got 2 numbers"),
    (SPTENSOR.replace("4 5 6", "4 x 6", 1), "line 3: needs a size for each mode, got '4 x 6'"),
    (SPTENSOR.replace("4 5", "4 0", 1), "line 3: needs a size for each mode, from 1 to 2147483647"),
    (SPTENSOR.replace("4 5", "4 9999999999", 1), "from 1 to 2147483647, got '4 9999999999 6'"),
    (SPTENSOR.replace("4 5 6", "4 5", 1), "line 3: needs 3 sizes, got 2"),
    (
        SPTENSOR.replace("4 5", "4 3000000", 1),
        "line 4: has the shape (4, 3000000, 6) and 2 entries",
    ),
    (SPTENSOR.replace("\n2\n", "\n-2\n"), "line 4: needs a count of entries, got '-2'"),
    (SPTENSOR.replace("\n2\n", "\n3\n"), "line 6: the file ends after 2 of 3 entries"),
    (SPTENSOR.replace("\n2\n", "\n2147483647\n"), "the file ends after 2 of 2147483647 entries"),
    (
        SPTENSOR.replace("\n2\n", "\n1\n"),
        "line 6: more entries than the 1 that the header promises",
    ),
    (SPTENSOR.replace("1.5", "a"), "line 6: needs 3 indices and a value, got '4 5 6 a'"),
    (
        SPTENSOR.replace("\n4 5 6 1", "\n4 6 6 1"),
        "line 6: needs indices from 1 in (4, 5, 6), got 4 6",
    ),
    ("sptensor\n", "line 1: the file ends before the number of modes"),
    ("sptensor\n2\n3 4\n0\n", "is no tensor: tensors.Sparse: needs from 1 to"),
    (TENSOR, "it holds a dense array: leave out unstored"),
    (KTENSOR, "it holds a model: leave out unstored"),
]
DENSE = [
    (TENSOR.replace("\n4", ""), "line 6: the file ends after 3 of 4 numbers"),
    (f"{TENSOR}5", "line 8: more than the header promises, '5'"),
    (TENSOR.replace("3\n4", "3 4 5"), "line 6: more numbers than the 4 that the header promises"),
    (TENSOR.replace("3\n", "inf\n"), "line 6: needs finite numbers, got inf"),
    (TENSOR.replace("3\n", "b\n"), "line 6: needs numbers, got 'b'"),
    (f"tensor\n3\n{'2147483647 ' * 3}\n1\n", "line 4: the file ends after 1 of 99035203"),
    ("matrix\n1\n2\nnan nan", "is no tensor: it holds inf, or nothing but NaN"),
    (KTENSOR.replace("2 1", "3 1"), "line 12: needs a matrix (2, 1), got (3, 1)"),
    (KTENSOR.replace("matrix", "tensor", 1), "line 6: needs the word matrix, got 'tensor'"),
    (KTENSOR.replace("0.5\nm", "0.5\n0.7\nm"), "line 10: needs the word matrix, got '0.7'"),
    (KTENSOR.removesuffix("0.25\n"), "line 13: the file ends after 1 of 2 numbers"),
    (f"{KTENSOR}1\n", "line 15: more than the header promises, '1'"),
    (KTENSOR.replace("3.0", "nan"), "line 5: needs finite numbers, got nan"),
    ("1,1,2\n", "it is no .npy, .npz or .tns file, nor text that begins with one of sptensor"),
    (SPTENSOR, "unstored needs to say what entries are that are not stored: 'zero'"),
]
BELOW = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 7], [0, 0, 0]])
COO = {"indices": INDICES, "values": VALUES, "shape": np.array(SHAPE)}
ARCHIVES = [
    ({"indices": INDICES[:, 1:]}, "indices need to be integers (nnz, 3), got int64 (4, 2)"),
    ({"indices": INDICES * 1.0}, "indices need to be integers (nnz, 3), got float64 (4, 3)"),
    ({"indices": INDICES - BELOW}, "from 0 and below (5, 3, 7), and entry 2 has (3, 2, -1)"),
    ({"shape": np.array([5, 3, 6])}, "from 0 and below (5, 3, 6), and entry 2 has (3, 2, 6)"),
    ({"shape": np.ones(3)}, "shape needs to be integers (N,), got float64 (3,)"),
    ({"shape": np.array([5, 0, 7])}, "shape needs sizes from 1 to 2147483647, got (5, 0, 7)"),
    ({"entry_weights": -VALUES}, "entry_weights need to be finite and nonnegative, and entry 0 ha"),
    ({"entry_weights": VALUES[:2]}, "entry_weights need to be numbers (4,), got float64 (2,)"),
    ({"values": VALUES[1:]}, "values need to be numbers (4,), got float64 (3,)"),
    ({"values": np.array(["a"] * 4)}, "values need to be numbers (4,), got <U1 (4,)"),
    ({"values": VALUES * np.nan}, "values need to be finite, and entry 0 has nan"),
    ({"fill_value": np.array(1.0)}, "fill_value needs to be 0, got 1.0"),
]


def npz(**arrays):
    np.savez(file := streams.BytesIO(), **arrays)
    return file.getvalue()


def npy(array):
    np.save(file := streams.BytesIO(), array)
    return file.getvalue()


def promising(shape):
    """An `.npy` file of a header, and no more."""
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file := streams.BytesIO(), header)
    return file.getvalue()


def zipped(**members):
    """An archive of members as they are."""
    with zipfile.ZipFile(file := streams.BytesIO(), "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def lying(content, size, compress_size=None):
    """An archive whose directory promises more than there is."""
    with zipfile.ZipFile(file := streams.BytesIO(), "w") as archive:
        archive.writestr("x.npy", content)
        archive.filelist[0].file_size = size
        archive.filelist[0].compress_size = compress_size or len(content)
    return file.getvalue()


def of_scipy():
    scipy.sparse.save_npz(file := streams.BytesIO(), scipy.sparse.csr_array(np.eye(3)))
    return file.getvalue()


PROMISING = zipped(**{name: npy(a) for name, a in COO.items()} | {"indices": promising((10**9, 3))})
MODEL = {"weights": npy(np.ones(1)), "factor_0": npy(np.ones((2, 1)))}
ZERO, MISSING = {"unstored": "zero"}, {"unstored": "missing"}
BAD = [
    *(("x.tns", text.encode(), ZERO, message) for text, message in TNS),
    *(("x.txt", text.encode(), ZERO, message) for text, message in SPTENSORS),
    *(("x.txt", text.encode(), {}, message) for text, message in DENSE),
    *(("x.npz", npz(**COO | arrays), ZERO, message) for arrays, message in ARCHIVES),
    ("x.tns", b"1 1 2\n", {}, "unstored needs to say what entries are that are not stored: 'zero'"),
    ("x.tns", b"1 1 2\n", ZERO | {"array": "a"}, "it holds a sparse tensor: leave out array"),
    (
        "x.tns",
        b"1 1 2\n1 9 2\n",
        ZERO | {"shape": (3, 4)},
        "line 2: needs indices from 1 in (3, 4)",
    ),
    (
        "x.tns",
        b"\n1 1 2\n",
        ZERO | {"shape": SHAPE},
        "line 2: needs 3 indices and a value, for the",
    ),
    (
        "x.tns",
        b"1 1 2\n1 1 3\n",
        MISSING,
        "is no tensor: tensors.Sparse: entries that are observed",
    ),
    ("x.tns.gz", gzip.compress(b"1 1 1\n" * 99)[:-9], ZERO, "Compressed file ended before"),
    ("x.txt", SPTENSOR.encode(), ZERO | {"shape": SHAPE}, "has the shape (4, 5, 6), not (5, 3, 7)"),
    ("x.npz", npz(a=np.ones(2)), ZERO, "it holds no sparse tensor: leave out unstored"),
    ("x.npz", npz(a=np.ones(2), b=np.ones(2)), {}, "choose one of its arrays with array"),
    ("x.npz", npz(weights=np.ones(2), factor_0=np.ones(2)), ZERO, "it holds a model: leave out"),
    ("x.npz", PROMISING, ZERO, "a header promises shape (1000000000, 3) of float64, and 0 bytes"),
    ("x.npz", zipped(**MODEL, factor_1=promising((10**9, 1))), {}, "a header promises shape (1000"),
    ("x.npz", zipped(**MODEL, factor_2=npy(np.ones((2, 1)))), {}, "cp.load: needs an .npz file"),
    ("x.npz", lying(promising((10**9, 3)), 24 * 10**9), {}, "its directory promises 24000000000"),
    ("x.npz", lying(promising((3,)), 152, 10**9), {}, "bytes of x.npy, and "),
    (
        "x.npz",
        of_scipy(),
        ZERO,
        "it holds a SciPy matrix: give what scipy.sparse.load_npz reads to",
    ),
    ("x.npz", b"PK\x03\x04 and no more", {}, "File is not a zip file"),
    ("x.npy", npy(np.ones(2)), ZERO, "it holds a dense array: leave out unstored"),
    ("x.npy", npy(np.ones(2)), {"shape": (2, 2)}, "it holds a dense array: leave out shape"),
    ("x.npy", npy(np.ones(2)), {"array": "a"}, "it holds one array without a name: leave out"),
    ("x.npy", npy(np.array([{}])), {}, "it holds pickled Python objects"),
    ("x.npy", npy(np.ones((2, 0))), {}, "it holds nothing, in shape (2, 0)"),
    ("x.npy", npy(np.array(["a"])), {}, "a tensor of numbers is needed, and it holds <U1 entries"),
    ("x.npy", npy(np.ones(2))[:-1], {}, "a header promises shape (2,) of float64, and 15 bytes"),
    ("x.npy", promising((10**6, 10**6)), {}, "a header promises shape (1000000, 1000000)"),
    ("x.npy", promising((-1,)), {}, "a header promises shape (-1,)"),
    ("x.npy", b"", {}, "it is no .npy, .npz or .tns file"),
]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"), BAD, ids=[f"{row[0]}: {row[3]}" for row in BAD]
)
def test_bad_files(tmp_path, name, content, options, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        io.read(path, **options)
    told = str(error.value)
    assert told.startswith(f"io.read: {path} ")
    assert "\n" not in told
    assert len(told) < len(str(path)) + 300


def test_a_long_mode_is_read(tmp_path):
    long = (2**31 - 1, 3, 7)  # whatever is made of it has the length of the entries
    np.savez(tmp_path / "x.npz", **COO | {"shape": np.array(long)})
    found = io.read(tmp_path / "x.npz", unstored="zero")
    assert found.shape == long
    assert stored(found) == by_hand(INDICES, VALUES)


def test_paths(tmp_path, sparse):
    for call in (io.read, cp.load, lambda p: io.write(p, sparse)):
        with pytest.raises(
            ValueError, match=r"^(io|cp)\.\w+: needs the path of a file, got NoneType"
        ):
            call(None)
    model = cp.random(KEY, (2, 2), 1)
    with pytest.raises(ValueError, match=r"^cp\.save: needs the path of a file, got int"):
        cp.save(3, model)
    for call in (lambda p: io.write(p, sparse), lambda p: cp.save(p, model)):
        with pytest.raises(FileNotFoundError) as caught:
            call(tmp_path / "none" / "x.npz")
        assert caught.value.filename == str(tmp_path / "none" / "x.npz")


def test_bad_arguments_of_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"io\.read: no such file: .*none\.tns"):
        io.read(tmp_path / "none.tns", unstored="zero")
    with pytest.raises(ValueError, match=r"io\.read: unstored needs to say .* got 'zeros'"):
        io.read(tmp_path / "none.tns", unstored="zeros")
    with pytest.raises(ValueError, match=r"io\.read: shape needs two sizes or more, .* got \(3,\)"):
        io.read(tmp_path / "none.tns", unstored="zero", shape=(3,))


def test_the_line_at_fault_is_found_in_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr(_lines, "_BLOCK", 40)  # some four lines
    good = ["1 1 2.5"] * 50
    for bad in range(0, 50, 7):
        lines = [*good[:bad], "1 0 2.5", *good[bad + 1 :]]
        (tmp_path / "x.tns").write_text("\n".join(lines))
        with pytest.raises(ValueError, match=f"line {bad + 1}: needs indices from 1"):
            io.read(tmp_path / "x.tns", unstored="zero")
    (tmp_path / "x.tns").write_text("\n".join([*good[:33], "1 3000000 1", *good]))
    with pytest.raises(ValueError, match="line 34: has the shape"):
        io.read(tmp_path / "x.tns", unstored="zero")
    for kind, sizes in (("tensor", "5 10"), ("matrix", "5 10")):
        (tmp_path / "x.txt").write_text("\n".join([kind, "2", sizes, *map(str, range(50))]))
        order = "F" if kind == "tensor" else "C"
        assert_array_equal(io.read(tmp_path / "x.txt"), np.arange(50).reshape(5, 10, order=order))


def traced(x):
    return jax.jit(lambda values: io.write("x.npz", x.with_values(values)))(x.values)


NOT_WRITTEN = [
    ("x.npy", lambda x: x, "a sparse tensor goes into a file that ends in .tns, .tns.gz, .t"),
    ("x.tns", lambda x: np.ones((2, 2)), "an array goes into a file that ends in .txt, .npz, .npy"),
    ("x.npy", lambda x: cp.random(KEY, (2, 2), 1), "a model goes into a file that ends in .txt, "),
    ("x.gz", lambda x: x, "got x.gz"),
    ("x", lambda x: x, "got x"),
    ("x.tns", lambda x: x.with_values(VALUES + 1j), ".tns files hold real numbers only, .npz"),
    ("x.txt", lambda x: np.ones((2, 2)) * 1j, ".txt files hold real numbers only, .npz"),
    ("x.npz", lambda x: x.with_values(x.values * np.inf), "values need to be finite"),
    ("x.tns", lambda x: Sparse(INDICES, VALUES, SHAPE, entry_weights=np.ones(4), **MISSING),
     ".tns files have no place for entry weights, .npz has one"),
    ("x.npz", lambda x: jax.tree.map(lambda a: jnp.stack([a, a]), x), "got a batch with values of"),
    ("x.npy", lambda x: np.array([np.inf]), "it holds inf, or nothing but NaN"),
    ("x.npy", lambda x: np.array([{}]), "a tensor of numbers is needed, and it holds object"),
    ("x.npy", lambda x: np.ma.masked_equal([1.0, 2.0], 1), "a masked array goes where a tensor"),
    ("x.txt", lambda x: np.array(1.0), "a tensor is needed, and it holds one number"),
    ("x.npy", lambda x: "text", "needs an array of numbers, got str"),
    ("x.txt", lambda x: cp.CPTensor(jnp.ones((2, 1)), (jnp.ones((2, 3, 1)),)), "hold one model"),
    ("x.npz", traced, "works outside jit, vmap and grad only"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "message"), NOT_WRITTEN, ids=[r[2] for r in NOT_WRITTEN])
def test_what_is_not_written(tmp_path, monkeypatch, sparse, name, make, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^io.write: .*{re.escape(message)}"):
        io.write(tmp_path / name, make(sparse))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, sparse):
    def full(*arguments):
        raise OSError("disk full")

    (tmp_path / "x.tns").write_text("old")
    monkeypatch.setattr("jkr.io._tns.write_rows", full)
    with pytest.raises(OSError, match="disk full"):
        io.write(tmp_path / "x.tns", sparse)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tns"]
    assert (tmp_path / "x.tns").read_text() == "old"


# A thousand damaged files


LINES = [
    "# counts",
    *(f"{i} {j} {k} {i * j / k:.3g}" for i, j, k in np.argwhere(np.ones((2, 3, 2))) + 1),
]
LINES.insert(5, "")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def truncated(text, rng):
    return text[: rng.integers(len(text))]


def with_letter(text, rng):
    k = rng.integers(len(text))
    return text[:k] + rng.choice(list("abcdefxyzE.,;-#\0é")) + text[k + 1 :]


def with_word(text, rng, make):
    """One word of one line made into others."""
    lines = text.split("\n")
    n = rng.integers(len(lines))
    words = lines[n].split(" ")
    k = rng.integers(len(words))
    lines[n] = " ".join([*words[:k], *make(words[k]), *words[k + 1 :]])
    return "\n".join(lines)


def negative(text, rng):
    return with_word(text, rng, lambda word: [f"-{word}"])


def huge(text, rng):
    return with_word(text, rng, lambda word: ["9" * rng.integers(2, 25)])


def wrong_columns(text, rng):
    return with_word(text, rng, lambda word: [] if rng.integers(2) else [word, word])


DAMAGES = [truncated, with_letter, negative, huge, wrong_columns]


def line_by_line(text):
    """The entries of a `.tns` file, or the number of the line at fault, or 0 for the whole file."""
    entries, order = [], None
    for n, line in enumerate(text.split("\n"), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        order = order or len(words) - 1
        if order < 2 or len(words) != order + 1 or not all(map(NUMBER.fullmatch, words)):
            return n
        *at, value = map(float, words)
        if not all(1 <= i < 2**31 and i == int(i) for i in at) or not np.isfinite(value):
            return n
        entries.append((n, [int(i) - 1 for i in at], value))
    if not entries:
        return 0
    largest, n = max((max(at), -n) for n, at, _ in entries)
    if largest >= 1 << 20:
        return -n
    return by_hand([at for _, at, _ in entries], [value for *_, value in entries])


def told(path):
    """The message of a file that is refused, and else what it holds."""
    try:
        found = io.read(path, unstored="zero")
    except ValueError as error:
        message = str(error)
        assert "\n" not in message
        assert message.startswith(f"io.read: {path} ")
        return message
    return stored(found)


@pytest.fixture
def little_memory():
    io.read  # noqa: B018 - so that its import does not count
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e8


def damaged_texts(count):
    rng = np.random.default_rng(0)
    for k in range(count):
        yield DAMAGES[k % len(DAMAGES)]("\n".join(LINES), rng)


@pytest.mark.usefixtures("little_memory")
def test_damaged_text(tmp_path):
    path, refused = tmp_path / "x.tns", 0
    for text in damaged_texts(500):
        path.write_text(text, encoding="utf-8")
        known, found = line_by_line(text), told(path)
        if isinstance(known, dict):
            assert found == known, text
        else:
            assert (f" line {known}: " if known else "it holds no entry") in found, text
            refused += 1
    assert refused > 250


@pytest.mark.usefixtures("little_memory")
def test_damaged_headers(tmp_path):
    rng, path, refused = np.random.default_rng(1), tmp_path / "x.txt", 0
    good = {(0, 0, 0): 0.5, (3, 4, 5): 1.5}
    for k in range(100):
        lines = SPTENSOR.split("\n")
        header = DAMAGES[k % len(DAMAGES)]("\n".join(lines[1:4]), rng)
        path.write_text("\n".join([lines[0], header, *lines[4:]]), encoding="utf-8")
        found = told(path)
        refused += found != good
        assert found == good or re.search(r" line \d+: ", found), header
    assert refused > 70


def damaged_archives(count):
    """COO files with arrays that do not fit, or bytes that do not."""
    rng = np.random.default_rng(2)
    coords = {"coords": INDICES.T, "data": VALUES, "shape": np.array(SHAPE)}
    files = [npz(**COO), npz(**coords)]
    np.savez_compressed(file := streams.BytesIO(), **COO)
    files.append(file.getvalue())
    for k in range(count):
        content = bytearray(files[k % 3])
        if k % 4 == 0:
            yield bytes(content[: rng.integers(len(content))])
        elif k % 4 == 1:
            content[rng.integers(len(content))] = rng.integers(256)
            yield bytes(content)
        elif k % 4 == 2:
            start = rng.integers(len(content))
            yield bytes(content[:start]) + rng.bytes(8) + bytes(content[start + 8 :])
        else:
            yield npz(**COO | wrong_arrays(rng))


def wrong_arrays(rng):
    """One of the arrays of a COO file, such that it does not go with the others."""
    at, shape = INDICES.copy(), np.array(SHAPE)
    row, mode = rng.integers(len(at)), rng.integers(3)
    at[row, mode] = rng.choice([-1, -(2**40), SHAPE[mode], 2**31, 2**62])
    shape[mode] = rng.choice([-1, 0, 1, 2**31, 2**62])
    return [
        {"indices": at},
        {"indices": INDICES[:, : rng.integers(3)]},
        {"indices": INDICES.T},
        {"indices": INDICES.astype(rng.choice(["float64", "complex128", "U4", "bool"]))},
        {"shape": shape},
        {"shape": shape[: rng.integers(3)]},
        {"values": VALUES[: rng.integers(4)]},
        {"values": VALUES.astype(rng.choice(["U9", "S9"]))},
        {"values": np.where(rng.integers(4) == np.arange(4), np.inf, VALUES)},
    ][rng.integers(9)]


@pytest.mark.usefixtures("little_memory")
def test_damaged_archives(tmp_path):
    path, refused = tmp_path / "x.npz", 0
    for content in damaged_archives(500):
        path.write_bytes(content)
        found = told(path)
        refused += isinstance(found, str)
        assert isinstance(found, str) or found == by_hand(INDICES, VALUES)
    assert refused > 400


# The command


@pytest.mark.usefixtures("little_memory")
def test_the_command_says_it_in_one_line(tmp_path):
    texts = [t for t in damaged_texts(50) if not isinstance(line_by_line(t), dict)][:10]
    archives = [*damaged_archives(40)][::4]
    for k, content in enumerate([*(t.encode() for t in texts), *archives]):
        path = tmp_path / ("x.tns" if k < len(texts) else "x.npz")
        path.write_bytes(content)
        with pytest.raises(SystemExit) as exit:
            main(["fit", str(path), "--rank", "1", "--unstored", "zero"])
        assert exit.value.code == f"jkr: {told(path)}"
    assert k == 19


def test_the_command_in_a_process_of_its_own(tmp_path):
    (tmp_path / "x.tns").write_text("1 1 1 2\n1 1 0 2\n")
    arguments = ["fit", "x.tns", "--rank", "1", "--unstored", "zero"]
    run = subprocess.run(
        [sys.executable, "-m", "jkr", *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "jkr: io.read: x.tns could not be read: line 2: needs indices from 1 to 2147483647, got "
        "1 1 0\n"
    )


@pytest.mark.parametrize(("unstored", "loss"), [("zero", "poisson"), ("missing", "gaussian")])
def test_the_command_fits_a_sparse_tensor(tmp_path, monkeypatch, capsys, rng, unstored, loss):
    monkeypatch.chdir(tmp_path)
    counts = rng.poisson(1.0, (4, 5, 6))
    x = Sparse(np.argwhere(counts), 1.0 * counts[counts > 0], counts.shape, unstored=unstored)
    io.write("x.tns", x)
    options = ["--unstored", unstored, "--loss", loss, "--restarts", "1", "--max-iters", "3"]
    main(["fit", "x.tns", "--rank", "2", "--shape", "4", "5", "6", *options, "--out", "m.npz"])
    said = capsys.readouterr().out
    assert f"{(counts > 0).sum()} of 120 entries are stored, the others are {unstored}" in said
    # With a callback, as the command has one, so that nothing is compiled again.
    options = {"loss": getattr(cp.losses, loss), "max_iters": 3, "tol": 1e-9}
    known = cp.fit(x, 2, key=jax.random.key(1), callback=lambda state: None, **options)
    jax.tree.map(np.testing.assert_allclose, io.read("m.npz"), known.cp)


def test_the_command_fits_no_model(tmp_path):
    io.write(tmp_path / "m.txt", cp.random(KEY, (4, 5), 1))
    with pytest.raises(SystemExit, match="m.txt holds a model, not a tensor"):
        main(["fit", str(tmp_path / "m.txt"), "--rank", "1"])
