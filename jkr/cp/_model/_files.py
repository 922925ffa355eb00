"""Models in files: an `.npz` of plain arrays, that NumPy reads as it stands; no pickle.

Its entries are `weights` and `factor_0`, `factor_1`, …; others beside them do not disturb. NumPy
has no bfloat16, so such arrays are stored as float32, which holds every value of theirs, and
`dtypes` remembers what they were.
"""

import os
import secrets
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import jax.numpy as jnp
import numpy as np

from jkr import _check
from jkr.cp._model._cptensor import CPTensor


def save(path: str | os.PathLike[str], cp: CPTensor) -> None:
    """Write a model to an `.npz` file of its weights and factors, without pickle.

    The file is written beside its place and then moved there, so that it is never half written.
    Its name is taken as it is; nothing is appended.

    Args:
        path: the file.
        cp: CPTensor, or a pair of weights (R,) and factors (I_n, R); a batch of models, with
            leading dimensions, is stored as it is. Of a `CPResult`, the `cp`.

    Raises:
        ValueError: no pair of weights and factors, entries that are no numbers, or values that are
            not there yet, under `jit` or `vmap`.

    Example:
        >>> import jax, jkr, tempfile
        >>> model = jkr.cp.random(jax.random.key(0), (4, 5, 6), rank=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jkr.cp.save(f"{folder}/model.npz", model)
        ...     weights, factors = jkr.cp.load(f"{folder}/model.npz")
        >>> bool((factors[2] == model.factors[2]).all())
        True
    """
    arrays: dict[str, Any] = named("cp.save", cp)
    replace(_check.path("cp.save", path), lambda file: np.savez(file, **arrays))


def load(path: str | os.PathLike[str]) -> CPTensor:
    """Read a model that `save`, or `python -m jkr fit --out`, wrote.

    Args:
        path: the file.

    Returns:
        CPTensor with the values and dtypes that were saved; JAX turns 64-bit ones into 32 bits
        unless `jax_enable_x64` is set.

    Raises:
        ValueError: not such a file. OSError: a file that cannot be read.

    Example:
        >>> import jax, jkr, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jkr.cp.save(f"{folder}/m.npz", jkr.cp.random(jax.random.key(0), (4, 5), rank=2))
        ...     jkr.cp.load(f"{folder}/m.npz").shape
        (4, 5)
    """
    file = _check.path("cp.load", path)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            names = {name for name in stored.files if name.startswith("factor_")}
            ordered = ["weights", *(f"factor_{n}" for n in range(max(len(names), 1)))]
            arrays = [stored[name] for name in ordered]
            dtypes = stored["dtypes"] if "dtypes" in stored.files else [a.dtype for a in arrays]
        pairs = zip(arrays, map(jnp.dtype, dtypes), strict=True)
        weights, *factors = (jnp.asarray(a.astype(dtype)) for a, dtype in pairs)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"cp.load: needs an .npz file with weights and factor_0, factor_1, …, got {path}"
        ) from error
    return CPTensor(weights, tuple(factors))


def named(name: str, cp: CPTensor) -> dict[str, np.ndarray]:
    """The entries of the file."""
    weights, factors = _check.parts(name, cp)
    if weights is None:
        weights = jnp.ones_like(jnp.asarray(factors[0])[..., 0, :])
    given = {"weights": weights} | {f"factor_{n}": a for n, a in enumerate(factors)}
    _check.concrete(name, "works", given)
    arrays = {key: np.asarray(_check.array(name, a)) for key, a in given.items()}
    dtypes = np.array([a.dtype.name for a in arrays.values()])
    numpys = {key: a.astype(np.float32) if a.dtype.kind == "V" else a for key, a in arrays.items()}
    return numpys | {"dtypes": dtypes}


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place, then move it there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise
