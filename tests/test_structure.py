"""Promises about structure: products never formed, two passes over a tensor, no gathering."""

import os
import re
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from structure import equations, largest_array, products_with_arrays_of, size_of
from table import ROWS

import jkr
from jkr import cp
from jkr._contractions import _partial, _passes
from jkr._linalg._order import in_turn

KEY = jax.random.key(0)


def draw(*shapes):
    return [jax.random.normal(jax.random.key(k), shape) for k, shape in enumerate(shapes)]


def sum_of_squares(f):
    return lambda *args: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(f(*args)))


def hessian_vector_product(f, *args):
    everything = tuple(range(len(args)))
    return lambda *v: jax.jvp(jax.grad(f, everything), args, v)[1]


@pytest.mark.parametrize(
    "shape", [(17, 28, 29), (14, 80, 15), (9, 15, 16, 17), (7, 8, 9, 8, 7)], ids=str
)
def test_the_gradient_of_the_loss_reads_the_tensor_in_two_products(shape):
    model, x = cp.random(KEY, shape, 3), jax.random.normal(KEY, shape)
    assert products_with_arrays_of(x.size, jax.value_and_grad(cp.loss), model, x) == 2
    assert products_with_arrays_of(x.size, cp.loss, model, x) == 1
    assert products_with_arrays_of(x.size, jkr.mttkrps, x, model.factors) == 2


@pytest.mark.parametrize("shape", [(17, 28, 29), (9, 15, 16, 17)])
def test_a_step_of_gauss_newton_reads_the_tensor_in_two_products_and_nothing_else(shape):
    model = cp.random(KEY, shape, 3)
    x, solver = model.full(), cp.NLS()
    state = solver.init(x, 3, init=model)
    assert products_with_arrays_of(x.size, solver.step, x, state) == 2
    program = jax.make_jaxpr(solver.step)(x, state).jaxpr
    made = [e for e in equations(program) for v in e.outvars if size_of(v) >= x.size]
    assert {e.primitive.name for e in made} <= {"reshape"}


@pytest.mark.of_a_cpu
def test_mttkrps_called_one_by_one_share_their_products():
    """By common-subexpression elimination, because the split is the same for every mode."""
    x, *factors = draw((20, 30, 40), (20, 3), (30, 3), (40, 3))
    one_by_one = jax.jit(lambda x, f: [jkr.mttkrp(x, f, n) for n in range(3)])
    text = one_by_one.lower(x, factors).compile({"xla_backend_optimization_level": 3}).as_text()
    dots = [line for line in text.splitlines() if re.search(r"= \S+ dot\(", line)]
    assert len(dots) == 2


def test_the_gradient_of_the_loss_forms_nothing_of_the_size_of_the_tensor_but_its_squares():
    model, x = cp.random(KEY, (20, 30, 40), 3), jax.random.normal(KEY, (20, 30, 40))
    everything = jax.make_jaxpr(jax.grad(cp.loss))(model, x)
    large = {
        e.primitive.name for e in equations(everything.jaxpr) if size_of(e.outvars[0]) >= x.size
    }
    # Of its squares in units of the model: the unit, a scalar, is broadcast.
    squares = {"mul", "integer_pow", "square", "broadcast_in_dim"}
    assert large <= squares | {"convert_element_type", "real", "copy"}


def test_the_weighted_loss_keeps_to_its_blocks(monkeypatch):
    from jkr._contractions import _elementwise

    monkeypatch.setattr(_elementwise, "BLOCK", 400)
    monkeypatch.setattr(_elementwise, "FEW", 400)
    shape = (20, 30, 40)
    model, x = cp.random(KEY, shape, 3), jax.random.normal(KEY, shape)
    f = jax.grad(lambda m: cp.loss(m, x, entry_weights=jnp.ones(shape)))
    eqns = list(equations(jax.make_jaxpr(f)(model).jaxpr))
    computed = [e for e in eqns if e.primitive.name in ("dot_general", "sub", "mul", "select_n")]
    assert len(computed) > 5
    assert max(size_of(e.outvars[0]) for e in computed) < x.size / 4


