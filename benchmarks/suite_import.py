"""What `import jkr` and `import jkr.cp` cost beside `import jax`, each in a fresh process.

With the bytecode of all modules at hand, as an installed package has it.
"""

import os
import subprocess
import sys

from benchmarks.timing import ms, race, times

TITLE = "Import (ms, whole processes)"
HEADER = ("module", "import jax", "import it", "it / jax")
MODULES = ("jkr", "jkr.cp")


def rows(compare, repeats):
    """Interleaved processes, the first of each, which may write bytecode, not timed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def importing(module):
        command = [sys.executable, "-c", f"import {module}"]
        return lambda: subprocess.run(command, check=True, env=environment)

    t = race({module: importing(module) for module in ("jax", *MODULES)}, 2 * repeats)
    for module in MODULES:
        yield module, ms(t["jax"]), ms(t[module]), times(t[module] / t["jax"])
