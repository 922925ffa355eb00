"""Argument checking: the only place where shapes are judged and shape errors are worded.

Every check takes the public function's name first, raises `ValueError` at trace time as
`name: rule, got shapes`, and returns what it learned (arrays, dimensions, ranks), so that no
caller reads a shape twice.
"""

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike, DTypeLike

Sizes = tuple[int, ...]
Partition = tuple[Sequence[int], Sequence[int]]


def _listed(items: Sequence[Any]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def array(name: str, x: ArrayLike, what: str = "an array of numbers") -> Array:
    """`x` as a JAX array; text, None, ragged lists and objects are refused."""
    try:
        y = x if isinstance(x, Array) else jnp.asarray(x)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: needs {what}, got {type(x).__name__}") from error
    if not (jnp.issubdtype(y.dtype, jnp.number) or y.dtype == bool):
        raise ValueError(f"{name}: needs {what}, got entries of dtype {y.dtype}")
    return y


def inexact(name: str, x: ArrayLike, what: str = "an array of numbers") -> Array:
    """`x` as a floating or complex JAX array: integers become the default float."""
    x = array(name, x, what)
    if x.dtype.itemsize < 2 and jnp.issubdtype(x.dtype, jnp.inexact):
        raise ValueError(f"{name}: needs 16 bits or more in floating-point entries, got {x.dtype}")
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


def matrices(
    name: str, ms: Sequence[ArrayLike], *, rows: bool = False, columns: bool = False
) -> list[Array]:
    """The operands of a dense product: (..., I, J), leading dimensions that broadcast.

    Args:
        name: the public function.
        ms: its operands.
        rows: whether row counts must agree.
        columns: whether column counts must agree.

    Returns:
        The operands as arrays of one number of dimensions (ones inserted in front).
    """
    if not ms:
        raise ValueError(f"{name}: needs at least one matrix, got none")
    if any(isinstance(m, list | tuple) for m in ms):
        raise ValueError(
            f"{name}: takes matrices as separate arguments, got a sequence; "
            f"unpack it: {name}(*matrices)"
        )
    arrays = [array(name, m, "matrices of numbers") for m in ms]
    shapes = [m.shape for m in arrays]
    if any(len(shape) < 2 for shape in shapes):
        raise ValueError(f"{name}: matrices need two dimensions or more, got {_listed(shapes)}")
    if rows and len({shape[-2] for shape in shapes}) > 1:
        raise ValueError(f"{name}: matrices need equal row counts, got {_listed(shapes)}")
    if columns and len({shape[-1] for shape in shapes}) > 1:
        raise ValueError(f"{name}: matrices need equal column counts, got {_listed(shapes)}")
    try:
        order = len(jnp.broadcast_shapes(*(shape[:-2] for shape in shapes))) + 2
    except ValueError as error:
        raise ValueError(
            f"{name}: leading batch dimensions need to broadcast, got {_listed(shapes)}"
        ) from error
    return [m.reshape((1,) * (order - m.ndim) + m.shape) for m in arrays]


def partition(name: str, which: str, shape: Sizes, partition: Partition) -> tuple[Sizes, Sizes]:
    """(row_sizes, column_sizes) of one matrix, as tuples of ints that add up to its shape."""
    try:
        row_sizes, column_sizes = (tuple(operator.index(s) for s in sizes) for sizes in partition)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: partition_{which} needs (row_sizes, column_sizes), two tuples of ints, "
            f"got {partition!r}"
        ) from error
    if min((*row_sizes, *column_sizes), default=0) < 0:
        raise ValueError(f"{name}: block sizes need to be nonnegative, got {partition!r}")
    if (sum(row_sizes), sum(column_sizes)) != tuple(shape[-2:]):
        raise ValueError(
            f"{name}: the block sizes of partition_{which} need to add up to the shape of "
            f"{which}, got {row_sizes} by {column_sizes} for {shape}"
        )
    return row_sizes, column_sizes


def matching(
    name: str, rule: str, a: Sizes, b: Sizes, *, counts_only: bool = False
) -> tuple[Sizes, Sizes]:
    """Two lists of block sizes that agree, in their number or block by block."""
    if (len(a) != len(b)) if counts_only else (a != b):
        raise ValueError(f"{name}: the partitions need {rule}, got {a} and {b}")
    return a, b


