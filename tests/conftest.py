"""Strict settings for every test: float64, no silent promotion of dtypes or ranks.

Nearly all the time of the tests is compiling, so XLA compiles them by its quickest way, where it
still has a choice: a third of the processor time of its default. The notebooks and the demo, which
CI runs too, compile as users do.
"""

import importlib.metadata
import os

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


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    yield
    jax.clear_caches()  # thousands of them would pile up in one process


@pytest.fixture
def rng():
    return np.random.default_rng(0)
