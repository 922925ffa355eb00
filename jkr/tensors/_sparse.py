"""A sparse tensor: stored entries, and what is meant by all others.

Passes over it cost what its stored entries cost. Where the others are zeros, whatever is summed
over all entries is f(M, 0) over all, in closed form for losses that know it (`Loss.at_zero`), and
f(M, T) − f(M, 0) over the stored ones. Where they are missing, they have weight zero.
"""

import math
from collections.abc import Iterable, Sequence
from copy import copy
from math import inf
from operator import attrgetter
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import GetAttrKey, register_pytree_with_keys
from jax.typing import ArrayLike, DTypeLike

from jkr import _check
from jkr._contractions import _elementwise
from jkr._contractions._scattered import (
    chunked_mttkrp,
    core_at,
    in_blocks,
    listed_mttkrp,
    model_at,
)
from jkr._linalg._dtypes import Precision, accumulator
from jkr._linalg._small import by_pairs, gram, pair_columns, product_of_others, square
from jkr.tensors._dense import Dense
from jkr.tensors._model import sum_over_zeros
from jkr.tensors._pattern import Layout, layout, sorted_and_merged
from jkr.tensors._tensor import (
    AtZero,
    Entrywise,
    Factors,
    Pass,
    Scale,
    Tensor,
)

_VISITED = 1 << 31  # entries of a tensor up to which a pass visits zeros one by one
_MOST = 2**31 - 1
_COLUMNS = 32  # at once, where many are asked for

_LEAVES = ("values", "entry_weights", "_at", "_layouts", "_arranged")
_STATIC = ("_shape", "unstored")


