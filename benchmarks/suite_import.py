"""What `import jkr` costs beside `import jax`, each in a fresh process."""

import subprocess
import sys

from benchmarks.timing import ms, race, times

TITLE = "Import (ms, whole processes)"
HEADER = ("import jax", "import jkr", "jkr / jax")


def rows(compare, repeats):
    """Interleaved processes."""

    def importing(module):
        return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    t = race({"jax": importing("jax"), "jkr": importing("jkr")}, 2 * repeats)
    yield ms(t["jax"]), ms(t["jkr"]), times(t["jkr"] / t["jax"])
