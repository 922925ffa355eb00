"""Lazy products and sketches, and the operands of their `@` and `*`."""

from collections.abc import Sequence
from typing import Any

from jax import Array
from jax.typing import ArrayLike

from jkr._check._arrays import Sizes, array, inexact, listed
from jkr._check._matrices import matrices


def operands(name: str, ms: Sequence[ArrayLike], *, rows: bool, columns: bool) -> list[Array]:
    """The matrices (I_n, J_n) of one lazy product."""
    arrays = matrices(name, ms, rows=rows, columns=columns)
    if any(a.ndim != 2 for a in arrays):
        raise ValueError(
            f"{name}: matrices need two dimensions (batches go by vmap), "
            f"got {listed([a.shape for a in arrays])}"
        )
    return arrays


def lazy(name: str, op: Any, kind: type, what: str = "a lazy product") -> Any:
    """A lazy product, or another linear map that is known by its parts."""
    if not isinstance(op, kind):
        raise ValueError(f"{name}: needs {what}, got {type(op).__name__}")
    return op


def inner(name: str, left: Sizes, right: Sizes) -> None:
    """Shapes of two operands of `@`: matrices, or a vector on one side."""
    fit = {len(left), len(right)} <= {1, 2} and left[-1] == right[0]
    if not fit:
        raise ValueError(
            f"{name}: @ needs matrices or vectors whose inner dimensions agree, "
            f"got {left} and {right}"
        )


def same_rows(name: str, rows: int, shape: Sizes) -> None:
    """A right-hand side of that many rows, given as an operator or a CP tensor."""
    if shape[0] != rows:
        raise ValueError(f"{name}: y needs {rows} rows, got {shape}")


def axis_weights(name: str, ws: Sequence[ArrayLike], sizes: Sizes) -> list[Array]:
    """Vectors of weights, one of each of these sizes."""
    arrays = [array(name, w, "weights that are vectors of numbers") for w in ws]
    wanted, shapes = [(size,) for size in sizes], [w.shape for w in arrays]
    if shapes != wanted:
        each = "one vector for each factor, of shapes" if len(sizes) > 1 else "one vector, of shape"
        raise ValueError(
            f"{name}: weights need to be {each} {listed(wanted)}, got {listed(shapes) or 'none'}"
        )
    return arrays


def broadcast_weights(name: str, w: Any, shape: Sizes) -> tuple[Array, int | None]:
    """Weights that multiply a matrix, and the axis that they run along; None for a scalar."""
    w = array(name, w)
    if w.size == 1 and w.ndim in (0, 2):
        return w.reshape(()), None
    if w.ndim == 2 and w.shape in ((shape[0], 1), (1, shape[1])):
        return w.reshape(-1), int(w.shape[0] == 1)
    raise ValueError(
        f"{name}: * needs a scalar, row weights ({shape[0]}, 1) or column weights "
        f"(1, {shape[1]}), got {w.shape}"
    )


def sketched(name: str, op: Any, kinds: tuple[type, ...], dims: Sizes) -> tuple[Array, ...]:
    """The factors, floating or complex, of a lazy product whose rows are crossed as `dims` are."""
    rows = tuple(a.shape[0] for a in op.factors)
    if not isinstance(op, kinds) or rows != dims:
        raise ValueError(
            f"{name}: @ needs an array, or a {' or '.join(kind.__name__ for kind in kinds)} of "
            f"factors with {listed(dims)} rows, got a {type(op).__name__} with {listed(rows)}"
        )
    return tuple(inexact(name, a) for a in op.factors)


def features(name: str, x: Array, dims: Sizes, *, bias: bool) -> Array:
    """Vectors (..., n) that fit a sketch of powers, with one more entry for a constant term."""
    if len(set(dims)) > 1 or x.ndim < 1 or x.shape[-1] + bias != dims[0]:
        raise ValueError(
            f"{name}: x needs {'one feature less than' if bias else 'as many features as'} each "
            f"part of the sketch has entries{' (coef0 is one)' if bias else ''}, got {x.shape} for "
            f"a sketch of {dims}"
        )
    return x