def penetrating(name: str, a: ArrayLike, b: ArrayLike) -> tuple[Array, Array, int]:
    """a (..., p, g) and b (..., p, g·n), and n."""
    x, y = matrices(name, (a, b), rows=True)
    g, columns = x.shape[-1], y.shape[-1]
    if columns % g if g else columns:
        raise ValueError(
            f"{name}: the columns of b need to be a multiple of the columns of a, "
            f"got {x.shape} and {y.shape}"
        )
    return x, y, columns // g if g else 0


def one_matrix(name: str, a: ArrayLike) -> Array:
    """A single matrix (..., I, J)."""
    return matrices(name, (a,))[0]


def sizes(name: str, shape: Sequence[int]) -> Sizes:
    """A shape given by the user, as a tuple of ints that are not negative."""
    try:
        dims = tuple(operator.index(s) for s in shape)
    except TypeError as error:
        raise ValueError(f"{name}: a shape is a sequence of ints, got {shape!r}") from error
    if min(dims, default=0) < 0:
        raise ValueError(f"{name}: dimensions need to be at least 0, got {dims}")
    return dims


def vector_to_matrix(name: str, v: ArrayLike, shape: Sequence[int]) -> tuple[Array, Sizes]:
    """v (..., m·n) and the shape (m, n) that it is to take."""
    x, dims = array(name, v), sizes(name, shape)
    if len(dims) != 2:
        raise ValueError(f"{name}: shape needs to be (rows, columns), got {dims}")
    if x.ndim < 1 or x.shape[-1] != dims[0] * dims[1]:
        raise ValueError(
            f"{name}: a vector of {dims[0]}·{dims[1]} = {dims[0] * dims[1]} entries is needed "
            f"for the shape {dims}, got {x.shape}"
        )
    return x, dims


def mode(name: str, mode: int, order: int) -> int:
    """A mode of a tensor of that order, counted from 0; negative ones count from the end."""
    try:
        n = operator.index(mode)
    except TypeError as error:
        raise ValueError(f"{name}: mode needs to be an int, got {mode!r}") from error
    if not -order <= n < order:
        raise ValueError(f"{name}: mode {n} is out of range for a tensor of order {order}")
    return n % order


def modes(name: str, what: str, value: Any, order: int) -> tuple[int, ...]:
    """Modes named by a boolean (all or none), an int or several; sorted, each once."""
    if isinstance(value, bool | np.bool_):
        return tuple(range(order)) if value else ()
    several = value if isinstance(value, list | tuple | set | frozenset | range) else (value,)
    try:
        if any(isinstance(m, bool | np.bool_) for m in several):
            raise ValueError("booleans are no modes")
        named = {mode(name, m, order) for m in several}
    except ValueError as error:
        raise ValueError(f"{name}: {what} needs modes of the tensor, got {value!r}") from error
    return tuple(sorted(named))


def tensor(name: str, x: ArrayLike, *, order: int = 1) -> Array:
    """A tensor of at least that order."""
    t = array(name, x, "a tensor of numbers")
    if t.ndim < order:
        raise ValueError(f"{name}: the tensor needs order {order} or more, got shape {t.shape}")
    return t


def unfolded(
    name: str, matrix: ArrayLike, n: int, shape: Sequence[int]
) -> tuple[Array, int, Sizes]:
    """A mode-n unfolding, its mode counted from 0, and the shape of the tensor it came from."""
    m, dims = array(name, matrix, "a matrix of numbers"), sizes(name, shape)
    n = mode(name, n, len(dims))
    rows, columns = dims[n], prod(dims[:n] + dims[n + 1 :])
    if m.shape != (rows, columns):
        raise ValueError(
            f"{name}: the mode-{n} unfolding of a tensor of shape {dims} is "
            f"({rows}, {columns}), got {m.shape}"
        )
    return m, n, dims


def factors(
    name: str, factors: Sequence[ArrayLike], shape: Sizes | None = None, *, what: str = "factors"
) -> tuple[list[Array], int]:
    """Factor matrices (I_n, R), one a mode, and R; their row counts are `shape` where given."""
    arrays = _sequence(name, factors, what)
    shapes = [f.shape for f in arrays]
    if not arrays or any(len(s) != 2 for s in shapes) or len({s[1] for s in shapes}) != 1:
        raise ValueError(
            f"{name}: {what} need to be matrices with equal column counts, "
            f"got {_listed(shapes) or 'none'}"
        )
    if shape is not None and tuple(s[0] for s in shapes) != tuple(shape):
        raise ValueError(
            f"{name}: factors need one row for each index of their mode, "
            f"got {_listed(shapes)} for a tensor of shape {shape}"
        )
    return arrays, shapes[0][1]


