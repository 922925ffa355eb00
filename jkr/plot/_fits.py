"""How fits went, and how many components they speak for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jkr import _check
from jkr.cp import CPResult, RankScan
from jkr.plot._style import DARK, LIGHT, MIDDLE, plain

_STYLES = ("-", "--", "-.", ":")


def history(
    results: CPResult | Sequence[CPResult],
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the history of one fit or of several: the fit, or the objective, against iterations.

    Args:
        results: of `als` or of `gcp`, one, a batch made by `vmap`, or a sequence of them.
        names: of the results, in their order, for a legend.
        title: of the figure.

    Returns:
        matplotlib Figure of one axes.

    Raises:
        ValueError: none, or what is no CPResult, or names of another number than the results.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> figure = jkr.plot.history(jkr.cp.als(x, 2, key=jax.random.key(1)))
        >>> figure.axes[0].get_ylabel()
        'fit'
    """
    # A CPResult is a tuple, too.
    several: list[Any] = [results]
    if isinstance(results, list | tuple) and not isinstance(results, CPResult):
        several = list(results)
    _check.kinds("plot.history", "results", several, CPResult)
    lines = [(k, *line) for k, result in enumerate(several) for line in _lines(result)]
    if names is not None:
        _check.as_many("plot.history", "names", names, "results", several)
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    ax = figure.subplots()
    seen = set()
    for k, values, _ in lines:
        label = None if names is None or k in seen else names[k]
        seen.add(k)
        style = _STYLES[k % len(_STYLES)]
        colour = DARK if k % 2 == 0 else MIDDLE
        ax.plot(1 + np.arange(len(values)), values, style, color=colour, label=label)
        ax.plot(len(values), values[-1], "o", color=colour, markersize=4)
    if max(len(values) for _, values, _ in lines) > 20:
        ax.set_xscale("log")
    ax.set_xlabel("iteration")
    ax.set_ylabel("fit" if all(is_fit for *_, is_fit in lines) else "objective")
    plain(ax)
    if names is not None:
        ax.legend(frameon=False)
    if title:
        figure.suptitle(title)
    return figure


def _lines(result: CPResult) -> list[tuple[np.ndarray, bool]]:
    """The history of each fit of a batch as far as it went, and whether it is one of fits."""
    histories = np.asarray(result.history)
    counts, fits = np.ravel(result.iterations), np.ravel(result.fit)
    rows = histories.reshape(-1, histories.shape[-1])
    return [
        (row[: max(int(count), 1)], bool(row[-1] == fit))
        for row, count, fit in zip(rows, counts, fits, strict=True)
    ]


def rank_scan(scan: RankScan, *, title: str | None = None) -> Figure:
    """Draw a rank scan: fit, core consistency and stability against the number of components.

    The rank that the scan suggests is shaded and named. Core consistencies below zero are drawn at
    zero, and their values written there.

    Args:
        scan: of `cp.rank_scan`, a RankScan.
        title: of the figure; what it suggests, if not given.

    Returns:
        matplotlib Figure of three axes.

    Raises:
        ValueError: what is no RankScan.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> scan = jkr.cp.rank_scan(x, (1, 2), key=jax.random.key(1), restarts=2)
        >>> len(jkr.plot.rank_scan(scan).axes)
        3

    Source: what is shaded: [BK03].
    """
    _check.kinds("plot.rank_scan", "scan", [scan], RankScan)
    ranks, fits = np.asarray(scan.ranks), np.asarray(scan.fit)
    core, stability = np.asarray(scan.core_consistency[:, 0]), np.asarray(scan.stability)
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    for starts in fits.T[1:]:
        top.plot(ranks, starts, "o", color="none", markeredgecolor=MIDDLE, markersize=5)
    _line(top, ranks, fits[:, 0], "fit\n(best start, all starts)")
    _line(middle, ranks, np.maximum(core, 0), "core consistency\n(best start)", (-8, 108), 50)
    for rank, value in zip(ranks, core, strict=True):
        if value < 0:
            middle.annotate(
                f"{value:.0f}" if value > -1e4 else f"{value:.0e}",
                (rank, 0),
                (0, 8),
                textcoords="offset points",
                ha="center",
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
            )
    _line(bottom, ranks, stability, "stability\n(better half of starts)", (-0.08, 1.08), 0.9)
    bottom.set_xlabel("number of components")
    bottom.set_xticks(ranks)
    bottom.margins(x=0.08)
    suggested = scan.suggested
    for ax in (top, middle, bottom):
        if suggested is not None:
            ax.axvspan(suggested - 0.3, suggested + 0.3, color=LIGHT, zorder=0)
    found = "no rank is suggested" if suggested is None else f"suggested: rank {suggested}"
    figure.suptitle(title or f"{found} (largest above both dotted lines)")
    figure.align_ylabels([top, middle, bottom])
    return figure


def _line(
    ax: Axes,
    ranks: np.ndarray,
    values: np.ndarray,
    label: str,
    limits: tuple[float, float] | None = None,
    threshold: float | None = None,
) -> None:
    ax.plot(ranks, values, "o-", color=DARK)
    ax.set_ylabel(label)
    if limits is not None:
        ax.set_ylim(*limits)
    if threshold is not None:
        ax.axhline(threshold, color="black", linestyle=":", linewidth=1)
    plain(ax)
