"""Compression: the small core of a tensor in orthonormal bases that hold nearly all of it.

The bases come from Khatri–Rao sketches: the MTTKRP of T with K random columns a mode spans, nearly,
the leading left vectors of the unfolding, and those of all modes cost two readings of T. A power
pass, two more, takes those of the unfoldings of T projected on the bases of the other modes, which
rids them of most of the noise.
A CP model of the core is one of T by a change of basis (I13), with the same Grams and column norms;
so a fit of low rank can be found in the core, and be finished on T in a few steps.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._dtypes import accumulator, promoted
from jkr._linalg._norms import power_of_two, square_root, times
from jkr._linalg._order import in_turn
from jkr._linalg._small import gram, matmul
from jkr._mesh import any_mesh
from jkr.cp._fit._result import unless_bad
from jkr.cp._fit._solver import refuse_bad_data
from jkr.cp._model._cptensor import CPTensor, checked
from jkr.tensors._as_tensor import as_tensor
from jkr.tensors._mttkrp import tensor_mttkrps
from jkr.tensors._tensor import Tensor

_TURNS = 2  # of subspace iteration, which reads no tensor


class Compressed(NamedTuple):
    """A tensor T ≈ core ×₁ Q_1 … ×_N Q_N, made by `compress`; a pytree.

    Attributes:
        core: T ×ₙ Qₙᴴ, (J_1, …, J_N).
        bases: Qₙ (I_n, J_n) with orthonormal columns, one a mode; the identity where J_n = I_n.
        residual: ‖T − core ×ₙ Qₙ‖/‖T‖, from ‖T‖² − ‖core‖², so good to √eps; a real scalar.

    Example:
        >>> import jax, jkr
        >>> truth = jkr.cp.random(jax.random.key(0), (20, 30, 40), 2)
        >>> small = jkr.cp.compress(truth, 4, key=jax.random.key(1))
        >>> result = jkr.cp.nls(small.core, 2, key=jax.random.key(2))
        >>> distance = jkr.cp.loss(small.expand(result.cp), truth.full())
        >>> bool(distance < 1e-4 * truth.norm() ** 2)
        True

    Source: [KB09], section 4; [BA98].
    """

    core: Array
    bases: tuple[Array, ...]
    residual: Array

    @any_mesh
    def expand(self, cp: CPTensor) -> CPTensor:
        """The model of T that a model of the core stands for, factors QₙBₙ.

        Args:
            cp: CPTensor (J_1, …, J_N) of rank R.

        Returns:
            CPTensor (I_1, …, I_N) of rank R, with the same weights.

        Raises:
            ValueError: no CP model, or one of another shape than the core.

        Example:
            >>> import jax, jkr
            >>> model = jkr.cp.random(jax.random.key(0), (20, 30, 40), 2)
            >>> small = jkr.cp.compress(model, 4, key=jax.random.key(1))
            >>> small.expand(small.reduce(model)).shape
            (20, 30, 40)
        """
        return _turned("cp.Compressed.expand", cp, self.core.shape, self.bases)

    @any_mesh
    def reduce(self, cp: CPTensor) -> CPTensor:
        """The model of the core nearest to a model of T, factors QₙᴴAₙ.

        Args:
            cp: CPTensor (I_1, …, I_N) of rank R.

        Returns:
            CPTensor (J_1, …, J_N) of rank R, with the same weights.

        Raises:
            ValueError: no CP model, or one of another shape than T.

        Example:
            >>> import jax, jkr
            >>> model = jkr.cp.random(jax.random.key(0), (20, 30, 40), 2)
            >>> jkr.cp.compress(model, 4, key=jax.random.key(1)).reduce(model).shape
            (4, 4, 4)
        """
        shape = tuple(q.shape[0] for q in self.bases)
        back = tuple(q.conj().T for q in self.bases)
        return _turned("cp.Compressed.reduce", cp, shape, back)


def _turned(name: str, cp: CPTensor, shape: tuple[int, ...], matrices: Sequence[Array]) -> CPTensor:
    """The model with every factor multiplied by a matrix."""
    weights, factors = checked(name, cp)
    _check.same_shape(name, tuple(a.shape[0] for a in factors), shape)
    return _products(matrices, weights, factors)


@jax.jit
def _products(matrices: Sequence[Array], weights: Array, factors: Sequence[Array]) -> CPTensor:
    """The same, in one program."""
    weights, *factors = promoted(weights, *factors, *matrices)[: 1 + len(matrices)]
    pairs = zip(matrices, factors, strict=True)
    products = (matmul(m.astype(a.dtype), a).astype(a.dtype) for m, a in pairs)
    return CPTensor(weights, tuple(products))


@any_mesh
def compress(
    tensor: ArrayLike | Tensor, size: int | Sequence[int], *, key: Array, power: int = 1
) -> Compressed:
    """Core and orthonormal bases of a tensor, a randomised Tucker compression.

    Nothing of the tensor's size is formed; an array is read 2·(2 + power) times, 5 for power 0.

    Args:
        tensor: T (I_1, …, I_N), N ≥ 2, all entries weighing the same.
        size: J, or one J_n a mode; those above I_n are I_n. For models of rank R, R + 8 holds all.
        key: a `jax.random.key`.
        power: how often the bases are made anew from T projected on the others; one is enough for
            noise as large as the signal.

    Returns:
        Compressed, of the dtype of T (float32 for float16 and bfloat16).

    Raises:
        ValueError: a size below 1, or not one a mode; power below 0; a key that is not one; entry
            weights, since a core has none; NaN or inf in the data.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (20, 30, 40), 3).full()
        >>> small = jkr.cp.compress(x, 5, key=jax.random.key(1))
        >>> small.core.shape, bool(small.residual < 1e-2)
        ((5, 5, 5), True)

    Derivative: of the core alone, linear in T, with the bases held. How the bases turn with T is
    random where singular values coincide, and no matter to what the whole stands for.

    Source: laws J5, I13; [HMT11]; [BA98].
    """
    name = "cp.compress"
    made = as_tensor(name, tensor)
    _check.without_entry_weights(name, uniform=made.uniform)
    if not isinstance(size, Sequence):
        size = (_check.at_least(name, "size", size),) * made.ndim
    sizes = _check.counts(name, "sizes", size)
    _check.as_many(name, "sizes", sizes, "modes", made.shape)
    sizes = tuple(min(of_core, of_mode) for of_core, of_mode in zip(sizes, made.shape, strict=True))
    power = _check.at_least(name, "power", power, 0)
    found, status = core_and_bases(sizes, power, made, _check.key(name, key))
    refuse_bad_data(name, status)
    return found


@partial(jax.jit, static_argnums=(0, 1))
def core_and_bases(
    sizes: tuple[int, ...], power: int, tensor: Tensor, key: Array
) -> tuple[Compressed, Array]:
    """The compression, and what is wrong with the data."""
    tensor = tensor.astype(accumulator(tensor.dtype))
    still = lax.stop_gradient(tensor)
    scale = still.scale()
    bases, core = _sketched(still, sizes, key), None
    for _ in range(power):
        bases, core = _refined(tensor, bases)
    core = tensor.project(bases) if core is None else core
    # In units of the data, where squares are in range.
    inside = jnp.linalg.norm(lax.stop_gradient(core / scale.unit.astype(core.dtype)).ravel())
    outside = square_root(scale.norm**2 - inside**2) / jnp.where(scale.norm > 0, scale.norm, 1)
    return Compressed(core, tuple(bases), outside), unless_bad(scale, 0)


def _sketched(tensor: Tensor, sizes: tuple[int, ...], key: Array) -> list[Array]:
    """Orthonormal bases of the MTTKRPs with random columns."""
    count = max(sizes)
    keys = jax.random.split(key, len(sizes))
    pairs = zip(keys, tensor.shape, strict=True)
    # Normal ones would be drawn anew wherever XLA multiplies them, which takes as long as the rest.
    real = jnp.finfo(tensor.dtype).dtype
    draw = lambda k, n: jax.random.uniform(k, (n, count), real, -1, 1)  # noqa: E731
    columns = tuple(draw(k, n).astype(tensor.dtype) for k, n in pairs)
    ys = tensor_mttkrps(tensor, columns, "highest")
    return in_turn(_orthonormal, ys, sizes)


def _refined(tensor: Tensor, bases: Sequence[Array]) -> tuple[list[Array], Array]:
    """Bases of each unfolding projected on the latest others, by subspace iteration; the core."""
    bases = list(bases)
    # Each waits for the one before, as LAPACK's calls have to (`_order`).
    for n, q in enumerate(bases):
        bases = _apart(bases)
        projected = tensor.project_others(bases, n)
        if q.shape[0] > q.shape[1]:
            bases[n] = _leading(lax.stop_gradient(projected), q)
    core = gram(bases[-1], projected)
    *others, last = (q.shape[1] for q in bases)
    return bases, jnp.moveaxis(core.reshape(last, *others), 0, -1)


def _apart(bases: list[Array]) -> list[Array]:
    """The same bases as others than before, for accelerators.

    There XLA makes one product of two that share a basis, from a copy of the tensor.
    """
    apart = lambda bases: list(lax.optimization_barrier(bases))  # noqa: E731
    return lax.platform_dependent(bases, cpu=lambda bases: bases, default=apart)


def _leading(y: Array, q: Array) -> Array:
    """The basis of the leading directions of Y's columns, from one that is near."""
    y = times(y, 1 / power_of_two(y))
    for _ in range(_TURNS):
        q = _orthonormal(matmul(y, gram(y, q)), q.shape[1])
    return q


def _orthonormal(y: Array, size: int) -> Array:
    """An orthonormal basis of the columns, or of the leading directions if they are more."""
    if size == y.shape[0]:
        return jnp.eye(size, dtype=y.dtype)
    # Columns of one size, so that none is lost to rounding beside a large one.
    largest = jnp.max(jnp.abs(y), axis=0)
    y = y / jnp.where(largest > 0, largest, 1).astype(y.dtype)[None, :]
    q = jnp.linalg.qr(y)[0] if size == min(y.shape) else jnp.linalg.svd(y, full_matrices=False)[0]
    return q[:, :size]
