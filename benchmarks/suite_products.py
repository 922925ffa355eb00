"""The products themselves, beside NumPy's, SciPy's and TensorLy's.

A large fresh result costs the system's pages as much as the arithmetic. Large pages help where they
are to be had, so that a second process measures the same with
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in its environment.
"""

import json
import os
import subprocess
import sys

import jax
import numpy as np

import jkr
from benchmarks.timing import compiled, ms, race, times

TITLE = "Products (float32, ms)"
HEADER = ("product", "jkr, eager", "jkr, compiled", "NumPy", "SciPy", "TensorLy", "best / compiled")
PROBLEMS = {
    "khatri_rao, 1000×32 and 1000×32": ("khatri_rao", (1000, 32), (1000, 32)),
    "khatri_rao, 50×8 and 60×8": ("khatri_rao", (50, 8), (60, 8)),
    "kronecker, 100×60 and 80×50": ("kronecker", (100, 60), (80, 50)),
    "face_splitting, 5000×40 and 5000×40": ("face_splitting", (5000, 40), (5000, 40)),
}
NUMPY = {
    "khatri_rao": lambda a, b: (a[:, None, :] * b[None, :, :]).reshape(-1, a.shape[1]),
    "kronecker": np.kron,
    "face_splitting": lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(a.shape[0], -1),
}


def _contestants(kind, a, b, compare):
    """NumPy's way, and the functions of libraries that have one."""
    import scipy.linalg

    calls = {"NumPy": lambda: NUMPY[kind](a, b)}
    if kind == "khatri_rao":
        calls["SciPy"] = lambda: scipy.linalg.khatri_rao(a, b)
        if "tensorly" in compare:
            from tensorly import tenalg

            calls["TensorLy"] = lambda: tenalg.khatri_rao([a, b])  # pyright: ignore
    return calls


def rows(compare, repeats):
    """One row a product; a dash where a library has none. The same with large pages, on Linux."""
    yield from _measured(compare, repeats)
    if sys.platform == "linux":
        command = [sys.executable, "-m", "benchmarks.suite_products", str(repeats), *compare]
        environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        run = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        for name, *cells in json.loads(run.stdout):
            yield f"{name}; large pages", *cells


def _measured(compare, repeats):
    rng = np.random.default_rng(0)
    for name, (kind, *shapes) in PROBLEMS.items():
        a, b = (rng.standard_normal(shape).astype("float32") for shape in shapes)
        product, arrays = getattr(jkr, kind), [jax.numpy.asarray(m) for m in (a, b)]
        t = race(
            {
                "eager": lambda product=product, arrays=arrays: product(*arrays),
                "compiled": compiled(product, *arrays),
                **_contestants(kind, a, b, compare),
            },
            3 * repeats,
        )
        peers = [t[peer] for peer in ("NumPy", "SciPy", "TensorLy") if peer in t]
        columns = ("eager", "compiled", "NumPy", "SciPy", "TensorLy")
        yield name, *(ms(t.get(c)) for c in columns), times(min(peers) / t["compiled"])


if __name__ == "__main__":
    print(json.dumps(list(_measured(set(sys.argv[2:]), int(sys.argv[1])))))
