"""Strict settings for every test: float64, no silent promotion of dtypes or ranks.

A run of everything takes the tests that compile by turns, a third of them a day;
`--all` takes all at once. What you name, by a file or by `-k`, runs as it is.

Nearly all the time of the tests is compiling, so XLA compiles them by its quickest way, where it
still has a choice: a third of the processor time of its default. The workers, and the processes
that tests start, share what they have compiled by a folder of this run's own. The notebooks and
the demo, which CI runs too, compile as users do.
"""

import atexit
import datetime
import importlib.metadata
import os
import shutil
import tempfile

if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"

# Processes inherit the folder of the one that starts them, which removes it; one that you name
# yourself is kept for the next run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jkr-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # of XLA: half the time goes there

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

TURNS = 3


def pytest_addoption(parser):
    today = datetime.date.today().toordinal() % TURNS
    parser.addoption(
        "--turn", type=int, default=today, help=f"which of {TURNS}; the day's is given"
    )
    parser.addoption("--all", action="store_true", help="the tests of all turns")


def _by_turns(config):
    named = config.option.keyword or config.option.markexpr or config.args != ["tests"]
    return not (named or config.option.all)


def pytest_report_header(config):
    if _by_turns(config):
        return f"of tests that compile, turn {config.option.turn} of {TURNS}; --all runs them all"
    return None


def pytest_collection_modifyitems(config, items):
    if jax.default_backend() != "cpu":
        elsewhere = pytest.mark.skip(reason="reads the program that XLA makes for a CPU")
        for item in items:
            if item.get_closest_marker("of_a_cpu") is not None:
                item.add_marker(elsewhere)
    if not _by_turns(config):
        return
    compiling = [item for item in items if item.get_closest_marker("every_turn") is None]
    due = set(compiling[config.option.turn % TURNS :: TURNS])
    left = set(compiling) - due
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = [item for item in items if item not in left]


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_programs():
    yield
    jax.clear_caches()  # thousands of them would pile up in one process


@pytest.fixture
def rng():
    return np.random.default_rng(0)
