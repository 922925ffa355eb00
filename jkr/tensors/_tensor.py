"""What a tensor has to answer, so that every contraction, loss and fit can use it.

T is data of shape (I_1, …, I_N) with entry weights W ≥ 0 of that shape, all one if there are none.
Wherever T is read it is W∘T that is meant, and what lies under a zero of W is never read.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jkr._linalg._dtypes import Precision
from jkr._linalg._order import after

Factors = Sequence[Array]
Entrywise = Callable[[Array, Array], tuple[Array, Any]]

GOOD, BAD_ENTRIES, BAD_WEIGHTS = range(3)


class AtZero(NamedTuple):
    """What an entrywise function is where data are zero: polynomials of the model's entry m.

    With them a tensor of many zeros sums over all of them in closed form.

    Attributes:
        value: (v_0, v_1, v_2), the value `v_0 + v_1 Re m + v_2 |m|²`.
        entry: (e_0, e_1), the entry e_0 + e_1 m.

    Example:
        >>> import jkr
        >>> of_half_squares = jkr.tensors.AtZero((0, 0, 0.5), (0, 1))

    Source: laws J5, J6; [BK08].
    """

    value: tuple[Any, Any, Any] = (0, 0, 0)
    entry: tuple[Any, Any] = (0, 0)


class Pass(NamedTuple):
    """Modes that share one reading of the data, and their normal equations.

    Attributes:
        modes: in increasing order.
        contract: (columns) to a partial result that depends on the columns of the other modes only;
            this is what reads the data.
        mttkrp: (partial, columns, mode) to the MTTKRP of W∘T, (I_mode, S). Nothing is conjugated.
        gram: (partial, factors, grams, mode) to KᴴWK with K = ∗_{m≠n} A_m: the partial of the
            conjugate factors, the factors, and their Grams AₙᴴAₙ. One matrix (R, R), or under
            weights one a row, (I_mode, R, R).

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> x, columns = jnp.ones((2, 3, 4)), [jnp.ones((n, 1)) for n in (2, 3, 4)]
        >>> first, *_ = jkr.tensors.Dense(x).passes()
        >>> first.mttkrp(first.contract(columns), columns, 0).ravel()
        Array([12., 12.], dtype=float32)
    """

    modes: tuple[int, ...]
    contract: Callable[[Factors], Any]
    mttkrp: Callable[[Any, Factors, int], Array]
    gram: Callable[[Any, Factors, Factors, int], Array]


class Scale(NamedTuple):
    """How large a tensor is, and whether it can be fitted.

    Attributes:
        unit: about the largest absolute value that is observed, a real scalar; 1 for a tensor of
            zeros. Fits work in this unit, so that no square leaves the range of the dtype.
        norm: ‖W½∘T‖ in that unit and in units of the largest weight, a real scalar.
        weight: the largest entry weight, a real scalar.
        status: an integer scalar: 0 good; 1 entries that are not finite or out of the range that
            was asked for; 2 weights that are negative, not finite, or all zero.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> scale = jkr.tensors.Dense(jnp.array([[3.0, 4.0]])).scale()
        >>> float(scale.unit), float(scale.norm), int(scale.status)
        (4.0, 1.25, 0)
    """

    unit: Array
    norm: Array
    weight: Array
    status: Array


class Tensor(ABC):
    """A tensor with entry weights; a pytree, so that every transform applies to it.

    Derive from it, register the class as a pytree (`jax.tree_util.register_dataclass`), and write
    the abstract methods. `docs/extending.md` shows one that is diagonal plus low rank.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> isinstance(jkr.tensors.Dense(jnp.ones((2, 3))), jkr.tensors.Tensor)
        True
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(I_1, …, I_N)."""

    @property
    @abstractmethod
    def dtype(self) -> DTypeLike:
        """Of the entries, floating or complex."""

    @abstractmethod
    def passes(self, precision: Precision = None) -> tuple[Pass, ...]:
        """The readings of the data that together serve every mode once."""

    @abstractmethod
    def entrywise(
        self,
        f: Entrywise,
        model: tuple[Array, Factors],
        columns: Factors | None = None,
        *,
        precision: Precision = None,
        at_zero: AtZero | None = None,
    ) -> tuple[Array, tuple[Array, ...]]:
        """Σ W∘value and, with columns, every mode's MTTKRP of the tensor W∘entry.

        Args:
            f: (m, t) to (value, entry), elementwise: blocks of the model and of the data to real
                values, and to entries of their dtype (None if there are no columns). Constants of
                the entries, where a tensor has them, come after t.
            model: weights (R,) and factors (I_n, R).
            columns: one matrix (I_n, S) a mode.
            precision: of the matrix products.
            at_zero: what f is at t = 0, if that is known; few tensors ask.

        Returns:
            A real scalar, and a tuple of arrays (I_n, S), empty without columns.
        """

    @abstractmethod
    def project(self, matrices: Factors) -> Array:
        """(W∘T) ×ₙ Uₙᴴ, (J_1, …, J_N), for matrices Uₙ (I_n, J_n)."""

    def project_others(self, matrices: Factors, mode: int) -> Array:
        """The unfolding of W∘T projected on the matrices of all modes but one, (I_mode, ∏ J).

        Columns are in the order of the other modes' indices, the last one fastest.
        """
        sizes = [1 if n == mode else u.shape[1] for n, u in enumerate(matrices)]
        every = jnp.indices(sizes).reshape(self.ndim, -1)
        columns = [
            jnp.ones((u.shape[0], every.shape[1]), self.dtype) if n == mode else u.conj()[:, k]
            for n, (u, k) in enumerate(zip(matrices, every, strict=True))
        ]
        (part,) = (part for part in self.passes("highest") if mode in part.modes)
        return part.mttkrp(part.contract(columns), columns, mode)

    @abstractmethod
    def scale(self, low: float = -inf, high: float = inf) -> Scale:
        """How large it is, and whether all that is observed lies between low and high."""

    def leading(self, mode: int, count: int, done: Array | None = None) -> Array:
        """About the leading left singular vectors of an unfolding, (I_mode, count).

        count is at most the smaller side of the unfolding. They are the left vectors of a sketch,
        its product with random columns: any columns will do, so that no key is asked for. What is
        done comes before the call of LAPACK.
        """
        columns = min(count + 8, self.shape[mode])
        keys = jax.random.split(jax.random.key(0), self.ndim)
        sketch = [
            jax.random.normal(k, (n, columns), self.dtype)
            for k, n in zip(keys, self.shape, strict=True)
        ]
        (part,) = (part for part in self.passes("highest") if mode in part.modes)
        y = part.mttkrp(part.contract(sketch), sketch, mode)
        return jnp.linalg.svd(after(y, done), full_matrices=False)[0][:, :count]

    def cross_gram(self, factors: Factors, n: int, m: int) -> Array:
        """Σ W over all indices but those of two modes, with pairs of the other factors.

        G[i, j, r, s] = Σ W ∏_{k≠n,m} conj(A_k[i_k, r]) A_k[i_k, s] with i_n = i and i_m = j; for
        n = m G[i, r, s]. Axes along which it does not vary may be of length one.
        """
        raise TypeError(f"{type(self).__name__} does not know how its weights vary")

    def squared_norm(self, unit: Array | float = 1.0) -> Array:
        """Σ W|T/u|², a real scalar; u is real and positive."""
        own, norm, weight, _ = self.scale()
        return weight * (own / unit * norm) ** 2

    def rows(self) -> tuple[Array, ...]:
        """Of each mode, which rows hold anything that is observed: masks (I_n,)."""
        return tuple(jnp.ones(n, bool) for n in self.shape)

    @property
    def uniform(self) -> bool:
        """Whether every entry weighs the same, so that one Gram serves all rows of a mode."""
        return True

    @property
    def visited(self) -> int:
        """How many entries a pass visits."""
        return math.prod(self.shape)

    @property
    def partial_sums(self) -> int:
        """How many numbers a pass holds on its way for each column."""
        return self.visited // max(self.shape)

    def beside(self, model: tuple[Array, Factors]) -> tuple["Tensor", tuple[Array, Factors]]:
        """A tensor and a model as far from each other as these are, and smaller if can be."""
        return self, model

    @property
    def cancels(self) -> bool:
        """Whether sums over entries are differences of larger ones, so that they lose digits."""
        return False

    def check_one(self, name: str) -> None:  # noqa: B027 (few can be several)
        """Refuse a batch of tensors where one is needed, in the name of a function."""

    def check_zeros(self, name: str, what: str) -> None:  # noqa: B027 (few have any)
        """Refuse, in the name of a function, to visit more zeros one by one than there is time."""

    @property
    def entry_constants(self) -> tuple[Array, ...]:
        """Real arrays of T's shape that a loss takes beside the data, most often none."""
        return ()

    @property
    def ndim(self) -> int:
        """N, the number of modes."""
        return len(self.shape)

    def observations(self) -> Array | float:
        """How many entries are observed; a number that may be beyond integers of 32 bits."""
        return float(math.prod(self.shape))

    def project_back(self, core: Array, matrices: Factors) -> Array:
        """`project` of the tensor core ×ₙ Uₙ under the same weights, (J_1, …, J_N)."""
        raise TypeError(f"{type(self).__name__} does not know how its weights vary")

    def prepared(self) -> Self:
        """The same tensor, with what every pass would compute anew computed once."""
        return self

    def astype(self, dtype: DTypeLike) -> Self:
        """The same tensor in another precision: complex leaves so, floating ones as their parts."""
        real = jnp.zeros((), dtype).real.dtype

        def cast(a: Array) -> Array:
            if jnp.iscomplexobj(a):
                return a.astype(dtype)
            return a.astype(real) if jnp.issubdtype(a.dtype, jnp.floating) else a

        return jax.tree.map(cast, self)
