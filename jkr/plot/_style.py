"""What the figures share: two tones that differ in grey too, and axes with their labels."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes

from jkr import _check

MANY = 30  # more bars than this get no tick label each
DARK, MIDDLE, LIGHT = "#1f4e79", "#e08214", "#e8e8e8"

Labels = Sequence[Sequence[str] | None]


def described(
    name: str, shape: tuple[int, ...], modes: Sequence[str] | None, labels: Labels | None
) -> tuple[Sequence[str], Labels]:
    """The names of the modes and the labels of their indices, or what stands for them."""
    labels = [None] * len(shape) if labels is None else labels
    modes = [f"mode {n}" for n in range(len(shape))] if modes is None else modes
    _check.axes(name, shape, modes=modes, labels=labels)
    return modes, labels


def draw(ax: Axes, values: np.ndarray, labels: Sequence[str] | None, ordered: bool) -> None:
    """One value an index, as a line or as bars; runs of one label are shaded in turn."""
    index = np.arange(len(values))
    if ordered:
        ax.plot(index, values, color=DARK, marker="o" if len(values) <= MANY else None)
    else:
        ax.bar(index, values, color=DARK, width=0.8 if len(values) <= MANY else 1.0)
    for k, (first, last, _) in enumerate(_groups(labels)):
        if k % 2:
            ax.axvspan(first - 0.5, last + 0.5, color=LIGHT, zorder=0)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.margins(x=0.02)
    plain(ax)


def plain(ax: Axes) -> None:
    """No box around the axes."""
    ax.spines[["top", "right"]].set_visible(False)


def label_axis(ax: Axes, labels: Sequence[str] | None) -> None:
    """Ticks with labels where there are any and they fit, else "index"."""
    groups = _groups(labels)
    if groups:
        ax.set_xticks([(a + b) / 2 for a, b, _ in groups], [name for *_, name in groups])
    elif labels is not None and len(labels) <= MANY:
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
