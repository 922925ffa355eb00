"""The entries of a tensor: which are missing, and what a model leaves of the others."""

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import cast

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from jkr import _check
from jkr.cp import CPTensor, losses
from jkr.plot._style import DARK, MANY, Labels, described, draw, label_axis, plain
from jkr.tensors import Dense, Sparse, Tensor
from jkr.tensors._as_tensor import as_tensor

_MOST = 1 << 26  # entries of a tensor whose unstored zeros are drawn
_CELLS = 500  # of a map along a mode


def missing(
    tensor: ArrayLike | Tensor,
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
        tensor: T (I_1, …, I_N), N ≥ 2; NaN is missing, and what is masked; `tensors.Dense` and
            `tensors.Sparse` as well.
        entry_weights: (I_1, …, I_N), zero where an entry is missing; where NaN stands, if not
            given.
        modes: the name of each mode; "mode 0", … if not given.
        labels: the labels of each mode's indices, or None for a mode without.
        title: of the figure; the share that is missing, if not given.

    Returns:
        matplotlib Figure of an axes for each mode, the map and its scale.

    Raises:
        ValueError: a tensor of order below 2 or with an empty mode, one of zeros that are not
            stored and too many to draw, entry weights that are complex or of another shape, names
            or labels that do not fit.

    Example:
        >>> import jkr
        >>> data = jkr.datasets.il2_response()
        >>> figure = jkr.plot.missing(data.tensor, modes=data.modes, labels=data.labels)
        >>> len(figure.axes)
        6
    """
    known = _known("plot.missing", tensor, entry_weights)
    shape, order = known.shape, len(known.shape)

    def percent(*kept: int, cells: int | None = None) -> np.ndarray:
        widths = (np.diff(_edges(shape[m], cells)) for m in kept)
        of_one = float(prod(shape) // prod(shape[m] for m in kept))
        of_each = reduce(np.multiply.outer, widths, np.asarray(of_one))
        return 100 * (of_each - known.counts(*kept, cells=cells)) / of_each

    modes, labels = described("plot.missing", shape, modes, labels)
    figure = Figure(figsize=(max(3.0 * order, 7.0), 6.0), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.2))[:, 0]
    axes = above.subplots(1, order, squeeze=False, sharey=True)[0]
    shares = [percent(n) for n in range(order)]
    for n, ax in enumerate(axes):
        draw(ax, shares[n], labels[n], ordered=False)
        ax.set_title(modes[n])
        label_axis(ax, labels[n])
    axes[0].set_ylabel("missing, %")
    axes[0].set_ylim(bottom=0)
    varied = sorted(range(order), key=lambda n: (-np.std(shares[n]), -shape[n]))
    rows, columns = sorted(varied[:2])
    ax = below.subplots()
    image = ax.imshow(
        percent(rows, columns, cells=_CELLS),
        extent=(-0.5, shape[columns] - 0.5, shape[rows] - 0.5, -0.5),
        cmap="Greys",
        vmin=0,
        vmax=100,
        aspect="auto",
        interpolation="nearest",
    )
    for axis, n in ((ax.yaxis, rows), (ax.xaxis, columns)):
        axis.set_label_text(modes[n])
        names = labels[n]
        if names is not None and len(names) <= MANY:
            axis.set_ticks(range(len(names)), names, fontsize="small")
    below.colorbar(image, ax=ax, label="missing, %")
    figure.suptitle(title or f"{float(percent()):.1f} % of {prod(shape)} entries are missing")
    return figure


def residuals(
    cp: CPTensor,
    tensor: ArrayLike | Tensor,
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
        tensor: T (I_1, …, I_N), N ≥ 2; NaN is missing, and what is masked; `tensors.Dense` and
            `tensors.Sparse` as well.
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
            an empty mode, one of zeros that are not stored and too many to draw, entry weights that
            are complex or of another shape, names or labels that do not fit.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> len(jkr.plot.residuals(truth, truth.full()).axes)
        4
    """
    name = "plot.residuals"
    known, cp = _known(name, tensor, entry_weights), CPTensor(*_check.parts(name, cp))
    _check.same_shape(name, cp.shape, known.shape)
    modes, labels = described(name, known.shape, modes, labels)
    data, model = known.data, np.asarray(loss.expected(known.model(cp)))
    # In units of the largest entry, whose square may be out of range.
    largest = np.max(np.abs(data), initial=0) or 1.0
    left = (np.abs(data - model) / largest) ** 2
    whole = np.sum((np.abs(data) / largest) ** 2)
    unit = np.sqrt(whole / max(data.size, 1)) or 1.0
    figure = Figure(figsize=(3.2 * (1 + len(known.shape)), 3.8), layout="constrained")
    first, *rest = figure.subplots(1, 1 + len(known.shape))
    shown = np.abs if np.iscomplexobj(data) or np.iscomplexobj(model) else np.asarray
    pairs = shown(model), shown(data)
    if data.size:
        first.hexbin(*pairs, gridsize=40, bins="log", cmap="Greys", mincnt=1, linewidths=0.2)
        ends = [min(map(np.min, pairs)), max(map(np.max, pairs))]
        first.plot(ends, ends, color=DARK, linewidth=1)
    first.set_xlabel("model")
    first.set_ylabel("data")
    first.set_title("entries, darker: more")
    plain(first)
    for n, ax in enumerate(rest):
        mean = known.sums(left, n) / np.maximum(known.counts(n), 1)
        draw(ax, np.sqrt(mean) / unit, labels[n], ordered=False)
        ax.set_title(modes[n])
        label_axis(ax, labels[n])
    rest[0].set_ylabel("root mean square residual\n(of that of the data)")
    error = np.sqrt(left.sum() / whole) if whole > 0 else 0.0
    figure.suptitle(title or f"residuals, fit {1 - error:.3f}")
    return figure


def _known(
    name: str, tensor: ArrayLike | Tensor, entry_weights: ArrayLike | None
) -> "_OfArray | _OfList":
    """The entries that are known."""
    made = as_tensor(name, tensor, entry_weights)
    if isinstance(made, Sparse) and made.unstored == "zero":
        _check.few_zeros(name, made.shape, _MOST)
        made = _with_zeros(made)
    if isinstance(made, Sparse):
        return _OfList(made)
    _check.kinds(name, "tensor", [made if isinstance(made, Dense) else tensor], Dense)
    return _OfArray(cast(Dense, made))


class _OfArray:
    """Known entries of an array, and sums over them.

    Attributes:
        shape: of the tensor.
        data: one number for each entry that is known.
    """

    def __init__(self, tensor: Dense):
        array, w = np.asarray(tensor.array), tensor.entry_weights
        self._seen = ~np.isnan(array) if w is None else np.asarray(w) != 0
        self.shape, self.data = array.shape, array[self._seen]

    def model(self, cp: CPTensor) -> np.ndarray:
        """The model at these entries."""
        return np.asarray(cp.full())[self._seen]

    def sums(self, x: np.ndarray, *kept: int) -> np.ndarray:
        """Of numbers of these entries, over all modes but those that are kept."""
        whole = np.zeros(self.shape, x.dtype)
        whole[self._seen] = x
        return whole.sum(axis=self._all_but(kept))

    def counts(self, *kept: int, cells: int | None = None) -> np.ndarray:
        """How many there are, in so many cells along a mode."""
        total = self._seen.sum(axis=self._all_but(kept))
        for axis, m in enumerate(kept):
            total = np.add.reduceat(total, _edges(self.shape[m], cells)[:-1], axis=axis)
        return total

    def _all_but(self, kept: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(m for m in range(len(self.shape)) if m not in kept)


class _OfList:
    """Entries that are stored, all others missing; otherwise as `_OfArray`."""

    def __init__(self, tensor: Sparse):
        at, data, w = np.asarray(tensor.indices), np.asarray(tensor.values), tensor.entry_weights
        seen = slice(None) if w is None else np.asarray(w) != 0
        self.shape, self._at, self.data = tensor.shape, at[seen], data[seen]

    def model(self, cp: CPTensor) -> Array:
        """The model at these entries."""
        return cp.at(self._at)

    def sums(self, x: np.ndarray, *kept: int, cells: int | None = None) -> np.ndarray:
        """Of numbers of these entries, over all modes but those that are kept."""
        edges = [_edges(self.shape[m], cells) for m in kept]
        rows = np.zeros(len(x), int)
        for m, e in zip(kept, edges, strict=True):
            rows = rows * (len(e) - 1) + np.searchsorted(e, self._at[:, m], side="right") - 1
        sizes = tuple(len(e) - 1 for e in edges)
        return np.bincount(rows, x, minlength=prod(sizes)).reshape(sizes)

    def counts(self, *kept: int, cells: int | None = None) -> np.ndarray:
        """How many there are, in so many cells along a mode."""
        return self.sums(np.ones(self.data.size), *kept, cells=cells)


def _edges(size: int, most: int | None) -> np.ndarray:
    """Where cells of a mode begin, and its end: one for each index, where those are few."""
    count = size if most is None else min(size, most)
    return np.arange(count + 1) * size // count


def _with_zeros(x: Sparse) -> Dense:
    """All entries, zeros included."""
    w = x.entry_weights
    if w is None:
        return Dense(x.to_dense())
    return Dense(x.to_dense(), jnp.ones(x.shape, w.dtype).at[tuple(x.indices.T)].set(w))
