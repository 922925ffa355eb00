"""Arrays on explicit and automatic meshes, and inside `jax.shard_map`: the values of plain calls.

In processes of their own, with four forced devices; what is compiled, is compiled in a hurry.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import sys
import jax, jax.numpy as jnp, numpy as np
from functools import partial
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[1])
import jkr
from jkr import cp

assert len(jax.devices()) == 4
EXPLICIT, AUTOMATIC = (
    jax.make_mesh((2, 2), ("x", "y"), axis_types=(kind,) * 2)
    for kind in (AxisType.Explicit, AxisType.Auto)
)

def on(mesh, x, axis=None):
    spec = P() if axis is None else P(*[None] * axis, "x")
    return jax.device_put(x, NamedSharding(mesh, spec))

def called(f, way, mesh, args):
    if way == "set_mesh":
        with jax.set_mesh(mesh):
            return f(*args)
    return (jax.jit(f) if way == "jit" else f)(*args)

def close(name, ours, plain):
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        x, y = (np.asarray(z).astype(complex) for z in (x, y))
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-7, err_msg=name)
"""

# Each function of the transforms table meets one kind of mesh, one way to call, and one sharded
# axis. Always under `jit`, one program instead of one an operation; `CALLS` has eager ones.
TABLE = """
from table import ROWS
from test_transforms import draw

for turn, (name, (row, *_)) in enumerate(ROWS.items()):
    mesh = (EXPLICIT, AUTOMATIC)[turn % 2]
    way = ("jit", "set_mesh")[turn // 2 % 2]
    args = draw(row, row.dtypes[0])
    divided = [(n, k) for n, a in enumerate(args) for k, d in enumerate(a.shape) if d % 2 == 0]
    which, axis = divided[turn % len(divided)] if divided else (None, None)
    placed = [on(mesh, a, axis if n == which else None) for n, a in enumerate(args)]
    function = jax.jit(row.function)
    ours, plain = called(function, way, mesh, placed), function(*args)
    close(f"{name} {way} {mesh.axis_types[0]}", ours, plain)
print("all rows")
"""

CALLS = """
x = jax.random.normal(jax.random.key(0), (4, 6, 2))
model = cp.random(jax.random.key(1), x.shape, 2)
calls = {
    "khatri_rao": lambda m, x: jkr.khatri_rao(*m.factors),
    "khatri_rao_gram": lambda m, x: jkr.khatri_rao_gram(*m.factors),
    "khatri_rao_lstsq": lambda m, x: jkr.khatri_rao_lstsq(m.factors[1:], x.reshape(4, -1).T),
    "mttkrp": lambda m, x: jkr.mttkrp(x, m.factors, 1),
    "@": lambda m, x: jkr.operators.KhatriRao(*m.factors[1:]).T @ x.reshape(4, -1).T,
    "full": lambda m, x: m.full(),
    "loss": lambda m, x: cp.loss(m, x),
    "als": lambda m, x: cp.als(x, 2, init=m, max_iters=3).cp,
    "gcp": lambda m, x: cp.gcp(x, 2, init=m, max_iters=2).cp,
    "factor_match_score": lambda m, x: cp.factor_match_score(m, m),
    "core_consistency": lambda m, x: cp.core_consistency(m, x),
    "slope of als": jax.jit(
        jax.grad(lambda m, x: cp.als(x, 2, init=m, max_iters=30, l2=0.1).fit, argnums=1)
    ),
}
WAYS = "eager", "jit", "set_mesh"
for turn, (name, f) in enumerate(calls.items()):
    plain = jax.jit(f)(model, x)
    for k, mesh in enumerate((EXPLICIT, AUTOMATIC)):
        way = WAYS[(turn + k) % 3]
        placed = jax.tree.map(partial(on, mesh), model), on(mesh, x, 0)
        close(f"{name} {way} {mesh.axis_types[0]}", called(f, way, mesh, placed), plain)
large = jkr.khatri_rao(on(EXPLICIT, jnp.ones((4, 2)), 0), jnp.ones((3, 2)))
assert jax.typeof(large).sharding.spec[0] in ("x", ("x",)), jax.typeof(large)
print("all calls")
"""

SHARD_MAP = """
mesh = jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))
x = jax.random.normal(jax.random.key(0), (4, 3, 4, 2))
keys = jax.random.split(jax.random.key(1), 8)
bases, penalties = [jnp.eye(3), jnp.eye(4)[:, :3]], [jkr.glam.difference_penalty(3)] * 2
draw = jax.vmap(lambda key: cp.random(key, x.shape[1:], 2))
one, other = draw(keys[:4]), draw(keys[4:])
calls = {
    "als": lambda x, a, b: cp.als(x, 2, init=a, max_iters=3).cp,
    "weighted als": lambda x, a, b: cp.als(x, 2, init=a, entry_weights=x**2, max_iters=2).cp,
    "slope of als": jax.grad(lambda x, a, b: cp.als(x, 2, init=a, max_iters=30, l2=0.1).fit),
    "gcp": lambda x, a, b: cp.gcp(x, 2, init=a, max_iters=2).cp,
    "khatri_rao_lstsq": lambda x, a, b: jkr.khatri_rao_lstsq(a.factors[1:], x.reshape(3, -1).T),
    "factor_match_score": lambda x, a, b: cp.factor_match_score(a, b),
    "align": lambda x, a, b: cp.align(a, b),
    "congruence": lambda x, a, b: cp.congruence(a, b),
    "core_consistency": lambda x, a, b: cp.core_consistency(a, x),
    "standard_errors": lambda x, a, b: cp.standard_errors(a, x),
    "condition": lambda x, a, b: cp.condition(a),
    "mttkrp": lambda x, a, b: jkr.mttkrp(x, a.factors, 1),
    "loss": lambda x, a, b: cp.loss(a, x),
    "smooth": lambda x, a, b: jkr.glam.smooth(x[:, :, 0], bases, penalties, jnp.ones(2)),
    "lstsq of what all share": lambda x, a, b: jkr.khatri_rao_lstsq(bases, x[:, :, :1].reshape(12)),
}
for name, f in calls.items():
    batch = jax.vmap(f)
    split = jax.shard_map(batch, mesh=mesh, in_specs=P("x"), out_specs=P("x"))
    close(name, jax.jit(split)(x, one, other), jax.jit(batch)(x, one, other))
print("all in shard_map")
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [(TABLE + CALLS, "all rows\nall calls"), (SHARD_MAP, "all in shard_map")],
    ids=["meshes", "shard_map"],
)
def test_values_on_meshes_are_those_of_plain_calls(code, said):
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", START + code, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert said in run.stdout
