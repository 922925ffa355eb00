"""What programs for a graphics card are made of, compiled for one that need not be there.

XLA compiles for a card from its description alone, where `pip install 'jax[cuda12]'` brought what
it needs; nothing is run, so that this counts and does not time: the kernels a call launches, what
they read and write in passes over the tensor, and the temporaries. Products are left to cuBLAS, as
they are on a card unless XLA finds its own to be quicker there.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks.problems import label
from jkr import cp
from jkr.tensors import Dense

TITLE = "Programs for a graphics card (compiled for an H100, float32; counted, not run)"
HEADER = ("what", "kernels", "moved", "passes over the tensor", "temporaries")

Row = tuple[str, ...]

_NEEDED = ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")
_ALONE = {
    "JAX_PLATFORMS": "cpu",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",  # of a driver, which is not there
    "XLA_FLAGS": "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false",
}
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 registers_per_core_limit: 65536
  registers_per_block_limit: 65536 core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84942979072
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def rows(compare, repeats):
    """A process of its own for each, since XLA reads its flags once."""
    if not all(importlib.util.find_spec(name.split(".")[0]) for name in _NEEDED):
        print("jax[cuda12] is not installed: left out", file=sys.stderr)
        return
    command = [sys.executable, "-m", "benchmarks.suite_programs"]
    made = subprocess.run(command, env=os.environ | _ALONE, stdout=subprocess.PIPE, check=True)
    yield from (tuple(json.loads(line)) for line in made.stdout.decode().splitlines())


def _programs(abstract: Callable[..., Any]) -> Iterator[Row]:
    """Of abstract arrays on the card."""
    for shape, rank in (((400,) * 3, 32), ((1000,) * 3, 32), ((80,) * 4, 32)):
        x, name = abstract(*shape), label(shape, rank)
        model = cp.CPTensor(abstract(rank), tuple(abstract(n, rank) for n in shape))
        yield _counted(f"{name}: a sweep", x, *_sweep(x, model))
        yield _counted(f"{name}: loss and gradient", x, jax.value_and_grad(cp.loss), model, x)
        poisson = jax.value_and_grad(partial(cp.loss, loss=cp.losses.poisson))
        yield _counted(f"{name}: Poisson loss and gradient", x, poisson, model, x)
        if len(shape) == 3:
            compress = partial(cp.compress, size=rank + 8, key=jax.random.key(0))
            yield _counted(f"{name}: compress", x, lambda x, f=compress: f(x).core, x)
    x = abstract(256, 20, 20, 20)
    model = cp.CPTensor(abstract(4), (abstract(20, 4),) * 3)
    step, _, state = _sweep(abstract(20, 20, 20), model)
    states = jax.tree.map(lambda a: abstract(256, *a.shape, dtype=a.dtype), state)
    yield _counted("256 fits of 20×20×20, R=4: a sweep", x, jax.vmap(step), x, states)


def _sweep(x: Any, model: cp.CPTensor) -> tuple[Callable, Any, Any]:
    """A sweep as fits on a card take it, and what it is a function of."""
    algorithm = cp.ALS().algorithm
    fit = partial(cp.als, rank=model.rank, max_iters=1)
    objective = jax.eval_shape(lambda x, m: fit(x, init=m), x, model).objective
    state = jax.eval_shape(lambda x, m: cp.ALS().init(x, m.rank, init=m), x, model)
    state = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=x.sharding), state
    )

    def sweep(x, state):
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), objective)
        step = algorithm.trusting_step(zero.on(Dense(x)))
        return None if step is None else step(state)

    return sweep, x, state


def _counted(what: str, x: Any, f: Callable, *args: Any) -> Row:
    program = jax.jit(f).lower(*args).compile()
    kernels, moved = _work(_computations(program.as_text() or ""))
    analysis, size = program.memory_analysis(), 4 * x.size
    held = "" if analysis is None else f"{analysis.temp_size_in_bytes / size:.2g} of it"
    return what, f"{kernels}", f"{moved / 1e6:.3g} MB", f"{moved / size:.2f}", held


# Reading the text of a compiled program

_BYTES = {"f64": 8, "c64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
_NO_KERNEL = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "fusion-done")

Instruction = tuple[str, str, str, str]  # name, type, operation, the rest


def _computations(text: str) -> dict[str, list[Instruction]]:
    """Instructions by the name of the computation they are in; the entry's is empty."""
    found: dict[str, list[Instruction]] = {}
    inside: list[Instruction] = []
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$", line):
            inside = found.setdefault("" if head[1] else head[2], [])
        elif part := re.match(r"\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$", line):
            inside.append((part[1], part[2], part[3], part[4]))
    return found


def _work(computations: dict[str, list[Instruction]], name: str = "") -> tuple[int, int]:
    """Kernels of a computation and what they move, in bytes; loops of unknown length turn once."""
    types = {instruction[0]: instruction[1] for instruction in computations[name]}
    kernels = moved = 0
    for _, kind, operation, rest in computations[name]:
        if operation == "while":
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', rest)
            of_body = _work(computations, _named("body", rest))
            turns = int(known[1]) if known else 1
            kernels, moved = kernels + turns * (of_body[0] + 1), moved + turns * of_body[1]
        elif operation not in _NO_KERNEL:
            sizes = [_size(types.get(a, "")) for a in _operands(rest)]
            within = computations.get(_named("calls", rest), [])
            written, read = _sliced(within, _size(kind), sizes)
            kernels, moved = kernels + 1, moved + written + sum(read)
    return kernels, moved


def _sliced(within: list[Instruction], written: int, read: list[int]) -> tuple[int, list[int]]:
    """Bytes of the result and of the operands of a fusion, of slices the slice alone."""
    sizes = {name: _size(kind) for name, kind, _, _ in within}
    for name, _, operation, number in within:
        if operation != "parameter":
            continue
        k, users = int(number.split(")")[0]), [u for u in within if name in _operands(u[3])]
        if users and all(u[2] in ("dynamic-slice", "slice") for u in users):
            read[k] = sum(_size(u[1]) for u in users)
        updates = [u for u in users if u[2] == "dynamic-update-slice"]
        if updates and _operands(updates[0][3])[0] == name:
            written += sizes[_operands(updates[0][3])[1]] - read[k]
            read[k] = 0
    return written, read


def _named(what: str, rest: str) -> str:
    """The computation that an instruction names."""
    found = re.search(rf"{what}=%?([\w.-]+)", rest)
    return found[1] if found else "none"


def _operands(rest: str) -> list[str]:
    return re.findall(r"%([\w.-]+)", rest.split("), ")[0])


def _size(kind: str) -> int:
    """Bytes of an array, or of a tuple of them, without workspaces."""
    total = 0
    for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", kind):
        count = 1
        for dim in filter(None, dims.split(",")):
            count *= int(dim)
        total += _BYTES.get(dtype, 0) * count
    return total


if __name__ == "__main__":
    jax.devices()  # finds what compiles
    card = topologies.get_topology_desc(
        platform="cuda", topology_name="h100", topology="1x1x1", target_config=_H100
    )
    on_card = SingleDeviceSharding(card.devices[0])

    def _abstract(*shape: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=on_card)

    for _row in _programs(_abstract):
        print(json.dumps(_row), flush=True)
