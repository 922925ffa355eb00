"""What a docstring has to hold, as far as a machine can tell: what readers of the site will miss.

That examples run is `test_examples.py`.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest
import table
from test_errors import ERRORS

import jkr
from jkr import cp, datasets, glam, operators, plot, sketch

# A paper, or a law or rule by its label.
SOURCE = re.compile(r"(?ms)^Source: .*?(doi:10\.|arXiv:|\b[IJ]\d+|\bR\d\b)")
UNSOURCED = {
    "plot.factors": "a drawing, with no claim",
    "plot.history": "a drawing, with no claim",
    "plot.missing": "a drawing, with no claim",
    "plot.residuals": "a drawing, with no claim",
    "datasets.il2_response": "a preprint, cited by authors and title",
    "cp.save": "a file, with no claim",
    "cp.load": "a file, with no claim",
    "datasets.Dataset": "a container; each dataset has a source of its own",
}


def found(name):
    value = jkr
    name = name.replace("operators.Product", "operators.KhatriRao")  # which inherits it
    for part in name.replace("@", "__matmul__").split("."):
        value = getattr(value, part)
    return value


def section(doc, title):
    """The lines under a title, as they are indented."""
    match = re.search(rf"^{title}:\n((?:(?: .*)?\n)+)", doc + "\n", re.MULTILINE)
    return match[1] if match else ""


FUNCTIONS = [n for n in table.public_names() if not isinstance(found(n), cp.losses.Loss)]
FUNCTIONS += [f"plot.{n}" for n in plot.__all__ if n != "Figure"]
FUNCTIONS += ["datasets.covid19_serology", "datasets.il2_response"]
FUNCTIONS += ["cp.RankScan.table", "cp.losses.Loss.__call__", "cp.save", "cp.load"]
CLASSES = {
    f"{module.__name__.removeprefix('jkr.')}.{kind.__name__}": kind
    for module in (cp, cp.losses, datasets, glam, operators, sketch)
    for kind in vars(module).values()
    if inspect.isclass(kind) and kind.__module__.startswith(module.__name__)
}
RAISING = {message.partition(": ")[0] for _, message in ERRORS}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    function = found(name)
    doc = inspect.getdoc(function) or ""
    assert doc.partition("\n")[0].endswith("."), "no sentence in the first line"
    arguments = re.findall(r"^    (\*?\w+): \S", section(doc, "Args"), re.MULTILINE)
    assert [a.lstrip("*") for a in arguments] == [
        p for p in inspect.signature(function).parameters if p != "self"
    ]
    returns = section(doc, "Returns").splitlines()
    assert bool(returns) == (inspect.signature(function).return_annotation is not None), "Returns?"
    assert ": " not in "".join(returns[:1]), "what is before a colon would be read as a type"
    assert ">>> " in section(doc, "Example"), "no example"
    assert name in UNSOURCED or SOURCE.search(doc), "no source"


@pytest.mark.parametrize("name", sorted(RAISING))
def test_errors_are_documented(name):
    value = found(name)
    docs = [value, value.__matmul__] if inspect.isclass(value) else [value]
    for doc in map(inspect.getdoc, docs):
        if "    ValueError: " in section(doc, "Raises"):
            return
    pytest.fail("no Raises")


@pytest.mark.parametrize("name", CLASSES)
def test_class(name):
    kind = CLASSES[name]
    doc = inspect.getdoc(kind) or ""
    described = set(re.findall(r"^    (\w+): \S", section(doc, "Attributes"), re.MULTILINE))
    fields = {n for k in kind.__mro__ for n in inspect.get_annotations(k) if n[0] != "_"}
    assert described == fields
    for member, value in inspect.getmembers(kind):
        if member[0] != "_" and member not in fields:
            assert inspect.getdoc(value), f"{member} is not described"
    assert name in UNSOURCED or SOURCE.search(doc), "no source"


def test_losses_that_are_no_functions():
    body = ast.parse(Path(cp.losses.__file__).read_text(encoding="utf-8")).body
    described = {
        before.targets[0].id: after.value.value
        for before, after in zip(body, body[1:], strict=False)
        if isinstance(before, ast.Assign) and isinstance(after, ast.Expr)
    }
    names = {n for n in cp.losses.__all__ if isinstance(getattr(cp.losses, n), cp.losses.Loss)}
    assert names <= described.keys()
    assert all(re.search(r"\bm\b", described[n]) and SOURCE.search(described[n]) for n in names)


def test_list_of_the_unsourced():
    assert not [n for n in UNSOURCED if SOURCE.search(found(n).__doc__)]
