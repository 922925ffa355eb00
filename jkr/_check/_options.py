"""What is no array: counts, sizes, keys, functions, and other objects."""

import operator
from collections.abc import Sequence
from functools import lru_cache
from os import PathLike
from pathlib import Path
from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from jkr._check._arrays import Sizes, listed


def number(name: str, what: str, value: Any, *, above: float | None = None) -> float:
    """A static, finite number, above a limit if there is one."""
    good = isinstance(value, int | float | np.integer | np.floating)
    good = good and not isinstance(value, bool)
    if not (good and np.isfinite(value) and (above is None or value > above)):
        rule = "a finite number" if above is None else f"a finite number above {above}"
        raise ValueError(f"{name}: {what} needs to be {rule}, got {value!r}")
    return float(value)


def one_of(name: str, what: str, value: Any, known: Sequence[str]) -> str:
    """One of some words."""
    if value not in known:
        raise ValueError(f"{name}: {what} needs to be one of {listed(known)}, got {value!r}")
    return value


def index(value: Any) -> int:
    """An int, which a boolean is not; a TypeError else."""
    if isinstance(value, bool | np.bool_):
        raise TypeError("a boolean is no int")
    return operator.index(value)


def at_least(name: str, what: str, value: int, least: int = 1, *, below: int | None = None) -> int:
    """A static count that is not too small, nor too large."""
    try:
        n = index(value)
    except TypeError as error:
        raise ValueError(f"{name}: {what} needs to be an int, got {value!r}") from error
    if n < least or (below is not None and n >= below):
        most = "" if below is None else f" and below {below}"
        raise ValueError(f"{name}: {what} needs to be at least {least}{most}, got {n}")
    return n


def counts(name: str, what: str, values: Sequence[int]) -> Sizes:
    """Static counts, one or more, each at least 1."""
    try:
        ns = tuple(index(v) for v in values)
    except TypeError as error:
        raise ValueError(f"{name}: {what} need to be a sequence of ints, got {values!r}") from error
    if min(ns, default=0) < 1:
        raise ValueError(f"{name}: {what} need to be one or more ints, at least 1, got {ns}")
    return ns


def sizes(name: str, shape: Sequence[int]) -> Sizes:
    """A shape given by the user, as a tuple of ints that are not negative."""
    try:
        dims = tuple(index(s) for s in shape)
    except TypeError as error:
        raise ValueError(f"{name}: a shape is a sequence of ints, got {shape!r}") from error
    if min(dims, default=0) < 0:
        raise ValueError(f"{name}: dimensions need to be at least 0, got {dims}")
    return dims


def path(name: str, value: Any) -> Path:
    """Where a file is."""
    if not isinstance(value, str | PathLike):
        raise ValueError(f"{name}: needs the path of a file, got {type(value).__name__}")
    return Path(value)


def key(name: str, key: Any) -> Array:
    """One random key, new-style or legacy."""
    new = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    legacy = hasattr(key, "dtype") and key.dtype == jnp.uint32 and key.ndim == 1
    if not legacy and not (new and key.ndim == 0):
        got = f"shape {key.shape}" if new else type(key).__name__
        raise ValueError(f"{name}: key needs to be one jax.random.key, got {got}")
    return key


def function(name: str, what: str, value: Any) -> Any:
    """Something that can be called."""
    if not callable(value):
        raise ValueError(f"{name}: {what} needs to be a function, got {value!r}")
    return value


def at_zero(name: str, coefficients: Any, m: np.ndarray, found: np.ndarray) -> None:
    """Three numbers, by which a loss of zeros is what it is."""
    try:
        c0, c1, c2 = coefficients
        said = c0 + c1 * m + c2 * m**2
        agrees = bool(np.all(np.abs(said - found) <= 1e-2 * (1 + np.abs(found))))
    except (TypeError, ValueError):
        agrees = False
    if not agrees:
        raise ValueError(
            f"{name}: at_zero of a loss needs (c0, c1, c2) with f(m, 0) = c0 + c1·m + c2·m², got "
            f"{coefficients} where f(1, 0) = {float(found[1]):g}"
        )


def loss(name: str, loss: Any) -> Any:
    """A loss, which is a function, not its name."""
    if isinstance(loss, str):
        raise ValueError(
            f"{name}: loss needs to be one of jkr.cp.losses, or a function of (model, data), "
            f"got {loss!r}; pass jkr.cp.losses.{loss}, if that is one"
        )
    return function(name, "loss", loss)


