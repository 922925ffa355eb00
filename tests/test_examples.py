"""Every example in a docstring runs, in a process of its own, in 32 bits."""

import subprocess
import sys

RUN = """
import doctest, inspect, sys
import jkr
from jkr import cp, datasets, glam, io, operators, plot, sketch, tensors

# Classes to derive from, and what is derived: their example shows the methods together.
SHOWN = "Algorithm", "Constraint", "Dense", "Objective", "Solver", "Tensor"

def ours(module):
    # Functions, classes, and what these define or inherit: methods and properties.
    for name in getattr(module, "__all__", vars(module)):
        value = getattr(module, name)
        if name.startswith("_") or not getattr(value, "__module__", "").startswith("jkr"):
            continue
        yield name, value
        for kind in value.__mro__ if inspect.isclass(value) else ():
            if kind.__module__.startswith("jkr") and kind.__name__ not in SHOWN:
                for member, f in vars(kind).items():
                    if kind is tensors.Sparse and hasattr(tensors.Tensor, member):
                        continue  # what every tensor answers
                    if getattr(f, "__name__", member) == member and (
                        not member.startswith("_") or member == "__matmul__"
                    ):
                        yield f"{kind.__name__}.{member}", f

finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
modules = (jkr, cp, cp.constraints, cp.losses, datasets, glam, io)
modules += (operators, plot, sketch, tensors)
without = []
for value, name in {v: n for module in modules for n, v in ours(module)}.items():
    if inspect.isfunction(value) or inspect.isclass(value):
        tests = [t for t in finder.find(value, name, globs={}) if t.examples]
        for test in tests:
            runner.run(test)
        if not tests:
            without.append(name)
print("without an example:", *without)
print(runner.summarize())
sys.exit(bool(without) or runner.failures > 0)
"""


def test_every_public_function_class_and_method_has_an_example_that_runs():
    run = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "attempted=0" not in run.stdout
