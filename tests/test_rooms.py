"""Imports go one way through the rooms of the package, and only public JAX is used."""

import ast
import subprocess
import sys
from pathlib import Path

import jkr

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
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
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


def test_als_and_loss_do_not_know_each_other():
    names = {path.stem: set(imported(path)) for path in (PACKAGE / "cp").glob("_*.py")}
    assert not any("_loss" in name for name in names["_als"])
    assert not any("_als" in name for name in names["_loss"])


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
    rooms = ("cp", "datasets", "glam", "operators", "plot", "sketch")
    code = LATER.replace("ROOMS", repr(rooms))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[] True True True", run.stderr
