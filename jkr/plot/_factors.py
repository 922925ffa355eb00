"""The components of a model, mode by mode."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jkr import _check
from jkr.cp import CPTensor
from jkr.plot._style import described, draw, label_axis


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
        cp: the model, a CPTensor (I_1, …, I_N) of rank R.
        modes: the name of each mode; "mode 0", … if not given.
        labels: the labels of each mode's indices, or None for a mode without.
        ordered: whether each mode runs along a scale; modes without labels do, if not given.
        title: of the figure.

    Returns:
        matplotlib Figure of R rows and N columns of axes.

    Raises:
        ValueError: no CP model, or one without components; names, labels or flags of another number
            than the modes, or labels of another number than a mode's indices.

    Example:
        >>> import jax, jkr
        >>> figure = jkr.plot.factors(jkr.cp.random(jax.random.key(0), (4, 5, 6), 2))
        >>> len(figure.axes)
        6
    """
    cp = CPTensor(*_check.parts("plot.factors", cp))
    shape = cp.shape
    _check.rank("plot.factors", cp.rank)
    modes, labels = described("plot.factors", shape, modes, labels)
    ordered = [names is None for names in labels] if ordered is None else ordered
    _check.axes("plot.factors", shape, ordered=ordered)

    weights, columns = cp.arrange()
    if any(np.iscomplexobj(factor) for factor in columns):
        modes = [f"{mode}, absolute values" for mode in modes]
    figure = Figure(figsize=(3.6 * len(shape), 1.5 * cp.rank + 1.4), layout="constrained")
    axes = figure.subplots(cp.rank, len(shape), squeeze=False, sharex="col")
    for n, factor in enumerate(columns):
        values = np.asarray(abs(factor) if np.iscomplexobj(factor) else factor)
        for r in range(cp.rank):
            draw(axes[r, n], values[:, r], labels[n], ordered[n])
        axes[0, n].set_title(modes[n])
        label_axis(axes[-1, n], labels[n])
    for r in range(cp.rank):
        axes[r, 0].set_ylabel(f"component {r + 1}\nweight {abs(complex(weights[r])):.3g}")
    figure.align_ylabels(axes[:, 0])
    if title:
        figure.suptitle(title)
    return figure
