"""Imports go one way through the rooms of the package, and only public JAX is used."""

import ast
from pathlib import Path

import jkr

PACKAGE = Path(jkr.__file__).parent
# A module may import from its own room and from those before it.
ROOMS = ["_check", "_products", "_contractions", "operators", "cp", "edge"]


def room(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return ROOMS.index(part) if part in ROOMS else ROOMS.index("edge")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nobody_imports_upwards_or_from_inside_jax():
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        for name in imported(path):
            assert not name.startswith("jax._src"), (path, name)
            if name.startswith("jkr."):
                part = name.split(".")[1]
                level = ROOMS.index(part) if part in ROOMS else ROOMS.index("edge")
                assert level <= room(path), (path, name)
                seen += 1
    assert seen > 30


def test_als_and_loss_do_not_know_each_other():
    names = {path.stem: set(imported(path)) for path in (PACKAGE / "cp").glob("_*.py")}
    assert not any("_loss" in name for name in names["_als"])
    assert not any("_als" in name for name in names["_loss"])
