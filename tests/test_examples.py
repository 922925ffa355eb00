"""Every example in a docstring runs, in a process of its own with JAX's default settings."""

import subprocess
import sys

RUN = """
import doctest, inspect, sys
import jkr
from jkr import cp, datasets, glam, operators, plot, sketch

finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
without = []
for module in (jkr, cp, datasets, glam, operators, plot, sketch):
    for name in sorted(vars(module)):
        value = getattr(module, name)
        if name.startswith("_") or not getattr(value, "__module__", "").startswith("jkr"):
            continue
        tests = [t for t in finder.find(value, name, globs={}) if t.examples]
        for test in tests:
            runner.run(test)
        if inspect.isfunction(value) and not tests:
            without.append(name)
print("without an example:", *without)
print(runner.summarize())
sys.exit(bool(without) or runner.failures > 0)
"""


def test_every_public_function_has_an_example_that_runs():
    run = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "attempted=0" not in run.stdout