def rows_matched(name: str, ms: Sequence[ArrayLike]) -> tuple[list[Array], int]:
    """The matrices (I, J_n) of one face-splitting product, and I."""
    arrays = _sequence(name, ms, "ms")
    shapes = [m.shape for m in arrays]
    if not arrays or any(len(s) != 2 for s in shapes) or len({s[0] for s in shapes}) != 1:
        raise ValueError(
            f"{name}: ms need to be matrices with equal row counts, got {_listed(shapes) or 'none'}"
        )
    return arrays, shapes[0][0]


def _sequence(name: str, ms: Sequence[ArrayLike], what: str) -> list[Array]:
    if hasattr(ms, "factors"):
        raise ValueError(
            f"{name}: {what} need to be a sequence of matrices, got a {type(ms).__name__}; "
            f"pass its factors"
        )
    if not isinstance(ms, list | tuple):
        raise ValueError(
            f"{name}: {what} need to be a sequence of matrices, got {type(ms).__name__}"
        )
    return [array(name, m, "matrices of numbers") for m in ms]


def operands(name: str, ms: Sequence[ArrayLike], *, rows: bool, columns: bool) -> tuple[Array, ...]:
    """The matrices (I_n, J_n) of one lazy product, in their common dtype."""
    arrays = matrices(name, ms, rows=rows, columns=columns)
    if any(a.ndim != 2 for a in arrays):
        raise ValueError(
            f"{name}: matrices need two dimensions (batches go by vmap), "
            f"got {_listed([a.shape for a in arrays])}"
        )
    return tuple(promoted(*arrays))


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
            f"{name}: weights need to be {each} {_listed(wanted)}, got {_listed(shapes) or 'none'}"
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


def bases(
    name: str, ms: Sequence[ArrayLike], what: str = "bases"
) -> tuple[list[Array], Sizes, Sizes]:
    """Matrices (I_n, J_n), one a mode, floating or complex, with (I_1, …) and (J_1, …)."""
    arrays = [inexact(name, m) for m in _sequence(name, ms, what)]
    shapes = [m.shape for m in arrays]
    if not arrays or any(len(s) != 2 for s in shapes):
        raise ValueError(
            f"{name}: {what} need to be matrices, one for each mode, "
            f"got {_listed(shapes) or 'none'}"
        )
    return arrays, tuple(s[0] for s in shapes), tuple(s[1] for s in shapes)


def penalties(name: str, ms: Sequence[ArrayLike], columns: Sizes) -> list[Array]:
    """Square matrices, one for each basis, of as many rows as that has columns."""
    arrays, rows, others = bases(name, ms, "penalties")
    if rows != columns or others != columns:
        raise ValueError(
            f"{name}: penalties need to be square, one for each basis with {_listed(columns)} "
            f"columns, got {_listed([m.shape for m in arrays])}"
        )
    return arrays


def array_of(name: str, what: str, x: Array, shape: Sizes) -> Array:
    """An array of the shape that the bases of a model say."""
    if x.shape != shape:
        verb = "need" if what.endswith("s") else "needs"
        raise ValueError(f"{name}: {what} {verb} shape {shape}, as the bases say, got {x.shape}")
    return x


def smoothing(name: str, x: ArrayLike, order: int) -> Array:
    """Real smoothing parameters, one a mode."""
    y = inexact(name, real(name, "smoothing", array(name, x, "smoothing parameters")))
    if y.shape != (order,):
        raise ValueError(
            f"{name}: smoothing needs one parameter for each of the {order} modes, got {y.shape}"
        )
    return y


def real_vector(name: str, what: str, x: ArrayLike, least: int) -> Array:
    """A real floating vector of at least that many entries."""
    y = inexact(name, real(name, what, array(name, x, "vectors of numbers")))
    if y.ndim != 1 or y.shape[0] < least:
        a = f"{what} need to be a vector" if what.endswith("s") else f"{what} needs to be a vector"
        more = f" of {least} entries or more" if least else ""
        raise ValueError(f"{name}: {a}{more}, got shape {y.shape}")
    return y


