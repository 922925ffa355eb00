"""CP models, their ranks, and what is said of their modes."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike

from jkr._check._arrays import Sizes, array, listed
from jkr._check._matrices import factors
from jkr._check._options import at_least
from jkr._check._tensors import modes, same_shape


def weights(name: str, weights: ArrayLike | None, rank: int, dtype: DTypeLike) -> Array:
    """The component weights λ, (R,); ones, of the dtype of the factors, for None."""
    w = jnp.ones(rank, dtype) if weights is None else array(name, weights, "component weights")
    if w.shape != (rank,):
        raise ValueError(
            f"{name}: weights need one entry for each of the {rank} components, got {w.shape}"
        )
    return w


def rank(name: str, rank: int) -> int:
    """A number of components, at least 1."""
    return at_least(name, "rank", rank)


def ranks(name: str, ranks: Sequence[int]) -> tuple[int, ...]:
    """Several numbers of components."""
    try:
        several = tuple(ranks)
    except TypeError as error:
        raise ValueError(f"{name}: ranks need to be a sequence of ints, got {ranks!r}") from error
    if not several:
        raise ValueError(f"{name}: needs at least one rank, got none")
    return tuple(rank(name, r) for r in several)


def parts(name: str, cp: Any) -> tuple[Any, Any]:
    """Weights and factors of a CPTensor, or of any pair of them."""
    try:
        weights, factors = cp
    except (TypeError, ValueError):
        hint = "; its cp is one" if hasattr(cp, "cp") else ""
        raise ValueError(f"{name}: needs a CPTensor, got {type(cp).__name__}{hint}") from None
    return weights, factors


def model(
    name: str, cp: Any, shape: Sizes, rank: int, dtype: DTypeLike, *, what: str = "init"
) -> tuple[list[Array], Array]:
    """Factors and weights of a model: of that shape, rank and dtype."""
    given_weights, given_factors = parts(name, cp)
    if given_weights is None and what == "cotangent":  # where ones would be no default
        raise ValueError(f"{name}: the cotangent needs weights, got None")
    arrays, given_rank = factors(name, given_factors, shape)
    if given_rank != rank:
        raise ValueError(f"{name}: {what} has rank {given_rank}, and rank {rank} was asked for")
    arrays.append(weights(name, given_weights, rank, arrays[0].dtype))
    goes_with(name, what, arrays, dtype)
    *arrays, w = (a if a.dtype == dtype else a.astype(dtype) for a in arrays)
    return arrays, w


def goes_with(name: str, what: str, arrays: Sequence[Array], dtype: DTypeLike) -> None:
    """A complex model, only beside a complex tensor."""
    if any(jnp.iscomplexobj(a) for a in arrays) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"{name}: a complex {what} does not go with a {dtype} tensor")


def several_modes(name: str, shape: Sizes) -> None:
    """A model of order 2 or more."""
    if len(shape) < 2:
        raise ValueError(f"{name}: needs a model of two modes or more, got shape {shape}")


def multiplier(name: str, x: Any) -> Array:
    """A scalar that multiplies a model."""
    s = array(name, x, "a scalar")
    if s.ndim:
        raise ValueError(f"{name}: needs a scalar, got shape {s.shape}")
    return jnp.asarray(x.item()) if isinstance(x, np.number) else s  # as Python's: of no width


def compared_modes(name: str, value: Any, one: Sizes, other: Sizes) -> tuple[int, ...]:
    """The modes in which two models are compared, of one size in both; all of them for None."""
    if value is None:
        same_shape(name, one, other)
        return tuple(range(len(one)))
    if len(one) != len(other):
        raise ValueError(f"{name}: both models need as many modes, got {one} and {other}")
    named = modes(name, "modes", value, len(one))
    if not named:
        raise ValueError(f"{name}: needs a mode to compare, got modes={value!r}")
    if any(one[n] != other[n] for n in named):
        raise ValueError(
            f"{name}: modes {listed(named)} need the same size in both models, "
            f"got {one} and {other}"
        )
    return named


def along_mode(name: str, matrix: ArrayLike, size: int) -> Array:
    """A matrix (J, size) or a vector (size,) that multiplies a mode of that size."""
    m = array(name, matrix, "a matrix of numbers")
    if m.ndim not in (1, 2) or m.shape[-1] != size:
        raise ValueError(
            f"{name}: needs a vector of {size} entries or a matrix of {size} columns, got {m.shape}"
        )
    return m


def indices(name: str, value: Any, size: int) -> Any:
    """What picks entries of an axis of that size: an int, several, a slice, or a mask."""
    if isinstance(value, slice):
        return value
    traced = isinstance(value, Tracer)
    picked = value if traced else np.asarray(value)
    if not traced and picked.dtype == bool and picked.shape == (size,):
        return np.flatnonzero(picked)
    if picked.ndim > 1 or not (np.issubdtype(picked.dtype, np.integer) or picked.size == 0):
        raise ValueError(
            f"{name}: index needs to be an int, a sequence of ints, a slice, or a mask of "
            f"{size} booleans, got {value!r}"
        )
    if traced:  # its values are not known yet
        return picked
    picked = picked.astype(int)
    if np.any((picked < -size) | (picked >= size)):
        raise ValueError(f"{name}: index {value!r} is out of range for size {size}")
    return picked


def all_but(name: str, n: int, one: Sizes, other: Sizes) -> None:
    """A model and a tensor of one shape, but for a mode."""
    same = len(one) == len(other) and all(
        i == j for m, (i, j) in enumerate(zip(one, other, strict=True)) if m != n
    )
    if not same:
        raise ValueError(
            f"{name}: model and tensor need the same shape but for mode {n}, got {one} and {other}"
        )


def axes(name: str, shape: Sizes, **what: Sequence[Any]) -> None:
    """What is said of each mode: one entry a mode, and one label an index."""
    for word, entries in what.items():
        if len(entries) != len(shape):
            raise ValueError(
                f"{name}: {word} need one entry for each of the {len(shape)} modes, "
                f"got {len(entries)}"
            )
    for n, (dim, names) in enumerate(zip(shape, what.get("labels", ()), strict=False)):
        if names is not None and len(names) != dim:
            raise ValueError(
                f"{name}: mode {n} has {dim} indices and needs as many labels, got {len(names)}"
            )
