"""Imports go one way through the rooms of the package, and only public JAX is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jkr

pytestmark = pytest.mark.every_turn
PACKAGE = Path(jkr.__file__).parent
# A module may import from its own room and from those before it; rooms side by side do not know
# each other.
FLOORS = [
    ("_check",),
    ("_mesh",),
    ("_products",),
    ("_linalg",),
    ("_contractions",),
    ("tensors",),
    ("operators",),
    ("cp", "sketch", "glam"),
]
# The same inside of `cp`, but for its `__init__`: there modules of one floor may know each other.
CP_FLOORS = [
    ("_model",),
    ("losses", "constraints", "_objective"),
    ("_solvers",),
    ("_fit",),
    ("_study",),
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
CP_FLOOR = {room: floor for floor, rooms in enumerate(CP_FLOORS) for room in rooms}
EDGE = len(FLOORS)


def allowed(importer, imported):
    above, below = FLOOR.get(importer, EDGE), FLOOR.get(imported, EDGE)
    return importer == imported or below < above or above == EDGE


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nobody_imports_upwards_or_from_inside_jax():
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imported(path):
            assert not name.startswith("jax._src"), (path, name)
            if name.startswith("jkr."):
                assert allowed(room, name.split(".")[1]), (path, name)
                seen += 1
    assert seen > 30


def test_nobody_imports_upwards_inside_of_cp():
    seen = 0
    for path in (PACKAGE / "cp").rglob("*.py"):
        room = path.relative_to(PACKAGE / "cp").parts[0].removesuffix(".py")
        for name in imported(path) if room != "__init__" else ():
            if name.startswith("jkr.cp."):
                assert CP_FLOOR[name.split(".")[2]] <= CP_FLOOR[room], (path, name)
                seen += 1
    assert seen > 30


# The first use may be inside a trace: a constant that a module made then would be a tracer.
LATER = """
import sys, jax, jkr
early = [room for room in ROOMS if f"jkr.{room}" in sys.modules]
trace = jax.make_jaxpr(lambda key: [getattr(jkr, room) for room in ROOMS] and key)
with jax.checking_leaks():
    trace(jax.random.key(0))
from jkr import cp, datasets
print(early, cp is jkr.cp, datasets is jkr.datasets, set(ROOMS) <= set(dir(jkr)))
"""


def test_rooms_are_imported_when_they_are_used():
    rooms = ("cp", "datasets", "glam", "io", "operators", "plot", "sketch")
    code = LATER.replace("ROOMS", repr(rooms))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[] True True True", run.stderr