def real_scalar(name: str, what: str, x: ArrayLike) -> Array:
    """A real scalar in its own floating dtype."""
    y = inexact(name, real(name, what, array(name, x)))
    if y.shape:
        raise ValueError(f"{name}: {what} needs to be a scalar, got shape {y.shape}")
    return y


def nonnegative(name: str, what: str, value: int, below: int | None = None) -> int:
    """A static count, at least 0."""
    try:
        n = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name}: {what} needs to be an int, got {value!r}") from error
    if n < 0 or (below is not None and n >= below):
        most = "" if below is None else f" and below {below}"
        raise ValueError(f"{name}: {what} needs to be at least 0{most}, got {n}")
    return n


def right_hand_side(name: str, what: str, x: ArrayLike, rows: int) -> tuple[Array, Sizes]:
    """A vector (rows,) or matrix (rows, k), and its trailing shape, () or (k,)."""
    y = array(name, x)
    if y.ndim not in (1, 2) or y.shape[0] != rows:
        raise ValueError(f"{name}: {what} needs shape ({rows},) or ({rows}, k), got {y.shape}")
    return y, y.shape[1:]


def scalar(name: str, what: str, x: ArrayLike, dtype: DTypeLike) -> Array | np.ndarray:
    """A real scalar, in that dtype; a Python number stays on the host."""
    if isinstance(x, int | float) and abs(x) < 1e300:
        with np.errstate(over="ignore"):
            return np.asarray(x).astype(dtype)
    y = real(name, what, array(name, x, f"{what} to be a scalar"))
    if y.shape:
        raise ValueError(f"{name}: {what} needs to be a scalar, got shape {y.shape}")
    return y.astype(dtype)


def real(name: str, what: str, x: Array) -> Array:
    """An array without imaginary part."""
    if jnp.iscomplexobj(x):
        verb = "need" if what.endswith("s") else "needs"
        raise ValueError(f"{name}: {what} {verb} to be real, got {x.dtype}")
    return x


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


def at_least(name: str, what: str, value: int, least: int = 1) -> int:
    """A static count that is not too small."""
    try:
        n = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name}: {what} needs to be an int, got {value!r}") from error
    if n < least:
        raise ValueError(f"{name}: {what} needs to be at least {least}, got {n}")
    return n


def counts(name: str, what: str, values: Sequence[int]) -> Sizes:
    """Static counts, one or more, each at least 1."""
    try:
        ns = tuple(operator.index(v) for v in values)
    except TypeError as error:
        raise ValueError(f"{name}: {what} need to be a sequence of ints, got {values!r}") from error
    if min(ns, default=0) < 1:
        raise ValueError(f"{name}: {what} need to be one or more ints, at least 1, got {ns}")
    return ns


