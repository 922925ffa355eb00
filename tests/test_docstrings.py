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
from jkr import cp, datasets, glam, operators, plot, sketch, tensors

pytestmark = pytest.mark.every_turn

# A paper by its key, or a law or rule by its label.
KEY = re.compile(r"\[([A-Za-z]+\d\d)\]")
SOURCE = re.compile(rf"(?ms)^Source: .*?({KEY.pattern}|\b[IJ]\d+|\bR\d\b)")
PACKAGE = Path(jkr.__file__).parent
UNSOURCED = {
    "plot.factors": "a drawing, with no claim",
    "plot.history": "a drawing, with no claim",
    "plot.missing": "a drawing, with no claim",
    "plot.residuals": "a drawing, with no claim",
    "datasets.il2_response": "a preprint, cited by authors and title",
    "cp.save": "a file, with no claim",
    "cp.load": "a file, with no claim",
    "io.read": "a file, with no claim",
    "io.write": "a file, with no claim",
    "datasets.Dataset": "a container; each dataset has a source of its own",
    "cp.Algorithm": "a class to derive from, with no claim",
    "cp.Objective": "a container, with no claim",
    "cp.Start": "a container, with no claim",
    "cp.constraints.Constraint": "a class to derive from, with no claim",
    "tensors.Dense": "a container, with no claim",
    "tensors.Pass": "a container, with no claim",
    "tensors.Scale": "a container, with no claim",
    "tensors.Tensor": "a class to derive from, with no claim",
}


def found(name):
    value = jkr
    name = name.replace("operators.Product", "operators.KhatriRao")  # which inherits it
    for part in name.split("."):
        value = getattr(value, {"@": "__matmul__", "+": "__add__", "*": "__mul__"}.get(part, part))
    return value


def section(doc, title):
    """The lines under a title, as they are indented."""
    match = re.search(rf"^{title}:\n((?:(?: .*)?\n)+)", doc + "\n", re.MULTILINE)
    return match[1] if match else ""


FUNCTIONS = [n for n in table.public_names() if inspect.isfunction(found(n))]
FUNCTIONS += [f"plot.{n}" for n in plot.__all__ if n != "Figure"]
FUNCTIONS += ["datasets.covid19_serology", "datasets.il2_response"]
FUNCTIONS += ["cp.RankScan.table", "cp.losses.Loss.__call__", "cp.save", "cp.load"]
FUNCTIONS += ["io.read", "io.write"]
CLASSES = {
    f"{module.__name__.removeprefix('jkr.')}.{kind.__name__}": kind
    for module in (cp, cp.constraints, cp.losses, datasets, glam, operators, sketch, tensors)
    for kind in (getattr(module, name) for name in module.__all__)
    if inspect.isclass(kind) and kind.__module__.startswith(module.__name__)
}
RAISING = {message.partition(": ")[0] for _, message in ERRORS}


def arguments(doc):
    """The names under Args."""
    return re.findall(r"^    \*{0,2}(\w+): \S", section(doc, "Args"), re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    function = found(name)
    doc = inspect.getdoc(function) or ""
    assert doc.partition("\n")[0].endswith("."), "no sentence in the first line"
    assert arguments(doc) == [p for p in inspect.signature(function).parameters if p != "self"]
    returns = section(doc, "Returns").splitlines()
    assert bool(returns) == (inspect.signature(function).return_annotation is not None), "Returns?"
    assert ": " not in "".join(returns[:1]), "what is before a colon would be read as a type"
    assert ">>> " in section(doc, "Example"), "no example"
    assert name in UNSOURCED or SOURCE.search(doc), "no source"


def defines(kind, member):
    return any(member in vars(k) for k in kind.__mro__)


@pytest.mark.parametrize("name", sorted(RAISING))
def test_errors_are_documented(name):
    value = found(name)
    docs = [value]
    if inspect.isclass(value):
        docs += [getattr(value, n) for n in ("__matmul__", "__call__") if defines(value, n)]
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
    if issubclass(kind, cp.Solver):  # made of options, which its constructor takes
        assert arguments(doc) == list(inspect.signature(kind).parameters)
        described = fields
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


def test_every_key_is_in_the_bibliography():
    page = PACKAGE.parent / "docs" / "bibliography.md"
    known = re.findall(r"^- \*\*\[(\w+)\]\*\* ", page.read_text(encoding="utf-8"), re.MULTILINE)
    used = {key for path in PACKAGE.rglob("*.py") for key in KEY.findall(path.read_text("utf-8"))}
    assert len(set(known)) == len(known)
    assert len(used) > 30
    assert used <= set(known)


def test_list_of_the_unsourced():
    assert not [n for n in UNSOURCED if SOURCE.search(found(n).__doc__)]
