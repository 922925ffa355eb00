"""The command line: what it prints and writes, one line and exit status 1 for bad input."""

import jax
import numpy as np
import oracles
import pytest

from jkr import cp
from jkr.__main__ import main


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tensor(rng):
    return oracles.full([2.0, 1.0], [rng.standard_normal((n, 2)) for n in (4, 5, 6)])


def test_demo_fits_prints_and_draws(capsys, tmp_path):
    main(["demo", "--max-iters", "20"])
    out = capsys.readouterr().out
    for words in (
        "438 samples × 6 antigens × 11 receptors",
        "rank 2",
        "steps   objective 9",
        "IgG1",
    ):
        assert words in out
    assert "component 2, weight" in out
    assert "wrote jkr-demo-factors.png" in out
    assert (tmp_path / "jkr-demo-factors.png").stat().st_size > 10_000


def test_fit_writes_factors_that_rebuild_the_tensor(tensor, capsys, tmp_path):
    np.save("x.npy", tensor)
    arguments = ["--rank", "2", "--out", "factors.npz", "--plot", "p.png", "--tol", "1e-9"]
    main(["fit", "x.npy", *arguments])
    with np.load("factors.npz") as saved:
        factors = [saved[f"factor_{n}"] for n in range(3)]
        np.testing.assert_allclose(oracles.full(saved["weights"], factors), tensor, atol=1e-3)
        assert saved["fit"] > 0.999
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert "converged" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["factors.npz", "p.png", "x.npy"]


def test_fit_is_that_of_the_library(tensor, capsys):
    np.save("x.npy", tensor + np.random.default_rng(1).standard_normal(tensor.shape))
    options = ["--restarts", "2", "--nonnegative", "--tol", "0", "--max-iters", "25"]
    main(["fit", "x.npy", "--rank", "2", *options, "--out", "a.npz"])
    assert "   20 steps" in capsys.readouterr().out
    key, x = jax.random.key(1), np.load("x.npy")
    once = cp.fit(x, 2, key=key, restarts=2, nonnegative=True, tol=0, max_iters=25)
    with np.load("a.npz") as saved:
        np.testing.assert_allclose(saved["fit"], once.fit, atol=1e-6)
        assert (saved["factor_0"] >= 0).all()


def test_nan_is_missing(tensor, capsys):
    holes = np.where(np.random.default_rng(0).uniform(size=tensor.shape) < 0.2, np.nan, tensor)
    np.save("x.npy", holes)
    main(["fit", "x.npy", "--rank", "2", "--out", "a.npz", "--tol", "1e-12"])
    missing = int(np.isnan(holes).sum())
    assert f"{missing} of 120 entries are missing (NaN)" in capsys.readouterr().out
    with np.load("a.npz") as saved:
        factors = [saved[f"factor_{n}"] for n in range(3)]
        np.testing.assert_allclose(oracles.full(saved["weights"], factors), tensor, atol=1e-3)


def test_fit_picks_an_array_by_name(tensor, capsys):
    np.savez("x.npz", a=tensor, b=tensor[0])
    main(["fit", "x.npz", "--rank", "1", "--array", "b", "--max-iters", "2"])
    assert "shape (5, 6), rank 1" in capsys.readouterr().out
    np.savez("one.npz", tensor)
    main(["fit", "one.npz", "--rank", "1", "--max-iters", "2"])
    assert "shape (4, 5, 6), rank 1" in capsys.readouterr().out


def save(name, array):
    np.save(name, array, allow_pickle=True)
    return name


BAD = [
    (lambda: ["none.npy", "--rank", "1"], "no such file: none.npy"),
    (lambda: [save("x.npy", np.ones((2, 2))), "--rank", "0"], "rank needs to be at least 1, got 0"),
    (lambda: [save("x.npy", np.ones(3)), "--rank", "1"], "needs order 2 or more, got shape (3,)"),
    (lambda: [save("x.npy", np.array(["a"])), "--rank", "1"], "a tensor of numbers is needed"),
    (lambda: [save("x.npy", np.array([{}])), "--rank", "1"], "could not be read"),
    (lambda: [save("x.npy", np.full((2, 2), np.nan)), "--rank", "1"], "nothing but NaN"),
    (
        lambda: [save("x.npy", np.full((2, 2), np.inf)), "--rank", "1"],
        "x.npy is no tensor: it holds inf",
    ),
    (
        lambda: [save("x.npy", np.ones((2, 2))), "--rank", "1", "--max-iters", "0"],
        "--max-iters needs to be at least 1",
    ),
    (
        lambda: [save("x.npy", np.ones((2, 2))), "--rank", "1", "--plot", "p.docx"],
        "--plot: a file ending in one of",
    ),
    (
        lambda: [save("x.npy", np.ones((2, 2))), "--rank", "1", "--array", "a"],
        "leave out array",
    ),
    (
        lambda: [save("x.npy", np.full((20, 20, 20), 900, "float16")), "--rank", "1"],
        "is not finite",
    ),
    (lambda: [save("x.npy", np.ones((2, 2))), "--rank", "1", "--seed", "9" * 30], "too large"),
    (
        lambda: [save("x.npy", np.ones((2, 2))), "--rank", "1", "--out", "no/such/folder.npz"],
        "no such folder",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input_is_one_line(arguments, message):
    with pytest.raises(SystemExit) as exit:
        main(["fit", *arguments()])
    text = str(exit.value)
    assert text.startswith("jkr: ")
    assert message in text
    assert "\n" not in text


def test_two_arrays_need_a_name():
    np.savez("x.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    with pytest.raises(SystemExit, match=r"choose one of its arrays with array \(--array\): a, b"):
        main(["fit", "x.npz", "--rank", "1"])


def test_an_empty_file_is_one_line(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"")
    with pytest.raises(SystemExit, match="could not be read"):
        main(["fit", "x.npy", "--rank", "1"])


def test_a_broken_archive_is_one_line(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SystemExit, match="could not be read"):
        main(["fit", "x.npz", "--rank", "1"])


def test_a_failed_write_leaves_the_old_file(monkeypatch, tmp_path, tensor):
    np.save("x.npy", tensor)
    (tmp_path / "f.npz").write_bytes(b"old")

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(SystemExit, match="disk full"):
        main(["fit", "x.npy", "--rank", "1", "--out", "f.npz"])
    assert (tmp_path / "f.npz").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.npz", "x.npy"]