def sketched(name: str, op: Any, kinds: tuple[type, ...], dims: Sizes) -> tuple[Array, ...]:
    """The factors, floating or complex, of a lazy product whose rows are crossed as `dims` are."""
    rows = tuple(a.shape[0] for a in op.factors)
    if not isinstance(op, kinds) or rows != dims:
        raise ValueError(
            f"{name}: @ needs an array, or a {' or '.join(kind.__name__ for kind in kinds)} of "
            f"factors with {_listed(dims)} rows, got a {type(op).__name__} with {_listed(rows)}"
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


def same_shape(name: str, a: Sizes, b: Sizes) -> None:
    """Two tensors of one shape."""
    if a != b:
        raise ValueError(f"{name}: both tensors need the same shape, got {a} and {b}")


def several_modes(name: str, shape: Sizes) -> None:
    """A model of order 2 or more."""
    if len(shape) < 2:
        raise ValueError(f"{name}: needs a model of two modes or more, got shape {shape}")


def data(name: str, x: ArrayLike) -> Array:
    """A tensor to be fitted: floating or complex, order 2 or more, no empty mode."""
    t = inexact(name, tensor(name, x, order=2))
    if 0 in t.shape:
        raise ValueError(f"{name}: the tensor has an empty mode, got shape {t.shape}")
    return t


def inexact_dtype(name: str, dtype: DTypeLike | None) -> DTypeLike:
    """A floating or complex dtype; the default float where none is given."""
    try:
        dtype = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    except TypeError as error:
        raise ValueError(f"{name}: dtype needs to be floating or complex, got {dtype!r}") from error
    if not jnp.issubdtype(dtype, jnp.inexact) or dtype.itemsize < 2:
        raise ValueError(f"{name}: dtype needs to be floating or complex, got {dtype}")
    return dtype


def key(name: str, key: Any) -> Array:
    """One random key, new-style or legacy."""
    new = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    legacy = hasattr(key, "dtype") and key.dtype == jnp.uint32 and key.ndim == 1
    if not legacy and not (new and key.ndim == 0):
        got = f"shape {key.shape}" if new else type(key).__name__
        raise ValueError(f"{name}: key needs to be one jax.random.key, got {got}")
    return key


def parts(name: str, cp: Any) -> tuple[Any, Any]:
    """Weights and factors of a CPTensor, or of any pair of them."""
    try:
        weights, factors = cp
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: needs a CPTensor, got {type(cp).__name__}") from error
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


def promoted(*arrays: Array) -> list[Array]:
    """The operands of one product in their common dtype (under JAX's promotion setting)."""
    dtype = jnp.result_type(*arrays)
    return [a.astype(dtype) for a in arrays]


def with_weights(w: Array, arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
    """Real weights, and arrays that may be complex, in one precision, whatever the setting."""
    arrays = promoted(*arrays)
    real = jnp.promote_types(w.dtype, arrays[0].real.dtype)
    dtype = real
    if jnp.iscomplexobj(arrays[0]):
        dtype = jnp.complex128 if real == jnp.float64 else jnp.complex64
    return w.astype(real), [a.astype(dtype) for a in arrays]


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be zero, in a rule with `symbolic_zeros`."""
    return isinstance(tangent, SymbolicZero)


def entry_weights(name: str, weights: ArrayLike, shape: Sizes) -> Array:
    """Real weights of a tensor's entries, of its shape."""
    w = real(name, "entry_weights", array(name, weights, "entry_weights of numbers"))
    if w.shape != shape:
        raise ValueError(
            f"{name}: entry_weights need the shape of the tensor, got {w.shape} for {shape}"
        )
    return w


def number(name: str, what: str, value: Any, *, above: float | None = None) -> float:
    """A static, finite number, above a limit if there is one."""
    good = isinstance(value, int | float | np.integer | np.floating)
    if not (good and np.isfinite(value) and (above is None or value > above)):
        rule = "a finite number" if above is None else f"a finite number above {above}"
        raise ValueError(f"{name}: {what} needs to be {rule}, got {value!r}")
    return float(value)


def function(name: str, what: str, value: Any) -> Any:
    """Something that can be called."""
    if not callable(value):
        raise ValueError(f"{name}: {what} needs to be a function, got {value!r}")
    return value


def elementwise(name: str, what: str, out: Any, entries: Any) -> None:
    """What an elementwise, real function of such entries is to give."""
    got = _not_real(out, entries.shape)
    if got:
        raise ValueError(
            f"{name}: {what} needs to give one real number an entry, got {got} "
            f"for shape {entries.shape}, {entries.dtype}"
        )


def not_negative(name: str, what: str, arrays: Sequence[Array]) -> None:
    """Arrays without negative entries, where their values are known."""
    known = [a for a in arrays if not isinstance(a, Tracer)]
    if any(np.any(np.asarray(a) < 0) for a in known):
        raise ValueError(f"{name}: {what} need to be nonnegative")


def kinds(name: str, what: str, values: Sequence[Any], kind: type) -> None:
    """One or more values of one class."""
    if not values or not all(isinstance(value, kind) for value in values):
        got = _listed([type(value).__name__ for value in values]) or "none"
        raise ValueError(f"{name}: {what} needs to be {kind.__name__}, got {got}")


def as_many(name: str, what: str, some: Sequence[Any], where: str, others: Sequence[Any]) -> None:
    """Two sequences of one length."""
    if len(some) != len(others):
        raise ValueError(
            f"{name}: {what} need one entry for each of the {len(others)} {where}, got {len(some)}"
        )


def one_number(name: str, what: str, out: Any) -> None:
    """What a function to a real number is to give, as a shape and dtype."""
    got = _not_real(out, ())
    if got:
        raise ValueError(f"{name}: {what} needs to give one real number, got {got}")


def _not_real(out: Any, shape: Sizes) -> str:
    """What came, where that is no real floating array of that shape; else nothing."""
    came, dtype = getattr(out, "shape", None), getattr(out, "dtype", None)
    if came == shape and dtype is not None and jnp.issubdtype(dtype, jnp.floating):
        return ""
    return type(out).__name__ if came is None else f"shape {came}, {dtype}"
