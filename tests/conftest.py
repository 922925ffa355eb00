"""Strict settings for every test: float64, no silent promotion of dtypes or ranks.

Nearly all the time of the tests is compiling, so XLA compiles them by its quickest way, where it
still has a choice: a third of the processor time of its default. The workers share what they have
compiled by a folder of this run's own. The notebooks and the demo, which CI runs too, compile as
users do.
"""

import importlib.metadata
import os
import shutil
import tempfile

if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)  # of XLA: half the time goes there

# Workers inherit the folder of the process that starts them, which removes it; one that you name
# yourself is kept for the next run.
MINE = "JKR_TESTS_COMPILED" not in os.environ
if MINE:
    os.environ["JKR_TESTS_COMPILED"] = tempfile.mkdtemp(prefix="jkr-tests-")
COMPILED = os.environ["JKR_TESTS_COMPILED"]
jax.config.update("jax_compilation_cache_dir", COMPILED)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def pytest_sessionfinish():
    if MINE:
        shutil.rmtree(COMPILED, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    yield
    jax.clear_caches()  # thousands of them would pile up in one process


@pytest.fixture
def rng():
    return np.random.default_rng(0)