# What moves an array, and computes nothing, zeros in place of what another platform would keep;
# and W∘T, which a weighted fit keeps.
MOVED = {"reshape", "stop_gradient", "optimization_barrier", "jit", "pjit", "broadcast_in_dim"}
WEIGHTED = {"eq", "ne", "select_n", "mul", "convert_element_type"}


@pytest.mark.parametrize(
    ("fit", "options", "kept"),
    [
        (cp.gcp, {"loss": cp.losses.poisson}, MOVED),
        (cp.gcp, {"loss": cp.losses.huber(1)}, MOVED),
        (cp.als, {"entry_weights": True}, MOVED | WEIGHTED),
        (cp.als, {}, MOVED),
    ],
    ids=["poisson", "huber", "weighted als", "als"],
)
def test_a_whole_fit_and_its_derivative_form_no_dense_model(fit, options, kept, monkeypatch):
    from jkr._contractions import _elementwise

    monkeypatch.setattr(_elementwise, "BLOCK", 500)
    monkeypatch.setattr(_elementwise, "FEW", 500)
    jax.clear_caches()  # programs of other blocks
    shape = (20, 30, 40)
    model, x = cp.random(KEY, shape, 4), jnp.abs(jax.random.normal(KEY, shape))
    if options.get("entry_weights"):
        options = {"entry_weights": x}
    f = lambda l2: fit(x, 4, init=model, l2=l2, max_iters=3, **options).fit  # noqa: E731
    for g in (f, jax.grad(f)):
        eqns = equations(jax.make_jaxpr(g)(0.1).jaxpr)
        made = {e.primitive.name for e in eqns if any(size_of(v) >= x.size for v in e.outvars)}
        assert made <= kept


def test_a_gram_and_its_derivatives_form_no_product():
    a, b, c = draw((20, 3), (30, 3), (40, 3))
    formed = 20 * 30 * 40
    f = sum_of_squares(jkr.khatri_rao_gram)
    for g in (jkr.khatri_rao_gram, jax.grad(f, (0, 1, 2)), hessian_vector_product(f, a, b, c)):
        assert largest_array(g, a, b, c) < formed


@pytest.mark.parametrize(
    "solve",
    [
        lambda a, b, c, y: jkr.khatri_rao_lstsq([a, b, c], y),
        lambda a, b, c, y: jkr.khatri_rao_rmatmul([a, b, c], y),
        lambda a, b, c, y: jkr.khatri_rao_matmul([a, b, c], y[:3]),
        lambda a, b, c, y: jkr.face_splitting_matmul([a.T, b.T, c.T], y),
    ],
    ids=["lstsq", "rmatmul", "matmul", "face_splitting"],
)
def test_products_with_one_right_hand_side_form_no_product(solve):
    args = draw((20, 3), (30, 3), (40, 3), (20 * 30 * 40,))
    f = sum_of_squares(solve)
    for g in (solve, jax.grad(f, (0, 1, 2, 3))):
        assert largest_array(g, *args) < args[0].shape[1] * 20 * 30 * 40


def temporary_bytes(f, *args):
    # As compiled for use, not as compiled for the rest of these tests.
    lowered = jax.jit(f).lower(*args)
    optimized = lowered.compile({"xla_backend_optimization_level": 3})
    return optimized.memory_analysis().temp_size_in_bytes


@pytest.mark.of_a_cpu
@pytest.mark.parametrize(("with_tensor", "ratio"), [(False, 10), (True, 4)])
def test_scanned_steps_save_only_their_arguments(with_tensor, ratio, monkeypatch):
    x, *factors = draw((100, 100, 100), *[(100, 10)] * 3)
    x, factors = x.astype("float32"), tuple(a.astype("float32") for a in factors)

    def scanned(mttkrp):
        def step(factors, x):
            ys = tuple(mttkrp(x, factors, n) for n in range(3))
            return tuple(y / (1 + jnp.max(jnp.abs(y))) for y in ys), None

        def f(x, factors):
            body = lambda factors, k: step(factors, x)  # noqa: E731
            return sum(jnp.sum(a) for a in jax.lax.scan(body, factors, length=50)[0])

        return jax.grad(f, (0, 1) if with_tensor else 1)

    ours = temporary_bytes(scanned(jkr.mttkrp), x, factors)
    # The same two stages without the rule: no checkpoint, and plain autodiff of both products.
    monkeypatch.setattr(_partial, "_right_product", _partial.plain_right_product)
    without_rule = temporary_bytes(scanned(partial(_passes.one_mode, precision=None)), x, factors)
    assert ours * ratio <= without_rule


