"""Where a fit begins: random factors, leading singular vectors, or a model that the user gives."""

from collections.abc import Sequence
from math import inf

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from jkr import _check
from jkr._linalg._norms import column_norms, unit_columns
from jkr._linalg._small import gram, matmul
from jkr.cp._data import Options, measured, observed, seen_rows
from jkr.cp._model import CPTensor

KINDS = ("random", "uniform", "svd")


def random(
    key: Array, shape: Sequence[int], rank: int, *, dtype: DTypeLike | None = None
) -> CPTensor:
    """A CP tensor with standard normal factors and weights of one.

    Args:
        key: a `jax.random.key`.
        shape: (I_1, …, I_N).
        rank: R.
        dtype: of the weights (R,) and factors (I_n, R); the default float if not given. Complex
            factors have independent real and imaginary parts, of variance 1/2 each.

    Returns:
        CPTensor of that shape and rank.

    Raises:
        ValueError: a key that is not one; a shape that is no sequence of ints of at least 0; rank
            below 1 or no int; a dtype that is not floating or complex.

    Example:
        >>> import jax, jkr
        >>> jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full().shape
        (4, 5, 6)

    Source: Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, section 3 (the
    model).
    """
    key = _check.key("cp.random", key)
    dims = _check.sizes("cp.random", shape)
    rank = _check.rank("cp.random", rank)
    dtype = _check.inexact_dtype("cp.random", dtype)
    keys = jax.random.split(key, max(len(dims), 1))
    factors = tuple(
        jax.random.normal(k, (n, rank), dtype) for k, n in zip(keys, dims, strict=False)
    )
    return CPTensor(jnp.ones(rank, dtype), factors)


def checked_start(
    name: str, init: str | CPTensor, key: Array | None, x: Array, rank: int, restarts: int
) -> tuple[str, CPTensor | None, Array | None]:
    """The kind of a start, the model that the user gave, and the key of a random one."""
    if not isinstance(init, str):
        if restarts > 1:
            raise ValueError(
                f"{name}: restarts={restarts} need a random start, got a model as init"
            )
        factors, weights = _check.model(name, init, x.shape, rank, x.dtype)
        return "given", CPTensor(weights, tuple(factors)), None
    if init not in KINDS:
        raise ValueError(f"{name}: init needs to be one of {KINDS} or a CPTensor, got {init!r}")
    if key is not None:
        return init, None, _check.key(name, key)
    if init != "svd" or restarts > 1:
        raise ValueError(
            f"{name}: a random start needs a key: pass key=jax.random.key(0), or a CPTensor as init"
        )
    if rank > min(min(dim, x.size // dim) for dim in x.shape):
        raise ValueError(
            f"{name}: init='svd' with rank {rank} above the rank of an unfolding of {x.shape} adds "
            f"random columns and needs a key: pass key=jax.random.key(0)"
        )
    return init, None, None


def begun(
    x: Array,
    w: Array | None,
    given: CPTensor | None,
    key: Array | None,
    kind: str,
    rank: int,
    options: Options,
    low: float = -inf,
    high: float = inf,
) -> tuple[CPTensor, Array, Array, Array]:
    """A start in normal form, as large as the data; their scale, norm and status (`measured`).

    Unit columns, nonnegative where they are to be so, and nonnegative weights; fixed factors as
    they were given.
    """
    scale, norm, status = measured(x, w, low, high)
    if given is not None:
        model: CPTensor = jax.tree.map(lambda a: a.astype(x.dtype), given)
        return _absorbed(model, norm * scale, options), scale, norm, status
    cp = _drawn(kind, key, observed(x, w) / scale.astype(x.dtype), rank)
    if w is not None:  # of the other rows the data say nothing
        rows = zip(cp.factors, seen_rows(w), strict=True)
        cp = cp._replace(factors=tuple(jnp.where(seen[:, None], a, 0) for a, seen in rows))
    # As large as the data, so that a penalty has something to weigh.
    size = jnp.where(norm > 0, norm, 1) * scale / rank**0.5
    units = (
        unit_columns(jnp.abs(a) if n in options.nonnegative else a, a)[1]
        for n, a in enumerate(cp.factors)
    )
    return CPTensor(size.astype(x.dtype) * cp.weights, tuple(units)), scale, norm, status


def _absorbed(given: CPTensor, size: Array, options: Options) -> CPTensor:
    """A given start with unit columns and nonnegative weights, fixed factors as they are.

    Weights above a million times the size of the data say no more than that they are large.
    """
    total, factors = jnp.ones_like(given.weights.real), list(given.factors)
    signed = [n for n in options.free if n not in options.nonnegative] or options.free
    for n in options.free:
        a = factors[n] * given.weights[None, :] if n == signed[-1] else factors[n]
        norms, factors[n] = unit_columns(jnp.maximum(a, 0) if n in options.nonnegative else a, a)
        total = total * norms.real
    most = 1e6 * jnp.where(size > 0, size, 1)
    return CPTensor(jnp.minimum(total, most).astype(given.weights.dtype), tuple(factors))


def _drawn(kind: str, key: Array | None, x: Array, rank: int) -> CPTensor:
    """A start of one of the `KINDS`, of the tensor's shape and dtype, weights of one."""
    if kind == "svd":
        return _leading_vectors(x, rank, key)
    draw = random if kind == "random" else _uniform
    return draw(_check.key("cp.als", key), x.shape, rank, dtype=x.dtype)


def _uniform(key: Array, shape: Sequence[int], rank: int, *, dtype: DTypeLike) -> CPTensor:
    """Factors uniform on [0, 1), real and imaginary parts each."""
    parts = 2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1
    real = jnp.zeros((), dtype).real.dtype
    factors = []
    for k, n in zip(jax.random.split(key, len(shape)), shape, strict=True):
        draw = jax.random.uniform(k, (parts, n, rank), real)
        factors.append(lax.complex(draw[0], draw[1]) if parts == 2 else draw[0])
    return CPTensor(jnp.ones(rank, dtype), tuple(factors))


def _leading_vectors(x: Array, rank: int, key: Array | None) -> CPTensor:
    """Leading left singular vectors of every unfolding (the factors of an HOSVD).

    They are the eigenvectors of the unfolding's Gram; where a mode is longer than all others
    together, of the smaller Gram X₍ₙ₎ᴴX₍ₙ₎ = VΣ²Vᴴ, and U = X₍ₙ₎VΣ⁻¹. Columns beyond the rank of
    the unfolding are random.
    """
    keys = [None] * x.ndim if key is None else list(jax.random.split(key, x.ndim))
    factors = []
    for n, (dim, k) in enumerate(zip(x.shape, keys, strict=True)):
        others = x.size // dim
        count = min(rank, dim, others)
        rest = tuple(m for m in range(x.ndim) if m != n)
        if dim <= others:
            G = lax.dot_general(x, x.conj(), ((rest, rest), ((), ())), precision="highest")
            columns = jnp.linalg.eigh(G)[1][:, ::-1][:, :count]
        else:
            X = jnp.moveaxis(x, n, 0).reshape(dim, others)
            columns = matmul(X, jnp.linalg.eigh(gram(X, X))[1][:, ::-1][:, :count])
            norms = column_norms(columns)
            columns = columns / jnp.where(norms > 0, norms, 1).astype(x.dtype)[None, :]
        if k is not None and count < rank:
            extra = jax.random.normal(k, (dim, rank - count), x.dtype) / dim**0.5
            columns = jnp.concatenate([columns, extra], axis=1)
        factors.append(columns)
    return CPTensor(jnp.ones(rank, x.dtype), tuple(factors))
