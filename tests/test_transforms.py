"""The transforms table, crossed with every transform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from structure import work_of
from table import ROWS, public_names

CASES = {f"{name}-{k}": row for name, rows in ROWS.items() for k, row in enumerate(rows)}
DIFFERENTIABLE = [pytest.param(row, id=i) for i, row in CASES.items() if row.differentiable]


def turn(k, of):
    """Every so-many-th row: tests that look at the same from several sides take turns."""
    return DIFFERENTIABLE[k::of]


def draw(row, dtype, seed=0, batch=()):
    """Random arguments; small whole numbers where the dtype holds only those.

    By NumPy, as all that is done to arrays here: each operation of JAX would be compiled.
    """
    rng = np.random.default_rng(seed)

    def one(shape):
        x = rng.standard_normal(batch + shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            x = x + 1j * rng.standard_normal(batch + shape)
        elif not jnp.issubdtype(dtype, jnp.inexact):
            x = rng.integers(0, 2 if dtype == "bool" else 6, batch + shape)
        return jnp.asarray(x.astype(jnp.dtype(dtype)))

    return [one(shape) for shape in row.shapes]


def assert_close(left, right, tolerance=1e-7):
    left, right = jax.tree.leaves(left), jax.tree.leaves(right)
    for x, y in zip(left, right, strict=True):
        x, y = (np.asarray(z).astype(complex) for z in (x, y))
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(1, np.abs(y).max(initial=0)))


def scalar(f):
    """A real nonlinear function of everything f returns."""

    def value(*args):
        leaves = [z.ravel() for z in jax.tree.leaves(f(*args))]
        return sum(jnp.sum(z.real * jnp.cos(z.real) + jnp.sin(z.imag) * z.real) for z in leaves)

    return value


def everything(args):
    return tuple(range(len(args)))


def wide(dtype):
    return "complex128" if jnp.issubdtype(dtype, jnp.complexfloating) else "float64"


def test_every_public_function_has_a_row():
    assert sorted(ROWS) == sorted(public_names())


@pytest.mark.parametrize(
    ("row", "k"), [pytest.param(row, k, id=i) for k, (i, row) in enumerate(CASES.items())]
)
def test_value_and_dtype(row, k):
    # The first dtype, every other time without `jit`, and every third of the rest.
    function, dumb = jax.jit(row.function), row.reference
    dumb = jax.jit(dumb) if row.differentiable else dumb
    for dtype in (row.dtypes[0], *row.dtypes[1 + k % 3 :: 3]):
        args = draw(row, dtype)
        eager = k % 2 and dtype == row.dtypes[0]
        with jax.debug_nans(True):
            out = (row.function if eager else function)(*args)
        if eager:
            assert not work_of(row.function, args)
        if dtype in ("int32", "int64", "int8", "bool"):
            reference = dumb(*args)
            assert_close(out, reference, 0)
        else:
            reference = dumb(*(jnp.asarray(np.asarray(a).astype(wide(dtype))) for a in args))
            assert_close(out, reference, row.rounding * float(jnp.finfo(dtype).eps))
        for z, y in zip(jax.tree.leaves(out), jax.tree.leaves(reference), strict=True):
            real = jnp.isrealobj(y) and not jnp.isrealobj(jnp.zeros((), dtype))
            assert z.dtype == (jnp.zeros((), dtype).real.dtype if real else dtype)


@pytest.mark.parametrize(
    ("row", "k"),
    [pytest.param(row, k, id=i) for k, (i, row) in enumerate(CASES.items()) if row.shapes],
)
def test_vmap_over_one_argument_or_over_all(row, k):
    one = [0 if n == k // 2 % len(row.shapes) else None for n in everything(row.shapes)]
    in_axes = one if k % 2 else [0] * len(row.shapes)
    batches, singles = draw(row, row.dtypes[0], 1, batch=(3,)), draw(row, row.dtypes[0])
    args = [b if a == 0 else s for a, b, s in zip(in_axes, batches, singles, strict=True)]

    @jax.jit
    def by_both(*args):
        def lane(batched):
            turn = iter(batched)
            pairs = zip(args, in_axes, strict=True)
            return row.function(*(a if axis is None else next(turn) for a, axis in pairs))

        batched = [a for a, axis in zip(args, in_axes, strict=True) if axis == 0]
        return jax.vmap(row.function, in_axes)(*args), jax.lax.map(lane, batched)

    assert_close(*by_both(*args), 1e-10)


def forward_over_reverse(f, args, tangents):
    return jax.jvp(jax.grad(f, everything(args)), args, tangents)[1]


def reverse_over_forward(f, args, tangents):
    directional = lambda *args: jax.jvp(f, args, tangents)[1]  # noqa: E731
    return jax.grad(directional, everything(args))(*args)


def reverse_over_reverse(f, args, tangents):
    return jax.vjp(jax.grad(f, everything(args)), *args)[1](tangents)


def of_linearized(f, args, tangents):
    return jax.linearize(jax.grad(f, everything(args)), *args)[1](*tangents)


ORDERS = [forward_over_reverse, reverse_over_forward, reverse_over_reverse, of_linearized]


@pytest.mark.parametrize(
    ("row", "order"),
    [
        pytest.param(*row.values, order, id=f"{row.id}-{order.__name__}")
        for k, order in enumerate(ORDERS)
        for row in turn(k, len(ORDERS))
    ],
)
def test_first_and_second_derivatives(row, order):
    # On complex data, which include the real; the tests below have real data alone.
    args, tangents = tuple(draw(row, "complex128")), tuple(draw(row, "complex128", seed=1))

    @jax.jit
    def derivatives(args, tangents):
        both = []
        for f, twice in ((row.function, order), (row.reference, forward_over_reverse)):
            out, forward = jax.jvp(f, args, tangents)
            out, pull = jax.vjp(f, *args)
            cotangent = jax.tree.map(lambda z: jnp.cos(z.real).astype(z.dtype), out)
            both.append((forward, pull(cotangent), twice(scalar(f), args, tangents)))
        return both

    assert_close(*derivatives(args, tangents))


@pytest.mark.parametrize("row", turn(0, 3))
def test_hessian(row):
    args = draw(row, "float64")
    hessians = [
        jax.jit(jax.hessian(scalar(f), everything(row.shapes)))(*args)
        for f in (row.function, row.reference)
    ]
    assert_close(*hessians)


@pytest.mark.parametrize("row", turn(1, 3))
def test_grad_and_vmap_commute(row):
    args = draw(row, "float64", batch=(3,))

    @jax.jit
    def both_orders(*args):
        gradient = jax.grad(scalar(row.function), everything(row.shapes))
        summed = lambda *args: jnp.sum(jax.vmap(scalar(row.function))(*args))  # noqa: E731
        reference = jax.vmap(jax.grad(scalar(row.reference), everything(row.shapes)))(*args)
        return jax.vmap(gradient)(*args), jax.grad(summed, everything(row.shapes))(*args), reference

    vmap_of_grad, grad_of_vmap, reference = both_orders(*args)
    assert_close(vmap_of_grad, grad_of_vmap, 1e-10)
    assert_close(vmap_of_grad, reference)


@pytest.mark.parametrize("row", turn(2, 3))
def test_against_finite_differences(row):
    # As `jax.test_util.check_grads` along one direction, but of two compiled programs.
    args, tangents = tuple(draw(row, "float64")), tuple(draw(row, "float64", seed=1))
    h = 1e-5

    def value_and_gradient(*args):
        gradient = jax.grad(scalar(row.function), everything(row.shapes))(*args)
        return row.function(*args), gradient

    @jax.jit
    def both(args, tangents):
        at = lambda s: (x + s * h * t for x, t in zip(args, tangents, strict=True))  # noqa: E731
        ahead, behind = (value_and_gradient(*at(s)) for s in (1, -1))
        differences = jax.tree.map(lambda a, b: (a - b) / (2 * h), ahead, behind)
        return jax.jvp(value_and_gradient, args, tangents)[1], differences

    assert_close(*both(args, tangents), 1e-5)
