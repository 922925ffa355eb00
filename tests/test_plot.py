"""Figures: what is drawn, how it is labelled, and that nothing global is touched."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jkr import cp, plot

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


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    import jkr

    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.delitem(sys.modules, "jkr.plot")
    monkeypatch.delattr(jkr, "plot")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jkr\[plot\]'"):
        _ = jkr.plot
    assert {"plot", "datasets", "khatri_rao"} <= set(dir(jkr))


def test_importing_the_library_leaves_matplotlib_and_optax_out():
    code = "import sys, jkr; print([m for m in ('matplotlib', 'optax') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
