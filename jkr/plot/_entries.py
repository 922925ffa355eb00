"""The entries of a tensor: which are missing, and what a model leaves of the others."""

from collections.abc import Sequence

import numpy as np
from jax import Array
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jkr import _check
from jkr.cp import CPTensor, losses
from jkr.plot._style import DARK, MANY, Labels, described, draw, label_axis, plain


def missing(
    tensor: ArrayLike,
    *,
    entry_weights: ArrayLike | None = None,
    modes: Sequence[str] | None = None,
    labels: Labels | None = None,
    title: str | None = None,
) -> Figure:
    """Draw what is missing of a tensor: its share along each mode, and a map over two modes.

    The map, of the two modes along which that share varies most, is white where all is observed,
    black where nothing is.

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2; NaN is missing, and what is masked.
        entry_weights: (I_1, …, I_N), zero where an entry is missing; where NaN stands, if not
            given.
        modes: the name of each mode; "mode 0", … if not given.
        labels: the labels of each mode's indices, or None for a mode without.
        title: of the figure; the share that is missing, if not given.

    Returns:
        matplotlib Figure of an axes for each mode, the map and its scale.

    Raises:
        ValueError: a tensor of order below 2 or with an empty mode, entry weights that are complex
            or of another shape, names or labels that do not fit.

    Example:
        >>> import jkr
        >>> data = jkr.datasets.il2_response()
        >>> figure = jkr.plot.missing(data.tensor, modes=data.modes, labels=data.labels)
        >>> len(figure.axes)
        6
    """
    tensor, entry_weights = _check.data_and_weights("plot.missing", tensor, entry_weights)
    x = _check.data("plot.missing", tensor)
    w = (
        None
        if entry_weights is None
        else _check.entry_weights("plot.missing", entry_weights, x.shape)
    )
    gone = np.asarray(np.isnan(x) if w is None else np.asarray(w) == 0)
    modes, labels = described("plot.missing", x.shape, modes, labels)
    figure = Figure(figsize=(max(3.0 * x.ndim, 7.0), 6.0), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.2))[:, 0]
    axes = above.subplots(1, x.ndim, squeeze=False, sharey=True)[0]
    shares = [
        100 * gone.mean(axis=tuple(m for m in range(x.ndim) if m != n)) for n in range(x.ndim)
    ]
    for n, ax in enumerate(axes):
        draw(ax, shares[n], labels[n], ordered=False)
        ax.set_title(modes[n])
        label_axis(ax, labels[n])
    axes[0].set_ylabel("missing, %")
    axes[0].set_ylim(bottom=0)
    varied = sorted(range(x.ndim), key=lambda n: (-np.std(shares[n]), -x.shape[n]))
    rows, columns = sorted(varied[:2])
    both = 100 * gone.mean(axis=tuple(m for m in range(x.ndim) if m not in (rows, columns)))
    ax = below.subplots()
    image = ax.imshow(both, cmap="Greys", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    for axis, n in ((ax.yaxis, rows), (ax.xaxis, columns)):
        axis.set_label_text(modes[n])
        names = labels[n]
        if names is not None and len(names) <= MANY:
            axis.set_ticks(range(len(names)), names, fontsize="small")
    below.colorbar(image, ax=ax, label="missing, %")
    figure.suptitle(title or f"{100 * gone.mean():.1f} % of {gone.size} entries are missing")
    return figure


def residuals(
    cp: CPTensor,
    tensor: ArrayLike,
    *,
    loss: losses.Loss = losses.gaussian,
    entry_weights: ArrayLike | None = None,
    modes: Sequence[str] | None = None,
    labels: Labels | None = None,
    title: str | None = None,
) -> Figure:
    """Draw what a model leaves: data against model, and the residual along each mode.

    Along a mode stands the root mean square of T − M at each index, in units of that of the data:
    an index far above the others is one that the model does not describe. Of complex data the
    absolute values are drawn.

    Args:
        cp: the model, a CPTensor (I_1, …, I_N).
        tensor: T (I_1, …, I_N), N ≥ 2; NaN is missing, and what is masked.
        loss: that it was fitted with; M is the data that it expects of the model.
        entry_weights: (I_1, …, I_N), zero where an entry is missing; where NaN stands, if not
            given. Other weights do not count.
        modes: the name of each mode; "mode 0", … if not given.
        labels: the labels of each mode's indices, or None for a mode without.
        title: of the figure; the fit, if not given.

    Returns:
        matplotlib Figure of an axes of the entries, and one for each mode.

    Raises:
        ValueError: no CP model, a tensor of another shape than the model, of order below 2 or with
            an empty mode, entry weights that are complex or of another shape, names or labels that
            do not fit.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> len(jkr.plot.residuals(truth, truth.full()).axes)
        4
    """
    name = "plot.residuals"
    tensor, entry_weights = _check.data_and_weights(name, tensor, entry_weights)
    x, cp = _check.data(name, tensor), CPTensor(*_check.parts(name, cp))
    _check.same_shape(name, cp.shape, x.shape)
    seen = _seen(name, x, entry_weights)
    modes, labels = described(name, x.shape, modes, labels)
    data, model = np.asarray(x), np.asarray(loss.expected(cp.full()))
    # In units of the largest entry, whose square may be out of range.
    largest = np.max(np.abs(data), where=seen, initial=0) or 1.0
    left = np.where(seen, np.abs(data - model) / largest, 0) ** 2
    whole = np.sum(np.where(seen, np.abs(data) / largest, 0) ** 2)
    unit = np.sqrt(whole / max(seen.sum(), 1)) or 1.0
    figure = Figure(figsize=(3.2 * (1 + x.ndim), 3.8), layout="constrained")
    first, *rest = figure.subplots(1, 1 + x.ndim)
    shown = np.abs if np.iscomplexobj(data) or np.iscomplexobj(model) else np.asarray
    pairs = shown(model[seen]), shown(data[seen])
    if seen.any():
        first.hexbin(*pairs, gridsize=40, bins="log", cmap="Greys", mincnt=1, linewidths=0.2)
        ends = [min(map(np.min, pairs)), max(map(np.max, pairs))]
        first.plot(ends, ends, color=DARK, linewidth=1)
    first.set_xlabel("model")
    first.set_ylabel("data")
    first.set_title("entries, darker: more")
    plain(first)
    for n, ax in enumerate(rest):
        others = tuple(m for m in range(x.ndim) if m != n)
        mean = left.sum(axis=others) / np.maximum(seen.sum(axis=others), 1)
        draw(ax, np.sqrt(mean) / unit, labels[n], ordered=False)
        ax.set_title(modes[n])
        label_axis(ax, labels[n])
    rest[0].set_ylabel("root mean square residual\n(of that of the data)")
    error = np.sqrt(left.sum() / whole) if whole > 0 else 0.0
    figure.suptitle(title or f"residuals, fit {1 - error:.3f}")
    return figure


def _seen(name: str, x: Array, entry_weights: ArrayLike | None) -> np.ndarray:
    """Which entries are observed."""
    if entry_weights is None:
        return ~np.isnan(np.asarray(x))
    return np.asarray(_check.entry_weights(name, entry_weights, x.shape)) != 0
