"""Figures: what is drawn, how it is labelled, and that nothing global is touched."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from jkr import cp, plot
from jkr.tensors import Dense, Sparse

KEY = jax.random.key(0)
MODEL = cp.random(jax.random.key(0), (4, 40, 6), 2)


def test_bars_for_labelled_modes_lines_for_ordered_ones():
    figure = plot.factors(
        MODEL,
        modes=["site", "time", "patient"],
        labels=[list("abcd"), None, list("xxyyyz")],
        title="a title",
    )
    axes = np.array(figure.axes).reshape(2, 3)
    assert [ax.get_title() for ax in axes[0]] == ["site", "time", "patient"]
    assert [len(ax.patches) for ax in axes[0]] == [4, 0, 6 + 1]  # one group of three is shaded
    assert [len(ax.lines) for ax in axes[0]] == [1, 2, 1]  # the zero line, and one curve
    assert [t.get_text() for t in axes[1, 0].get_xticklabels()] == list("abcd")
    assert [t.get_text() for t in axes[1, 2].get_xticklabels()] == list("xyz")
    assert axes[1, 1].get_xlabel() == "index"
    assert axes[0, 0].get_ylabel().startswith("component 1\nweight ")
    assert figure.get_suptitle() == "a title"


def test_heights_are_the_normalised_loadings_by_weight():
    weights, factors = MODEL.arrange()
    figure = plot.factors(MODEL, labels=[list("abcd"), None, None])
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(heights, factors[0][:, 0])
    assert f"{float(weights[0]):.3g}" in figure.axes[0].get_ylabel()


def test_complex_factors_and_png(tmp_path):
    figure = plot.factors(cp.random(jax.random.key(0), (3, 4), 1, dtype=complex))
    assert min(figure.axes[0].lines[0].get_ydata()) >= 0
    figure.savefig(tmp_path / "factors.png")
    assert (tmp_path / "factors.png").stat().st_size > 1000


def test_history_of_fits_and_of_objectives():
    x = np.asarray(cp.random(jax.random.key(1), (4, 5, 6), 2).full())
    results = [cp.als(x, rank, key=jax.random.key(2), max_iters=30) for rank in (1, 2)]
    figure = plot.history(results, names=["one", "two"], title="a title")
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iteration", "fit")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
    curve = ax.lines[0].get_ydata()
    assert len(curve) == int(results[0].iterations)
    assert curve[-1] == results[0].fit
    batch = jax.vmap(lambda k: cp.als(x, 1, key=k, max_iters=5))(
        jax.random.split(jax.random.key(0), 3)
    )
    assert len(plot.history(batch).axes[0].lines) == 2 * 3
    assert (
        plot.history(cp.gcp(x, 1, key=jax.random.key(0), max_iters=5)).axes[0].get_ylabel()
        == "objective"
    )


def test_missing_shares_and_their_map():
    x = np.ones((4, 5, 6))
    x[1, 2, :3] = np.nan
    figure = plot.missing(x, modes=["a", "b", "c"], labels=[list("wxyz"), None, None])
    first, second, third, image, _ = figure.axes
    assert [bar.get_height() for bar in first.patches] == [0, 10, 0, 0]
    assert [bar.get_height() for bar in second.patches] == [0, 0, 12.5, 0, 0]
    assert third.get_title() == "c"
    assert (image.get_ylabel(), image.get_xlabel()) == ("a", "b")
    assert np.asarray(image.images[0].get_array())[1, 2] == 50
    assert figure.get_suptitle() == "2.5 % of 120 entries are missing"
    assert np.array_equal(
        plot.missing(np.ones((4, 5, 6)), entry_weights=~np.isnan(x))
        .axes[0]
        .patches[1]
        .get_height(),
        10,
    )


def test_what_is_masked_is_missing():
    x = np.ma.masked_array(np.ones((4, 5, 6)), np.zeros((4, 5, 6)))
    x[1, 2, :3] = np.ma.masked
    heights = [bar.get_height() for bar in plot.missing(x).axes[0].patches]
    assert heights == [0, 10, 0, 0]


def drawn(figure):
    """Heights of bars, lines and shades."""
    bars = [bar.get_height() for ax in figure.axes for bar in ax.patches]
    lines = [line.get_ydata() for ax in figure.axes for line in ax.lines]
    images = [np.ravel(image.get_array()) for ax in figure.axes for image in ax.images]
    return np.concatenate([np.ravel(bars), *map(np.ravel, lines), *images])


def test_sparse_tensors_are_drawn_as_arrays_are(rng):
    truth = cp.random(KEY, (4, 5, 6), 2)
    seen = rng.uniform(size=truth.shape) < 0.3
    x = np.where(seen, truth.full() + 0.1, 0)
    w = rng.integers(0, 3, seen.sum())
    every = np.zeros(truth.shape)
    every[seen] = w
    at, values = np.argwhere(seen), x[seen]
    pairs = [
        (Sparse(at, values, x.shape, unstored="zero"), x),
        (Sparse(at, values, x.shape, unstored="missing"), np.where(seen, x, np.nan)),
        (Sparse(at, values, x.shape, unstored="missing", entry_weights=w), Dense(x, every)),
        (
            Sparse(at, values, x.shape, unstored="zero", entry_weights=w),
            Dense(x, np.where(seen, every, 1)),
        ),
    ]
    for sparse, dense in pairs:
        assert_allclose(drawn(plot.missing(sparse)), drawn(plot.missing(dense)), atol=1e-12)
        one, other = (plot.residuals(truth, made) for made in (sparse, dense))
        assert_allclose(drawn(one), drawn(other), rtol=1e-12)
        assert one.get_suptitle() == other.get_suptitle()
    long = (1300, 5, 700)  # the map's cells hold several rows
    seen = rng.uniform(size=long) < 0.3
    sparse = Sparse(np.argwhere(seen), np.ones(seen.sum()), long, unstored="missing")
    one, other = plot.missing(sparse), plot.missing(np.where(seen, 1, np.nan), modes=list("abc"))
    maps = [figure.axes[3].images[0] for figure in (one, other)]
    assert_allclose(maps[0].get_array(), maps[1].get_array(), atol=1e-12)
    assert maps[0].get_array().shape[1] in (5, 500)
    assert_allclose(100 - 100 * seen.mean(), np.mean(maps[0].get_array()), atol=0.5)
    tiny = Sparse([[0, 1]], [1.0], (2, 2), unstored="zero", entry_weights=[1e-30])
    assert plot.missing(tiny).get_suptitle() == "0.0 % of 4 entries are missing"


def test_residuals_along_each_mode():
    truth = cp.random(jax.random.key(0), (4, 5, 6), 2)
    x = np.array(truth.full())
    x[2] += 1.0
    x[0, 0, 0] = np.nan
    figure = plot.residuals(truth, x, modes=["a", "b", "c"])
    entries, *rest = figure.axes
    assert (entries.get_xlabel(), entries.get_ylabel()) == ("model", "data")
    heights = [bar.get_height() for bar in rest[0].patches]
    unit = np.sqrt(np.nanmean(x**2))
    np.testing.assert_allclose(heights, [0, 0, 1 / unit, 0], atol=1e-12)
    seen = np.where(np.isnan(x), 0, 1)
    error = np.sqrt(np.nansum((x - truth.full()) ** 2) / np.nansum(x**2))
    assert figure.get_suptitle() == f"residuals, fit {1 - error:.3f}"
    counts = np.exp(truth.full())
    small = jax.tree.map(lambda a: a.astype("float32"), truth)
    for scale in (1e-30, 1e30):  # whose squares are out of range
        scaled = plot.residuals(scale * small, (scale * x).astype("float32"))
        np.testing.assert_allclose(
            [bar.get_height() for bar in scaled.axes[1].patches], heights, atol=1e-5
        )
    masked = plot.residuals(truth, np.ma.masked_invalid(x))
    assert masked.get_suptitle() == figure.get_suptitle()
    log = plot.residuals(truth, counts, loss=cp.losses.poisson_log)
    assert log.get_suptitle() == "residuals, fit 1.000"
    weighted = plot.residuals(truth, np.nan_to_num(x), entry_weights=seen)
    assert weighted.get_suptitle() == figure.get_suptitle()
    assert (
        plot.residuals(truth, np.full(truth.shape, np.nan)).get_suptitle() == "residuals, fit 1.000"
    )


def test_rank_scan_names_the_rank():
    scan = cp.RankScan(
        np.array([1, 2, 3]),
        np.array([[0.5, 0.5], [0.9, 0.8], [0.91, 0.9]]),
        np.array([[100.0, 100], [99, 80], [-700, 50]]),
        np.array([1.0, 0.9, 0.4]),
        np.zeros((3, 2), int),
    )
    figure = plot.rank_scan(scan)
    assert scan.suggested == 2
    assert figure.get_suptitle().startswith("suggested: rank 2")
    core = figure.axes[1]
    assert list(core.lines[0].get_ydata()) == [100, 99, 0]
    assert [text.get_text() for text in core.texts] == ["-700"]
    assert scan.table().splitlines()[2].split() == ["2", "0.9000", "99.0", "0.900"]
    nothing = scan._replace(stability=np.array([0.1, 0.1, 0.1]))
    assert nothing.suggested is None
    assert plot.rank_scan(nothing).get_suptitle().startswith("no rank is suggested")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    import jkr

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "jkr.plot")
    monkeypatch.delattr(jkr, "plot")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jkr\[plot\]'"):
        _ = jkr.plot
    assert {"plot", "datasets", "khatri_rao"} <= set(dir(jkr))


def test_importing_the_library_leaves_matplotlib_and_optax_out():
    code = "import sys, jkr.cp; print([m for m in ('matplotlib', 'optax') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