SHARDED = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import jkr
from jkr import cp

assert len(jax.devices()) == 8
mesh = Mesh(np.array(jax.devices()), ("x",))
shape, rank = (64, 24, 16), 3
x = jax.random.normal(jax.random.key(0), shape)
model = cp.random(jax.random.key(1), shape, rank)
everywhere = NamedSharding(mesh, PartitionSpec())
functions = {
    "loss": cp.loss,
    "gradient": jax.value_and_grad(cp.loss),
    "weighted loss": jax.value_and_grad(lambda m, x: cp.loss(m, x, entry_weights=x**2)),
    "mttkrps": lambda m, x: jkr.mttkrps(x, m.factors),
    "weighted gram": lambda m, x: jkr.weighted_gram(x, m.factors, 0),
    "als": lambda m, x: cp.als(x, rank, init=m, max_iters=3, tol=0),
    "weighted als": lambda m, x: cp.als(x, rank, init=m, entry_weights=x**2, max_iters=2, tol=0),
    "gradient through als": jax.grad(
        lambda m, x: cp.als(x, rank, init=m, max_iters=40, tol=0).fit, argnums=1
    ),
    "gcp": lambda m, x: cp.gcp(x, rank, init=m, max_iters=2).cp.full(),
    **{f"mttkrp {n}": lambda m, x, n=n: jkr.mttkrp(x, m.factors, n) for n in range(3)},
}
# Each function meets one mode, and each mode functions of every kind.
for turn, (name, f) in enumerate(functions.items()):
    mode = turn % 3
    spec = [None] * 3
    spec[mode] = "x"
    along = NamedSharding(mesh, PartitionSpec(*spec))
    sharded, replicated = jax.device_put(x, along), jax.device_put(model, everywhere)
    compiled = jax.jit(f).lower(replicated, sharded).compile()
    for line in compiled.as_text().splitlines():
        if "all-gather" in line or "all-to-all" in line or "collective-permute" in line:
            sizes = [np.prod([int(d) for d in dims.split(",") if d])
                     for dims in re.findall(r"f32\\[([\\d,]*)\\]", line)]
            # A Khatri-Rao product may be gathered, but nothing of the tensor's size.
            assert max(sizes, default=0) < x.size // 4, (name, mode, line)
    ours, plain = compiled(replicated, sharded), jax.jit(f)(model, x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-3)
print("sharded as it was")
"""


def test_a_sharded_tensor_is_never_gathered():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", SHARDED], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "sharded as it was" in run.stdout


@pytest.mark.of_a_cpu
def test_calls_of_lapack_wait_for_each_other():
    # Batches of them at the same time may wait for each other's threads for ever. The second alone
    # is asked for: if it did not depend on the first, that would be left out.
    matrices = [jnp.stack([jnp.eye(n)] * 3) for n in (4, 5)]
    second = jax.jit(lambda *ms: in_turn(jnp.linalg.eigvalsh, ms)[1])
    text = second.lower(*matrices).as_text()
    assert text.count("syevd") == 2
    assert np.array_equal(second(*matrices), np.ones((3, 5)))


@pytest.mark.every_turn
@pytest.mark.parametrize("name", ROWS)
def test_products_keep_all_digits(name):
    """Of float32, on platforms whose matrix units would round them."""
    for row in ROWS[name]:
        args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in row.shapes]

        def both(*args, row=row):
            if not row.differentiable:
                return row.function(*args)
            y, back = jax.vjp(row.function, *args)
            return y, back(y)

        jaxpr = jax.make_jaxpr(both)(*args).jaxpr
        for equation in (e for p in ("cpu", "cuda") for e in equations(jaxpr, p)):
            if equation.primitive.name == "dot_general":
                precision = equation.params["precision"]
                assert precision == (jax.lax.Precision.HIGHEST,) * 2, equation