def expected(name: str, value: Any, entries: Any, constants: int = 0) -> None:
    """The data that a loss expects of a model, elementwise, tried on such entries."""
    real = jax.ShapeDtypeStruct(entries.shape, jnp.finfo(entries.dtype).dtype)
    rule = f"expected of the loss needs to be a function of the model{_and_of(constants)}"
    out = _traced(name, rule, value, entries, *[real] * constants)
    if getattr(out, "shape", None) != entries.shape:
        raise ValueError(
            f"{name}: expected of the loss needs to give an array of the shape of the model, got "
            f"{_shape_of(out)} for shape {entries.shape}"
        )


def _and_of(constants: int) -> str:
    return f" and {constants} of entry_constants" if constants else ""


def elementwise(name: str, what: str, value: Any, entries: Any, constants: int = 0) -> None:
    """An elementwise, real function of (model, data), or with constants, tried on such entries."""
    real = jax.ShapeDtypeStruct(entries.shape, jnp.finfo(entries.dtype).dtype)
    rule = f"{what} needs to be a function of (model, data){_and_of(constants)}"
    out = _traced(name, rule, value, entries, entries, *[real] * constants)
    got = _not_real(out, entries.shape)
    if got:
        raise ValueError(
            f"{name}: {what} needs to give one real number an entry, got {got} "
            f"for shape {entries.shape}, {entries.dtype}"
        )


def _traced(name: str, rule: str, value: Any, *arguments: Any) -> Any:
    """What a function of the user's gives for such arguments, as shapes and dtypes."""
    if isinstance(value, Partial) and not (value.args or value.keywords):
        value = value.func
    try:
        plain = isinstance(value, FunctionType)
        return _once(value, arguments) if plain else jax.eval_shape(value, *arguments)
    except Exception as error:  # whatever goes wrong there, it is the function that fails
        named = value.func if isinstance(value, Partial) else value
        raise ValueError(f"{name}: {rule}, got {named!r}, which fails with: {error}") from error


@lru_cache(maxsize=64)
def _once(value: FunctionType, arguments: tuple) -> Any:
    """A function traced once, not at every call."""
    return jax.eval_shape(value, *arguments)


def value_of_penalty(name: str, kind: str, value: Any) -> None:
    """The function that a penalty adds to the objective."""
    if kind == "penalty" and value is None:
        raise ValueError(f"{name}: a penalty needs its value, got None")


def proximal(name: str, n: int, operator: Any, factor: Any) -> None:
    """A proximal operator of the user's, of the factor of a mode, tried on such a factor."""
    step = jax.ShapeDtypeStruct((), jnp.finfo(factor.dtype).dtype)
    what = f"prox of mode {n}"
    out = _traced(name, f"{what} needs to be a function of (factor, step)", operator, factor, step)
    if getattr(out, "shape", None) != factor.shape or out.dtype != factor.dtype:
        raise ValueError(
            f"{name}: {what} needs to give a factor of shape {factor.shape}, {factor.dtype}, got "
            f"{_shape_of(out)}"
        )


def of_the_user(name: str, rule: str, value: Any, /, *arguments: Any, **named: Any) -> Any:
    """What an object of the user's gives; whatever goes wrong there, it is that which fails."""
    try:
        return value(*arguments, **named)
    except Exception as error:
        raise ValueError(f"{name}: {rule}, which fails with: {error}") from error


def one_number(
    name: str, what: str, value: Any, factors: Any, of: str = "the tuple of factors"
) -> None:
    """A function of the tuple of all factors to a real number, tried on such factors."""
    out = _traced(name, f"{what} needs to be a function of {of}", value, factors)
    got = _not_real(out, ())
    if got:
        raise ValueError(f"{name}: {what} needs to give one real number, got {got}")


def _not_real(out: Any, shape: Sizes) -> str:
    """What came, where that is no real floating array of that shape; else nothing."""
    came, dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
    if came == shape and dtype is not None and jnp.issubdtype(dtype, jnp.floating):
        return ""
    return _shape_of(out)


def _shape_of(out: Any) -> str:
    came = getattr(out, "shape", None)
    return type(out).__name__ if came is None else f"shape {came}, {out.dtype}"


def kinds(name: str, what: str, values: Sequence[Any], kind: type) -> None:
    """One or more values of one class."""
    if not values or not all(isinstance(value, kind) for value in values):
        got = listed([type(value).__name__ for value in values]) or "none"
        raise ValueError(f"{name}: {what} needs to be {kind.__name__}, got {got}")


def as_many(name: str, what: str, some: Sequence[Any], where: str, others: Sequence[Any]) -> None:
    """Two sequences of one length."""
    if len(some) != len(others):
        raise ValueError(
            f"{name}: {what} need one entry for each of the {len(others)} {where}, got {len(some)}"
        )
