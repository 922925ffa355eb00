"""CP models, their ranks, and what is said of their modes."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jkr._check._arrays import Sizes, array
from jkr._check._matrices import factors
from jkr._check._options import at_least


def weights(name: str, weights: ArrayLike, rank: int) -> Array:
    """The component weights λ, (R,)."""
    w = array(name, weights, "component weights")
    if w.shape != (rank,):
        raise ValueError(
            f"{name}: weights need one entry for each of the {rank} components, got {w.shape}"
        )
    return w


def rank(name: str, rank: int) -> int:
    """A number of components, at least 1."""
    if isinstance(rank, bool | np.bool_):
        raise ValueError(f"{name}: rank needs to be an int, got {rank}")
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
    arrays, given_rank = factors(name, given_factors, shape)
    if given_rank != rank:
        raise ValueError(f"{name}: {what} has rank {given_rank}, and rank {rank} was asked for")
    arrays.append(weights(name, given_weights, rank))
    if any(jnp.iscomplexobj(a) for a in arrays) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"{name}: a complex {what} does not go with a {dtype} tensor")
    *arrays, w = (a if a.dtype == dtype else a.astype(dtype) for a in arrays)
    return arrays, w


def several_modes(name: str, shape: Sizes) -> None:
    """A model of order 2 or more."""
    if len(shape) < 2:
        raise ValueError(f"{name}: needs a model of two modes or more, got shape {shape}")


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