class Sparse(Tensor):
    """A tensor (I_1, …, I_N) of stored entries, all others zero or missing.

    The pattern is arranged for passes over every mode when the tensor is made, outside of `jit`;
    values may be traced.

    Args:
        indices: integers (nnz, N), counted from 0, in any order.
        values: floating or complex, (nnz,).
        shape: (I_1, …, I_N), two modes or more.
        unstored: "zero", where entries that are not stored are data, and zero (counts, links), or
            "missing", where they were not observed and count for nothing (ratings).
        entry_weights: real W ≥ 0 of the stored entries, (nnz,); unstored zeros weigh one.
        compact: whether to keep the list of entries alone: less memory, slower passes.

    Attributes:
        values: one for each distinct entry, in the order of `indices`. Entries that are given
            twice are summed, if the others are zero.
        entry_weights: in that order, or None.
        unstored: "zero" or "missing".

    Raises:
        ValueError: unstored left out or another word; indices that are no integers, negative, out
            of range, traced, or not (nnz, N); values or weights that are not finite or not (nnz,);
            missing entries stored twice, or weighted ones; no stored entry at all. Messages name
            the first offender.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> indices = [[0, 0, 1], [1, 2, 0], [2, 1, 3]]
        >>> x = jkr.tensors.Sparse(indices, [1.0, 2.0, 3.0], (3, 3, 4), unstored="zero")
        >>> jkr.mttkrp(x, [jnp.ones((n, 1)) for n in x.shape], 0).ravel()
        Array([1., 2., 3.], dtype=float32)

    Source: [BK08]; the layout: `docs/performance.md`.
    """

    values: Array
    entry_weights: Array | None
    unstored: Literal["zero", "missing"]
    _at: tuple[Array, ...]  # of each mode the stored entries' indices
    _layouts: tuple[Layout, ...]  # one a mode, none if compact
    _arranged: tuple[tuple[Array, Array | None], ...] | None  # W∘T and W, as layouts have them
    _shape: tuple[int, ...]

    def __init__(
        self,
        indices: ArrayLike,
        values: ArrayLike,
        shape: Sequence[int],
        *,
        unstored: Literal["zero", "missing"] | None = None,
        entry_weights: ArrayLike | None = None,
        compact: bool = False,
    ):
        name = "tensors.Sparse"
        self.unstored = _check.unstored(name, unstored)
        self._shape = _check.sparse_shape(name, shape)
        given = _check.stored_indices(name, indices, self._shape)
        values = _check.stored(name, "values", values, len(given))
        if entry_weights is not None:
            entry_weights = _check.weights_of_stored(name, entry_weights, len(given))
        _check.finite_values(name, values, entry_weights)
        found, order, group = sorted_and_merged(given, self._shape)
        self.values, self.entry_weights = values[order], None
        if len(found) < len(order):
            if self.unstored == "missing" or entry_weights is not None:
                _check.without_duplicates(name, group, order, found)
            wide = self.values.astype(accumulator(self.values.dtype))
            summed = jax.ops.segment_sum(wide, group, len(found), indices_are_sorted=True)
            self.values = summed.astype(self.values.dtype)
            _check.finite_values(name, self.values, None, "sums of entries stored twice")
        if entry_weights is not None:
            self.entry_weights = entry_weights[order]
        self._at = tuple(jnp.asarray(column) for column in np.ascontiguousarray(found.T))
        modes = () if compact else range(len(self._shape))
        self._layouts = tuple(layout(found, self._shape, n) for n in modes)
        self._arranged = None

    @classmethod
    def of(
        cls,
        x: Any,
        *,
        unstored: Literal["zero", "missing"] | None = None,
        compact: bool = False,
    ) -> "Sparse":
        """A sparse tensor of what another library holds, of a dense array, or of another one.

        Args:
            x: a BCOO, BCSR or COO of `jax.experimental.sparse`, a SciPy sparse matrix or array, any
                of pydata's `sparse`, a `Sparse`, or a dense array, masked ones included; of that,
                entries that are zero are not stored, or, if they may be missing, those that are NaN
                or masked.
            unstored: as in `Sparse`.
            compact: likewise.

        Returns:
            Sparse.

        Raises:
            ValueError: as `Sparse`; batch or dense dimensions, a batch of `Sparse`; a fill value
                that is not zero.

        Example:
            >>> import numpy as np, jkr
            >>> counts = np.array([[0.0, 2.0], [1.0, 0.0]])
            >>> jkr.tensors.Sparse.of(counts, unstored="zero").indices
            Array([[0, 1],
                   [1, 0]], dtype=int32)

        Source: [BK08].
        """
        name = "tensors.Sparse.of"
        unstored = _check.unstored(name, unstored)
        weights = None
        if isinstance(x, Sparse):
            x.check_one(name)
            weights = x.entry_weights
        found = _check.stored_entries(name, x, unstored)
        return cls(*found, unstored=unstored, entry_weights=weights, compact=compact)

    def __repr__(self) -> str:
        """Sparse((3, 3, 4), float32, 3 stored, the others zero)."""
        dtype = getattr(self.values, "dtype", None)
        stored = getattr(self.values, "shape", ("?",))[-1]
        return f"Sparse({self.shape}, {dtype}, {stored} stored, the others {self.unstored})"

    @property
    def shape(self) -> tuple[int, ...]:
        """(I_1, …, I_N)."""
        return self._shape

    @property
    def dtype(self) -> DTypeLike:
        """That of the values."""
        return self.values.dtype

    @property
    def indices(self) -> Array:
        """Of the stored entries, (nnz, N), in increasing order."""
        return jnp.stack(self._at, axis=-1)

    @property
    def uniform(self) -> bool:
        """Whether the others are zeros and the stored ones weigh the same."""
        return self.unstored == "zero" and self.entry_weights is None

    @property
    def visited(self) -> int:
        """How many entries are stored."""
        return self.values.shape[-1]

    @property
    def partial_sums(self) -> int:
        """Chunks of the longest layout."""
        return max((each.rows.size for each in self._layouts), default=self.visited)

    @property
    def cancels(self) -> bool:
        """Sums over zeros are those over all entries, less the stored ones."""
        return self.unstored == "zero"

    def with_values(self, values: ArrayLike) -> "Sparse":
        """The same pattern with other values, traced ones too.

        Args:
            values: (nnz,), in the order of `indices`.

        Returns:
            Sparse.

        Raises:
            ValueError: values that are no numbers or not (nnz,); a batch, outside `vmap`.

        Example:
            >>> import jax, jkr
            >>> x = jkr.tensors.Sparse([[0, 1], [1, 0]], [1.0, 2.0], (2, 2), unstored="zero")
            >>> jax.grad(lambda v: x.with_values(v).squared_norm())(x.values)
            Array([2., 4.], dtype=float32)
        """
        name = "tensors.Sparse.with_values"
        self.check_one(name)
        return self._with(values=_check.stored(name, "values", values, self.visited))

    def to_dense(self) -> Array:
        """The dense array, zeros or NaN where nothing is stored; without entry weights.

        Raises:
            ValueError: a batch of tensors, outside `vmap`.

        Example:
            >>> import jkr
            >>> jkr.tensors.Sparse([[0, 1]], [2.0], (2, 2), unstored="zero").to_dense()
            Array([[0., 2.],
                   [0., 0.]], dtype=float32)
        """
        self.check_one("tensors.Sparse.to_dense")
        empty = 0 if self.unstored == "zero" else jnp.nan
        return jnp.full(self.shape, empty, self.dtype).at[self._at].set(self.values)

    def to_bcoo(self) -> Any:
        """A `jax.experimental.sparse.BCOO` of the stored entries, without their weights.

        Raises:
            ValueError: a batch of tensors, outside `vmap`.

        Example:
            >>> import jkr
            >>> jkr.tensors.Sparse([[0, 1]], [2.0], (2, 2), unstored="zero").to_bcoo().nse
            1
        """
        from jax.experimental.sparse import BCOO

        self.check_one("tensors.Sparse.to_bcoo")
        options = {"indices_sorted": True, "unique_indices": True}
        return BCOO((self.values, self.indices), shape=self.shape, **options)

    def prepared(self) -> "Sparse":
        """The same tensor, its values arranged for every mode."""
        if self._arranged is not None:
            return self
        w, data = self._extra_weights(), self._product()
        arranged = tuple(
            (each.arranged(data), None if w is None else each.arranged(w)) for each in self._layouts
        )
        return self._with(_arranged=arranged)

    def passes(self, precision: Precision = None) -> tuple[Pass, ...]:
        """One a mode."""
        ready = self.prepared()
        return tuple(ready._pass(n) for n in range(self.ndim))

    def _pass(self, n: int) -> Pass:
        data, w = self._arranged[n] if self._arranged else (self._product(), self._extra_weights())

        def contract(columns: Factors) -> None:
            return None

        def mttkrp(partial: Any, columns: Factors, mode: int) -> Array:
            return self._mttkrp(data, columns, mode)

        def of_grams(partial: Any, factors: Factors, grams: Factors, mode: int) -> Array:
            if self.uniform:
                return product_of_others(grams, mode)
            few = self.visited * factors[0].shape[1] ** 2 <= _elementwise.FEW
            of_pairs = lambda pairs: (self._mttkrp(cast(Array, w), pairs, mode),)  # noqa: E731
            (found,) = by_pairs(of_pairs, factors, at_once=few)
            if self.unstored == "missing":
                return found
            return found + product_of_others(grams, mode)[None]

        return Pass((n,), contract, mttkrp, of_grams)

    def _mttkrp(self, values: Array, columns: Factors, mode: int) -> Array:
        """Of numbers of the stored entries, as the mode's layout has them, if there is one."""
        kinds = [c.dtype for c in (*columns, values) if jnp.iscomplexobj(c)]
        wide = accumulator(kinds[0] if kinds else columns[0].dtype)
        columns, values = [c.astype(wide) for c in columns], values.astype(wide)
        if not self._layouts:
            return listed_mttkrp(values, self._at, columns, mode, self.shape[mode])
        each = self._layouts[mode]
        others = [c for m, c in enumerate(columns) if m != mode]
        return chunked_mttkrp(values, each.others, each.rows, others, self.shape[mode])

    def _placed(self, entries: Array, mode: int) -> Array:
        return self._layouts[mode].arranged(entries) if self._layouts else entries

    def _product(self) -> Array:
        """W∘T, where it is stored."""
        w = self.entry_weights
        return self.values if w is None else w.astype(self.dtype) * self._stored.observed()

    @property
    def _stored(self) -> Dense:
        """The stored entries as an array of their own."""
        return Dense(self.values, self.entry_weights)

    def _extra_weights(self) -> Array | None:
        """W less the weight of the others: W − 1 among zeros, W where they are missing."""
        w = self.entry_weights
        if self.unstored == "missing":
            return jnp.ones(self.visited, self.dtype) if w is None else w.astype(self.dtype)
        return None if w is None else w.astype(self.dtype) - 1

    def entrywise(
        self,
        f: Entrywise,
        model: tuple[Array, Factors],
        columns: Factors | None = None,
        *,
        precision: Precision = None,
        at_zero: AtZero | None = None,
    ) -> tuple[Array, tuple[Array, ...]]:
        """Stored entries one by one, zeros in closed form, where there is one."""
        asked = 1 if columns is None else 2  # values, or entries beside them

        def of_block(at: list[Array], t: Array, w: Array | None = None) -> tuple[Array, ...]:
            m = model_at(at, *model)
            if w is None:
                stored = f(m, t)[:asked]
            else:
                # No function is defined on NaN: ones stand where nothing is read.
                found = f(m, jnp.where(w == 0, 1, t))[:asked]
                stored = tuple(w.astype(z.dtype) * jnp.where(w == 0, 0, z) for z in found)
            if self.unstored == "zero":
                zeros = f(m, jnp.zeros_like(m))[:asked]
                stored = tuple(z - z0 for z, z0 in zip(stored, zeros, strict=True))
            return stored

        w = () if self.entry_weights is None else (self.entry_weights,)
        values, *entries = in_blocks(of_block, (list(self._at), self.values, *w))
        total, ys = jnp.sum(values), []
        if columns is not None:
            arranged = [self._placed(entries[0], n) for n in range(self.ndim)]
            ys = [self._mttkrp(x, columns, n) for n, x in enumerate(arranged)]
        if self.unstored == "missing":
            return total, tuple(ys)
        of_zeros, rest = self._all_zero(f, model, columns, precision, at_zero)
        return total + of_zeros, tuple(y + z for y, z in zip(ys, rest, strict=True))

    def _all_zero(
        self,
        f: Entrywise,
        model: tuple[Array, Factors],
        columns: Factors | None,
        precision: Precision,
        at_zero: AtZero | None,
    ) -> tuple[Array, tuple[Array, ...]]:
        """What `entrywise` gives of this model and a tensor of zeros."""
        if at_zero is not None:
            return sum_over_zeros(at_zero, model, columns)
        self.check_zeros("tensors.Sparse", "what is asked of the entries")
        of_zero = lambda m: f(m, jnp.zeros_like(m))  # noqa: E731
        return _elementwise.entrywise(of_zero, [model], [], columns, precision=precision)

    def check_one(self, name: str) -> None:
        """Values of more dimensions are those of a batch, which `vmap` takes apart."""
        _check.one_tensor(name, self.values.shape, self._at[0].shape)

    def check_zeros(self, name: str, what: str) -> None:
        """Up to 2³¹ of them, unless what they give is known."""
        if self.unstored == "zero":
            _check.few_enough(name, self.shape, _VISITED, f"{what} is not known at zero")

    def project(self, matrices: Factors) -> Array:
        """Last that mode which leaves the fewest columns to project on; the shortest of such."""
        last = max(range(self.ndim), key=lambda n: (matrices[n].shape[1], -self.shape[n]))
        projected = gram(matrices[last], self.project_others(matrices, last))
        sizes = [u.shape[1] for n, u in enumerate(matrices) if n != last]
        return jnp.moveaxis(projected.reshape(-1, *sizes), 0, last)

    def project_others(self, matrices: Factors, mode: int) -> Array:
        """A few columns at a time."""
        ready = self.prepared()
        sizes = [1 if n == mode else u.shape[1] for n, u in enumerate(matrices)]
        count = math.prod(sizes)
        every = np.indices(sizes).reshape(self.ndim, -1)
        every = np.pad(every, ((0, 0), (0, -count % _COLUMNS)), mode="edge")
        turns = jnp.asarray(every.reshape(self.ndim, -1, _COLUMNS).swapaxes(0, 1))
        (part,) = (part for part in ready.passes() if mode in part.modes)

        def of_columns(which: Array) -> Array:
            columns = [
                jnp.ones((u.shape[0], _COLUMNS), u.dtype) if n == mode else u.conj()[:, which[n]]
                for n, u in enumerate(matrices)
            ]
            return part.mttkrp(None, columns, mode)

        found = lax.map(of_columns, turns)
        return jnp.moveaxis(found, 0, 1).reshape(self.shape[mode], -1)[:, :count]

    def project_back(self, core: Array, matrices: Factors) -> Array:
        """The tensor core ×ₙ Uₙ where entries are stored; of zeros, that of all by Grams."""
        expanded = core_at(self._at, core, matrices)
        if self.unstored == "missing":
            return self._with(values=expanded).project(matrices)
        extra = self._extra_weights()
        whole = core
        for n, u in enumerate(matrices):
            whole = jnp.moveaxis(
                jnp.tensordot(gram(u, u), whole, ((1,), (n,)), precision="highest"), 0, n
            )
        if extra is None:
            return whole
        stored = self._with(values=extra * expanded, entry_weights=None)
        return whole + stored.project(matrices)

    def cross_gram(self, factors: Factors, n: int, m: int) -> Array:
        """A sum over the stored entries, of both modes' indices as one."""
        w, rank = self._extra_weights(), factors[0].shape[1]
        everywhere = product_of_others([gram(a, a) for a in factors], n, m)
        kept = (self.shape[n],) if n == m else (self.shape[n], self.shape[m])
        everywhere = everywhere.reshape((1,) * len(kept) + everywhere.shape)
        if w is None:
            return everywhere
        if math.prod(kept) > _MOST:
            raise ValueError(
                f"tensors.Sparse: modes of {kept} rows are too long for all pairs of them"
            )
        rest = [k for k in range(self.ndim) if k not in (n, m)]
        rows = self._at[n] if n == m else self._at[n] * self.shape[m] + self._at[m]
        pairs = [pair_columns(factors[k]) for k in rest] or [jnp.ones((1, 1), w.dtype)]
        at = [self._at[k] for k in rest] or [jnp.zeros_like(rows)]
        # The rows of both modes are one mode, whose columns are not read.
        w = w.astype(pairs[0].dtype)
        upper = listed_mttkrp(w, [rows, *at], [pairs[0], *pairs], 0, math.prod(kept))
        upper = upper.reshape(*kept, -1)
        found = square(upper, rank) if rest else upper[..., None]
        return found if self.unstored == "missing" else found + everywhere

    def scale(self, low: float = -inf, high: float = inf) -> Scale:
        """The largest stored entry, the norm, and whether all is finite and in range."""
        return self._stored._scale_beside(low, high, zeros=self.unstored == "zero")

    def squared_norm(self, unit: Array | float = 1.0) -> Array:
        """Σ W|T/u|² of the stored entries."""
        return self._stored.squared_norm(unit)

    def rows(self) -> tuple[Array, ...]:
        """Of each mode, the indices at which anything is known and counts."""
        w, pairs = self.entry_weights, zip(self._at, self.shape, strict=True)
        if self.unstored == "missing":
            counts = jnp.ones(self.visited, bool) if w is None else w != 0
            return tuple(jnp.zeros(n, bool).at[i].max(counts) for i, n in pairs)
        if w is None:
            return super().rows()
        # Rows whose entries are all stored, and all with weight zero, hold nothing.
        size, none = math.prod(self.shape), (w == 0).astype(jnp.int32)
        return tuple(
            jnp.zeros(n, jnp.int32).at[i].add(none) < min(size // n, _MOST) for i, n in pairs
        )

    def observations(self) -> Array | float:
        """How many entries are known and count."""
        w = self.entry_weights
        every = super().observations() if self.unstored == "zero" else float(self.visited)
        return every if w is None else every - jnp.sum(w == 0).astype(accumulator(w.dtype))

    def astype(self, dtype: DTypeLike) -> "Sparse":
        """The same tensor in another precision: values may become complex, weights stay real."""
        real, w, arranged = jnp.zeros((), dtype).real.dtype, self.entry_weights, self._arranged
        if arranged is not None:
            arranged = jax.tree.map(lambda a: a.astype(dtype), arranged)
        w = None if w is None else w.astype(real)
        return self._with(values=self.values.astype(dtype), entry_weights=w, _arranged=arranged)

    def _with(self, **changed: Any) -> "Sparse":
        """The same pattern, something else replaced; values arranged before go with the values."""
        other = copy(self)
        if "values" in changed:
            other._arranged = None
        vars(other).update(changed)
        return other


def _with_keys(tensor: Sparse) -> tuple[tuple, tuple]:
    leaves, static = _parts(tensor)
    return tuple(zip(map(GetAttrKey, _LEAVES), leaves, strict=True)), static


def _parts(tensor: Sparse) -> tuple[tuple, tuple]:
    read = attrgetter(*_LEAVES), attrgetter(*_STATIC)
    return read[0](tensor), read[1](tensor)


def _made(static: tuple, leaves: Iterable) -> Sparse:
    tensor = object.__new__(Sparse)
    vars(tensor).update(zip((*_LEAVES, *_STATIC), (*leaves, *static), strict=True))
    return tensor


register_pytree_with_keys(Sparse, _with_keys, _made, _parts)
