"""Figures of CP models; needs matplotlib (extra `plot`).

Every function returns a `matplotlib.figure.Figure` made without pyplot, so nothing is shown, no
display is needed and nothing global changes: `figure.savefig(...)`, or leave it as the last line
of a notebook cell.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jkr import _check
from jkr.cp import CPTensor

_MANY = 30  # more bars than this get no tick label each
_DARK, _LIGHT = "#1f4e79", "#e8e8e8"


def factors(
    cp: CPTensor,
    *,
    modes: Sequence[str] | None = None,
    labels: Sequence[Sequence[str] | None] | None = None,
    ordered: Sequence[bool] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw every factor: a row for each component, by weight, and a column for each mode.

    Columns are normalised first. Ordered modes are drawn as lines, the others as bars; where
    consecutive bars share a label, the group is shaded and named once. Of complex factors the
    absolute values are drawn.

    Args:
        cp: the model.
        modes: the name of each mode; "mode 0", … if not given.
        labels: the labels of each mode's indices, or None for a mode without.
        ordered: whether each mode runs along a scale; modes without labels do, if not given.
        title: of the figure.

    Returns:
        matplotlib Figure.

    Raises:
        ValueError: names, labels or flags of another number than the modes, or labels of
            another number than a mode's indices.

    Example:
        >>> import jax, jkr
        >>> figure = jkr.plot.factors(jkr.cp.random(jax.random.key(0), (4, 5, 6), 2))
        >>> len(figure.axes)
        6
    """
    cp = CPTensor(*_check.parts("plot.factors", cp))
    shape = cp.shape
    _check.rank("plot.factors", cp.rank)
    labels = [None] * len(shape) if labels is None else labels
    modes = [f"mode {n}" for n in range(len(shape))] if modes is None else modes
    ordered = [names is None for names in labels] if ordered is None else ordered
    _check.axes("plot.factors", shape, modes=modes, labels=labels, ordered=ordered)

    weights, columns = cp.arrange()
    figure = Figure(figsize=(3.6 * len(shape), 1.5 * cp.rank + 1.4), layout="constrained")
    axes = figure.subplots(cp.rank, len(shape), squeeze=False, sharex="col")
    for n, factor in enumerate(columns):
        values = np.asarray(abs(factor) if np.iscomplexobj(factor) else factor)
        for r in range(cp.rank):
            _draw(axes[r, n], values[:, r], labels[n], ordered[n])
        axes[0, n].set_title(modes[n])
        _label_axis(axes[-1, n], labels[n])
    for r in range(cp.rank):
        axes[r, 0].set_ylabel(f"component {r + 1}\nweight {abs(complex(weights[r])):.3g}")
    figure.align_ylabels(axes[:, 0])
    if title:
        figure.suptitle(title)
    return figure


def _draw(ax: Axes, values: np.ndarray, labels: Sequence[str] | None, ordered: bool) -> None:
    index = np.arange(len(values))
    if ordered:
        ax.plot(index, values, color=_DARK, marker="o" if len(values) <= _MANY else None)
    else:
        ax.bar(index, values, color=_DARK, width=0.8 if len(values) <= _MANY else 1.0)
    for k, (first, last, _) in enumerate(_groups(labels)):
        if k % 2:
            ax.axvspan(first - 0.5, last + 0.5, color=_LIGHT, zorder=0)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.margins(x=0.02)
    ax.spines[["top", "right"]].set_visible(False)


def _label_axis(ax: Axes, labels: Sequence[str] | None) -> None:
    groups = _groups(labels)
    if groups:
        ax.set_xticks([(a + b) / 2 for a, b, _ in groups], [name for *_, name in groups])
    elif labels is not None and len(labels) <= _MANY:
        ax.set_xticks(range(len(labels)), labels)
    else:
        ax.set_xlabel("index")
        return
    ax.tick_params(axis="x", rotation=90, labelsize="small")


def _groups(labels: Sequence[str] | None) -> list[tuple[int, int, str]]:
    """(first, last, name) of every run of equal labels, where labels repeat at all."""
    if labels is None or len(set(labels)) == len(labels):
        return []
    runs = [list(run) for _, run in groupby(enumerate(labels), key=lambda pair: pair[1])]
    return [(run[0][0], run[-1][0], run[0][1]) for run in runs]
