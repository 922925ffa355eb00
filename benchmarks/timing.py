"""Racing contestants: interleaved calls, medians; and the temporaries of a compiled function."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


def race(contestants: Mapping[Any, Callable[[], Any]], repeats: int = 7) -> dict[Any, float]:
    """Median milliseconds of each contestant, as `samples` takes them."""
    taken = samples(contestants, repeats)
    return {name: float(np.median(values)) for name, values in taken.items()}


def samples(contestants: Mapping[Any, Callable[[], Any]], repeats: int) -> dict[Any, np.ndarray]:
    """Milliseconds of each contestant, called in turn `repeats` times after a first call."""
    for call in contestants.values():
        jax.block_until_ready(call())
    times: dict[Any, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, call in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * np.asarray(values) for name, values in times.items()}


def compiled(f: Callable, *args: Any) -> Callable[[], Any]:
    """f of these arguments, compiled ahead."""
    program = jax.jit(f).lower(*args).compile()
    return lambda: program(*args)


def temporaries(f: Callable, *args: Any) -> float:
    """Megabytes of temporaries of the compiled f."""
    analysis = jax.jit(f).lower(*args).compile().memory_analysis()
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 1e6


def ms(value: float | None) -> str:
    """Milliseconds, three digits; a dash for what was not run."""
    return "–" if value is None else f"{float(f'{value:.3g}'):g}"


def times(value: float) -> str:
    """A ratio."""
    return f"{value:.2f}×"
