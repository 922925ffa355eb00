"""What every lazy product is: a tuple of matrices, of which the rows and columns are paired.

As in `jkr._products`, each axis of a product is *crossed* (every index of one matrix with every
index of the others, the last fastest) or *matched* (equal indices). The class says which, and the
factors are the data: all else follows from the two.

    shape      the product of the factors' sizes along a crossed axis, their one size along a
               matched one
    scalars    ride on one factor, the smallest (I4)
    weights    of a matched axis ride on one factor too (I28, and I19 is its transpose); of a
               crossed axis, on each factor its own, since diag(u ⊗ v) = diag(u) ⊗ diag(v) (I13)
    transpose  the transposed factors, crossed and matched trading places (I1)
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import GetAttrKey, register_pytree_with_keys
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import promoted
from jkr._linalg._norms import column_norms
from jkr._mesh import any_mesh
from jkr._products._hadamard import hadamard
from jkr._products._pairing import paired


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Product(ABC):
    """A product of matrices that is known by its factors.

    Attributes:
        factors: the matrices, in their common dtype.
        crossed: whether rows, and whether columns, are crossed.
    """

    factors: tuple[Array, ...]
    crossed: ClassVar[tuple[bool, bool]]  # (rows, columns)
    __array_ufunc__ = None  # NumPy's arrays leave `@` and `*` to this class, as JAX's do
    __array_priority__ = 1000

    def __init__(self, *ms: "ArrayLike | Product"):
        matrices: list[Any] = []
        for m in ms:
            matrices += m.factors if isinstance(m, type(self)) else (m,)
        rows, columns = self.crossed
        arrays = _check.operands(self._name(), matrices, rows=not rows, columns=not columns)
        object.__setattr__(self, "factors", tuple(promoted(*arrays)))

    def __init_subclass__(cls):
        register_pytree_with_keys(
            cls,
            lambda op: (((GetAttrKey("factors"), op.factors),), None),
            lambda _, children: cls._of(*children),
            lambda op: ((op.factors,), None),
        )

    @classmethod
    def _of(cls, factors: Any) -> Self:
        """With whatever a transform puts in the place of arrays: nothing is checked."""
        op = object.__new__(cls)
        object.__setattr__(op, "factors", factors)
        return op

    @classmethod
    def _name(cls, method: str = "") -> str:
        return f"operators.{cls.__name__}{method and '.' + method}"

    def _sizes(self, axis: int) -> tuple[int, ...]:
        """The factors' sizes along rows (0) or columns (1)."""
        return tuple(jnp.shape(a)[axis - 2] for a in self.factors)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the product, two ints."""
        rows, columns = (
            prod(self._sizes(axis)) if self.crossed[axis] else self._sizes(axis)[0]
            for axis in (0, 1)
        )
        return rows, columns

    @property
    def dtype(self) -> Any:
        """The factors' common dtype."""
        return self.factors[0].dtype

    @property
    @abstractmethod
    def T(self) -> "Product":
        """The transpose, of the kind whose axes are paired the other way (I1)."""

    @property
    def H(self) -> "Product":
        """The conjugate transpose."""
        return jax.tree.map(jnp.conj, self.T)

    @partial(any_mesh, large=True)
    def to_dense(self) -> Array:
        """The product as an array: nothing else here forms it.

        Returns:
            Array (rows, columns), of the operator's dtype.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> jkr.operators.Kronecker(jnp.array([[1, 2]]), jnp.array([[1], [3]])).to_dense()
            Array([[1, 2],
                   [3, 6]], dtype=int32)

        Source: as the class; law I1, for a face-splitting product.
        """
        rows, columns = self.crossed
        return paired(self.factors, cross_rows=rows, cross_columns=columns)

    @any_mesh
    def norm(self) -> Array:
        """Frobenius norm, from those of the factors.

        ‖A ∗ B‖² = Σ_r ‖a_r‖²‖b_r‖², over columns; of a face-splitting product over rows (I1), and
        ‖A ⊗ B‖ = ‖A‖‖B‖.

        Returns:
            Real scalar, of the operator's precision; integers become the default float.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> float(jkr.operators.Kronecker(jnp.array([[3.0, 4.0]]), jnp.array([[2.0]])).norm())
            10.0

        Derivative (R6): finite at zero.

        Source: laws I1, I10ᴴ.
        """
        factors = self._inexact("norm").factors
        if all(self.crossed):
            factors = [a.reshape(-1, 1) for a in factors]
        elif self.crossed[1]:
            factors = [a.T for a in factors]
        columns = hadamard(*(column_norms(a)[:, None] for a in factors))
        return column_norms(columns)[0].astype(factors[0].real.dtype)

    def _inexact(self, method: str) -> Self:
        """In floating or complex numbers, as that method needs them."""
        return type(self)(*(_check.inexact(self._name(method), a) for a in self.factors))

    @abstractmethod
    def _apply(self, x: Array) -> Array:
        """Times a vector or matrix."""

    def _column(self, j: Array) -> Array:
        """Column j, (rows,)."""
        crossed = self.crossed[1]
        places = jnp.unravel_index(j, self._sizes(1)) if crossed else [j] * len(self.factors)
        columns = [a[:, k][:, None] for a, k in zip(self.factors, places, strict=True)]
        return paired(columns, cross_rows=self.crossed[0], cross_columns=False)[:, 0]

    @partial(any_mesh, large=True)
    def scale_rows(self, *weights: ArrayLike) -> Self:
        """diag(w) times this operator, one of the same kind (I28).

        Args:
            *weights: w (rows,) where rows are matched (`FaceSplitting`); where they are crossed,
                one vector for each factor, w = w_1 ⊗ … ⊗ w_N.

        Returns:
            Operator of the same kind and shape, of the promoted dtype.

        Raises:
            ValueError: vectors of another number or other shapes.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> F = jkr.operators.FaceSplitting(jnp.array([[1], [2]]), jnp.array([[3], [4]]))
            >>> F.scale_rows(jnp.array([10, 1])).to_dense().ravel()
            Array([30,  8], dtype=int32)

        Source: laws I13, I28.
        """
        return self._weighted("scale_rows", 0, weights)

    @partial(any_mesh, large=True)
    def scale_columns(self, *weights: ArrayLike) -> Self:
        """This operator times diag(w), one of the same kind (I19).

        Args:
            *weights: w (columns,) where columns are matched (`KhatriRao`); where they are
                crossed, one vector for each factor, w = w_1 ⊗ … ⊗ w_N.

        Returns:
            Operator of the same kind and shape, of the promoted dtype.

        Raises:
            ValueError: vectors of another number or other shapes.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> K = jkr.operators.KhatriRao(jnp.array([[1, 2]]), jnp.array([[3, 4]]))
            >>> K.scale_columns(jnp.array([10, 1])).to_dense()
            Array([[30,  8]], dtype=int32)

        Source: laws I13, I19, I28.
        """
        return self._weighted("scale_columns", 1, weights)

    def _weighted(self, method: str, axis: int, weights: tuple[ArrayLike, ...]) -> Self:
        sizes, crossed = self._sizes(axis), self.crossed[axis]
        vectors = _check.axis_weights(self._name(method), weights, sizes if crossed else sizes[:1])
        ws = [w[:, None] if axis == 0 else w[None, :] for w in vectors]
        ws = dict(enumerate(ws)) if crossed else {self._smallest(): ws[0]}
        return self._multiplied(ws)

    def _multiplied(self, ws: dict[int, Array]) -> Self:
        dtype = jnp.result_type(self.dtype, *ws.values())
        factors = [a.astype(dtype) for a in self.factors]
        for n, w in ws.items():
            factors[n] = factors[n] * w.astype(dtype)
        return type(self)(*factors)

    def _smallest(self) -> int:
        return min(range(len(self.factors)), key=lambda n: self.factors[n].size)

    @partial(any_mesh, large=True)
    def __mul__(self, other: ArrayLike) -> Self:
        """Times a scalar, column weights (1, columns) or row weights (rows, 1), as arrays do (I4).

        Args:
            other: scalar; where rows are matched (rows, 1), where columns are (1, columns).

        Returns:
            Operator of the same kind and shape, of the promoted dtype.

        Raises:
            ValueError: another shape, or weights of an axis that is crossed, of which each factor
                needs its own (`scale_rows`, `scale_columns`).
        """
        w, axis = _check.broadcast_weights(self._name(), other, self.shape)
        if axis is None:
            return self._multiplied({self._smallest(): w})
        return self.scale_columns(w) if axis else self.scale_rows(w)

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return self * -1

    def __truediv__(self, other: ArrayLike) -> Self:
        return self * (1 / jnp.asarray(other))

    @partial(any_mesh, large=True)
    def __matmul__(self, other: Any) -> Any:
        """Product with a vector, a matrix or another operator, in the best form there is.

        The table of laws is in `jkr.operators`. Nothing that is as large as either operator is
        formed, but for a result that is an array.

        Args:
            other: array (columns,) or (columns, k), or an operator of `columns` rows; on the left
                of the `@`, (rows,) or (k, rows).

        Returns:
            Array (rows,) or (rows, k), or the operator that a law gives, of the promoted dtype.

        Raises:
            ValueError: inner dimensions that do not agree, or batches (those go by `vmap`).

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> a, b = jnp.array([[1, 2]]), jnp.array([[3, 4]])
            >>> K = jkr.operators.Kronecker(a, b)
            >>> K @ jnp.array([1, 0, 0, 1])
            Array([11], dtype=int32)
            >>> K @ K.T
            Kronecker((1, 1), (1, 1), dtype=int32)

        Derivative (R2): that of the contraction which it is, such as `khatri_rao_matmul`.

        Source: laws I8, I13, I15, I21; of longer chains I16, I22, I31–I34.
        """
        from jkr.operators._laws import multiply  # it knows all kinds, and they are made of this

        return multiply(self, other)

    @partial(any_mesh, large=True)
    def __rmatmul__(self, other: Any) -> Any:
        from jkr.operators._laws import multiply

        return multiply(other, self)

    def __array__(self, *args: Any, **kwargs: Any):
        raise TypeError(f"{self._name()} is never an array by itself: to_dense() forms it")

    def __repr__(self) -> str:
        shapes = [str(getattr(a, "shape", a)) for a in jax.tree.leaves(self.factors)]
        dtype = getattr(next(iter(jax.tree.leaves(self.factors)), None), "dtype", None)
        return f"{type(self).__name__}({', '.join([*shapes, f'dtype={dtype}'])})"
