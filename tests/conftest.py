"""Strict settings for every test: float64, no silent promotion of dtypes or ranks."""

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
