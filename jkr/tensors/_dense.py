"""A dense array as a tensor, with entry weights if there are any: the only file that asks which."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from string import ascii_uppercase
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from jkr._contractions import _elementwise, _passes
from jkr._linalg._dtypes import Precision
from jkr._linalg._loops import scan
from jkr._linalg._norms import column_norms, power_of_two, square_root, times
from jkr._linalg._order import after
from jkr._linalg._small import by_pairs, gram, matmul, pair_columns, product_of_others, square
from jkr.tensors._tensor import (
    BAD_ENTRIES,
    BAD_WEIGHTS,
    GOOD,
    AtZero,
    Entrywise,
    Factors,
    Pass,
    Scale,
    Tensor,
)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("array", "entry_weights", "weighted", "entry_constants"),
    meta_fields=("sharded",),
)
@dataclass(frozen=True)
class Dense(Tensor):
    """A dense tensor T (I_1, …, I_N) with entry weights W.

    Nothing is checked when one is made; what reads it checks it.

    Attributes:
        array: T; NaN and inf may stand where the weight is zero.
        entry_weights: real W ≥ 0 of T's shape, booleans included: 0 = unobserved, 1 = observed.
            None stands for ones.
        weighted: W∘T, once it is known (`prepared`); leave it out.
        entry_constants: real arrays of T's shape, a tuple, that a loss takes beside the data.
        sharded: whether T is spread over devices; found out where T is first used.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> holes = jnp.where(x > 5, jnp.nan, x)
        >>> data = jkr.tensors.Dense(holes, jnp.isfinite(holes))
        >>> bool(jkr.cp.als(data, 2, key=jax.random.key(1)).fit > 0.99)
        True
    """

    array: Array
    entry_weights: Array | None = None
    weighted: Array | None = None
    entry_constants: tuple[Array, ...] = field(default=(), kw_only=True)
    sharded: bool = field(default=False, kw_only=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """(I_1, …, I_N)."""
        return jnp.shape(self.array)

    @property
    def dtype(self) -> DTypeLike:
        """That of the array."""
        return self.array.dtype

    @property
    def uniform(self) -> bool:
        """Whether there are no entry weights."""
        return self.entry_weights is None

    def observed(self) -> Array:
        """T, with zeros where nothing is observed."""
        return _seen(self.array, self.entry_weights)

    def prepared(self) -> "Dense":
        """The same tensor, W∘T computed."""
        if self.entry_weights is None or self.weighted is not None:
            return self
        return replace(self, weighted=self._product())

    def passes(self, precision: Precision = None) -> tuple[Pass, ...]:
        """Two, each a matrix product with the array; with weights, one more with those."""
        groups = _passes.groups(self.shape, sharded=self.sharded)
        return tuple(self._pass(group, precision) for group in groups)

    def _pass(self, group: _passes.Group, precision: Precision) -> Pass:
        x, w = self._product(), self.entry_weights
        weights = None if w is None else w.astype(x.dtype)
        # All pairs of columns share a reading of W, unless their partial sums would outgrow it.
        large = x.size > _elementwise.FEW

        def contract(columns: Factors) -> tuple[Array, Any]:
            of_x = group.contract(x, columns, precision=precision)
            if weights is None:
                return of_x, None
            if large:
                return of_x, None
            # The pairs of conjugate columns are those of the columns, conjugated back (J3ᴴ).
            pairs = [pair_columns(a.conj()) for a in columns]
            return of_x, group.contract(weights, pairs, precision=precision)

        def mttkrp(partial: Any, columns: Factors, mode: int) -> Array:
            return group.finish(partial[0], columns, mode=mode)

        def gram(partial: Any, factors: Factors, grams: Factors, mode: int) -> Array:
            if weights is None:
                return product_of_others(grams, mode)

            def of_pairs(pairs: list[Array]) -> tuple[Array]:
                read = partial[1]
                if large:
                    read = group.contract(weights, pairs, precision=precision)
                return (group.finish(read, pairs, mode=mode),)

            return by_pairs(of_pairs, factors, at_once=not large)[0]

        return Pass(group.modes, contract, mttkrp, gram)

    def entrywise(
        self,
        f: Entrywise,
        model: tuple[Array, Factors],
        columns: Factors | None = None,
        *,
        precision: Precision = None,
        at_zero: AtZero | None = None,
    ) -> tuple[Array, tuple[Array, ...]]:
        """In blocks, or as a whole where the array is sharded."""
        x, w = self.array, self.entry_weights

        def weighted(m: Array, t: Array, w: Array, *constants: Array) -> tuple[Array, Any]:
            seen = w != 0
            # No function is defined on NaN: ones stand where nothing is read.
            value, entry = f(m, *(jnp.where(seen, z, 1) for z in (t, *constants)))
            if entry is not None:
                entry = w.astype(entry.dtype) * jnp.where(seen, entry, 0)
            return w * jnp.where(seen, value, 0), entry

        g, data = (f, [x]) if w is None else (weighted, [x, w])
        options = {"sharded": self.sharded, "precision": precision}
        data += self.entry_constants
        return _elementwise.entrywise(g, [model], data, columns, **options)

    def project(self, matrices: Factors) -> Array:
        """(W∘T) ×ₙ Uₙᴴ, a mode at a time."""
        return _multiplied(self._product(), {n: u.conj() for n, u in enumerate(matrices)})

    def project_others(self, matrices: Factors, mode: int) -> Array:
        """A mode at a time."""
        others = {n: u.conj() for n, u in enumerate(matrices) if n != mode}
        projected = _multiplied(self._product(), others)
        return jnp.moveaxis(projected, mode, 0).reshape(self.shape[mode], -1)

    def project_back(self, core: Array, matrices: Factors) -> Array:
        """The tensor core ×ₙ Uₙ formed, weighed, and projected."""
        expanded = _multiplied(core, {n: u.T for n, u in enumerate(matrices)})
        return replace(self, array=expanded, weighted=None).project(matrices)

    def scale(self, low: float = -inf, high: float = inf) -> Scale:
        """The largest entry, the norm, and whether all is finite and in range."""
        return self._scale_beside(low, high, zeros=False)

    def _scale_beside(self, low: float, high: float, *, zeros: bool) -> Scale:
        """The same; with zeros beside the entries, of weight one, if there are any."""

        def extremes(x: Array, w: Array | None) -> tuple[Array, ...]:
            seen, counts = _seen(x, w), jnp.ones((), bool) if w is None else w != 0
            parts = (seen.real, seen.imag) if jnp.iscomplexobj(seen) else (seen,)
            largest = jnp.max(jnp.stack([jnp.max(jnp.abs(part)) for part in parts]))
            inside = jnp.ones((), bool)
            if (low, high) != (-inf, inf):
                inside = jnp.all(((seen >= low) & (seen <= high)) | ~counts)
            if w is None:
                return largest, inside, jnp.ones_like(largest), jnp.ones((), bool)
            return largest, inside, jnp.max(w), jnp.all(jnp.isfinite(w) & (w >= 0))

        over = (jnp.max, jnp.all, jnp.max, jnp.all)
        largest, inside, weight, good = self._by_blocks(extremes, over)
        largest = lax.stop_gradient(largest)
        weight = lax.stop_gradient(weight).astype(largest.dtype)
        if zeros:
            inside, weight = inside & (low <= 0 <= high), jnp.maximum(weight, 1)
        good = good & (weight > 0)
        unit = jnp.where(jnp.isfinite(largest) & (largest > 0), largest, 1)
        weight = jnp.where(weight > 0, weight, 1)

        def squares(x: Array, w: Array | None) -> Array:
            scaled = _seen(x, w) / unit.astype(x.dtype)
            each = (scaled * scaled.conj()).real
            return jnp.sum(each if w is None else w.astype(unit.dtype) / weight * each)

        norm = square_root(self._by_blocks(squares, jnp.sum))
        # Of the sum, not of the largest: reductions by max drop NaN in XLA on CPU.
        finite = jnp.isfinite(norm)
        status = jnp.where(finite & inside, GOOD, BAD_ENTRIES)
        return Scale(unit, norm, weight, jnp.where(good, status, BAD_WEIGHTS))

    def _by_blocks(self, f: Callable[[Array, Array | None], Any], over: Any) -> Any:
        """f of blocks of the entries and their weights, reduced: nothing of T's size is made.

        `over` has a function for each array that f returns, from all blocks to one value.
        """
        if self.sharded:
            return f(self.array, self.entry_weights)

        def reduced(most: int, x: Array, w: Array | None) -> Any:
            block = _elementwise.rows_at_once(x.size, 1, most)
            if block == x.size or x.size % block:
                return f(x, w)
            flat = (None if a is None else a.reshape(-1, block) for a in (x, w))
            found = lax.map(lambda pair: f(*pair), tuple(flat))
            return jax.tree.map(lambda g, a: g(a), over, found)

        return _elementwise.with_blocks(
            reduced, math.prod(self.shape), self.array, self.entry_weights
        )

    def cross_gram(self, factors: Factors, n: int, m: int) -> Array:
        """One einsum of the weights with the pairs of factors of all other modes."""
        rest = [k for k in range(self.ndim) if k not in (n, m)]
        letters = ascii_uppercase[: self.ndim]
        kept = letters[n] if n == m else letters[n] + letters[m]
        ones = jnp.ones(self.shape) if self.uniform else self.entry_weights
        w = jnp.asarray(ones).astype(factors[0].dtype)
        if not rest:
            return w.transpose(n, m)[:, :, None, None]
        # Pairs of columns are formed before W is read: it is one product with all of them.
        pairs = [pair_columns(factors[k]) for k in rest]
        columns = ",".join(f"{letters[k]}r" for k in rest)
        upper = jnp.einsum(f"{letters},{columns}->{kept}r", w, *pairs, precision="highest")
        return square(upper, factors[0].shape[1])

    def leading(self, mode: int, count: int, done: Array | None = None) -> Array:
        """The eigenvectors of the unfolding's Gram, unobserved entries as zeros.

        Where the mode is longer than all others together, those of the smaller Gram
        X₍ₙ₎ᴴX₍ₙ₎ = VΣ²Vᴴ, and U = X₍ₙ₎VΣ⁻¹.
        """
        x = self.observed()
        size, others = 1 / power_of_two(x), x.size // x.shape[mode]
        if x.shape[mode] <= others:
            G = _unfolding_gram(x, mode, size, sharded=self.sharded)
            return jnp.linalg.eigh(after(G, done))[1][:, ::-1][:, :count]
        X = times(jnp.moveaxis(x, mode, 0).reshape(x.shape[mode], others), size)
        columns = matmul(X, jnp.linalg.eigh(after(gram(X, X), done))[1][:, ::-1][:, :count])
        norms = column_norms(columns)
        return columns / jnp.where(norms > 0, norms, 1).astype(x.dtype)[None, :]

    def squared_norm(self, unit: Array | float = 1.0) -> Array:
        """Σ W|T/u|², the sum as it stands."""
        seen = self.observed()
        seen = seen * (1 / jnp.asarray(unit, seen.real.dtype)).astype(seen.dtype)
        squares = (seen * seen.conj()).real
        w = self.entry_weights
        return jnp.sum(squares if w is None else w.astype(squares.dtype) * squares)

    def rows(self) -> tuple[Array, ...]:
        """Of each mode, the indices at which anything is observed."""
        w = self.entry_weights
        if w is None:
            return super().rows()
        # Maxima, since `any` of w != 0 would hold that comparison, a quarter of the tensor.
        others = (tuple(m for m in range(w.ndim) if m != n) for n in range(w.ndim))
        return tuple(jnp.max(w, axis=axes).astype(bool) for axes in others)

    def observations(self) -> Array | float:
        """How many entries have a weight that is not zero."""
        w = self.entry_weights
        if w is None:
            return super().observations()
        return self._by_blocks(lambda _, w: jnp.sum(w != 0), jnp.sum)

    def astype(self, dtype: DTypeLike) -> "Dense":
        """The same tensor in another precision; weights are real, and floating from here on."""
        real = jnp.zeros((), dtype).real.dtype
        w, weighted = self.entry_weights, self.weighted
        return replace(
            self,
            array=self.array.astype(dtype),
            entry_weights=None if w is None else w.astype(real),
            weighted=None if weighted is None else weighted.astype(dtype),
            entry_constants=tuple(c.astype(real) for c in self.entry_constants),
        )

    def _product(self) -> Array:
        """W∘T."""
        if self.weighted is not None:
            return self.weighted
        w = self.entry_weights
        return self.array if w is None else w.astype(self.array.dtype) * self.observed()


def _multiplied(x: Array, matrices: Mapping[int, Array]) -> Array:
    """T ×ₙ Mₙᵀ for matrices (I_n, J_n) of some modes, in increasing order.

    T meets the matrix of its last mode on its right, or that of its first on its left: any other
    product with all of T would transpose a copy of it. What comes after is small.
    """
    modes = list(matrices)
    for n in modes[::-1] if x.ndim - 1 in matrices else modes:
        if n == 0:
            x = jnp.tensordot(matrices[0], x, ((0,), (0,)), precision="highest")
        else:
            x = jnp.tensordot(x, matrices[n], ((n,), (0,)), precision="highest")
            x = jnp.moveaxis(x, -1, n)
    return x


def _seen(x: Array, w: Array | None) -> Array:
    """Entries, zeros where their weight is zero."""
    return x if w is None else jnp.where(w == 0, 0, x)


def _unfolding_gram(x: Array, mode: int, size: Array, *, sharded: bool) -> Array:
    """X₍ₙ₎X₍ₙ₎ᴴ of X times a size that brings squares into range; no copy of X.

    A block of the modes before it, or else after it, at a time.
    """
    if sharded:
        rest = _others(x.ndim, mode)
        x = times(x, size)
        return lax.dot_general(x, x.conj(), ((rest, rest), ((), ())), precision="highest")
    before, rows = math.prod(x.shape[:mode]), x.shape[mode]
    # No axis of length one at the end: XLA copies X for it.
    x = x.reshape(before, rows, -1) if mode < x.ndim - 1 else x.reshape(before, rows)
    axis = 0 if before > 1 else x.ndim - 1
    length, others = x.shape[axis], _others(x.ndim, 1)

    def by_blocks(most: int, x: Array) -> Array:
        at_once = _elementwise.rows_at_once(length, x.size // length, most)

        def add(total: Array, turn: Array) -> tuple[Array, None]:
            # The last block starts early enough to be whole; what was added before is zero there.
            first = jnp.minimum(turn * at_once, length - at_once)
            fresh = first + jnp.arange(at_once) >= turn * at_once
            fresh = jnp.expand_dims(fresh, _others(x.ndim, axis))
            block = jnp.where(fresh, lax.dynamic_slice_in_dim(x, first, at_once, axis), 0)
            block = times(block, size)
            contracted = ((others, others), ((), ()))
            product = lax.dot_general(block, block.conj(), contracted, precision="highest")
            return total + product, None

        return scan(add, jnp.zeros((rows, rows), x.dtype), jnp.arange(-(-length // at_once)))[0]

    return _elementwise.with_blocks(by_blocks, x.size, x)


def _others(order: int, axis: int) -> tuple[int, ...]:
    """All axes but one."""
    return tuple(k for k in range(order) if k != axis)
