"""README and documentation: their Python runs, and their figures are those of the record."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_laws import LABELS

import jkr

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
RECORD = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")


def text(page):
    return page.read_text(encoding="utf-8")


def python(page):
    return re.findall(r"```python\n(.*?)```", text(page), re.DOTALL)


# What the page on extending promises of its classes, beside what it shows.
OF_EXTENDING = """
batch = jax.vmap(lambda total: cp.als(x, 2, key=keys[4], constraints={1: ColumnsSumTo(total)}).cp)
sums = jnp.sum(batch(jnp.array([1.0, 2.0])).factors[1], axis=1)
assert jnp.allclose(sums, jnp.array([[1.0, 1.0], [2.0, 2.0]]), atol=1e-3)
assert cp.als(x, 2, key=keys[4], constraints={1: ColumnsSumTo(1.0)}, progress=True).fit > 0.9

assert jnp.allclose(fits, result.fit, atol=1e-3)
driven = cp.Solver(GradientDescent(), max_iters=5, restarts=2, progress=True)(x, 2, key=keys[5])
assert driven.iterations == 5

options = {"l2": 0.1, "tol": 0, "max_iters": 300}
end = cp.als(x, 2, key=keys[5], **options).cp
by_als, by_descent = (
    jax.grad(lambda x: fit(x, 2, init=end).cp.weights.sum())(x)
    for fit in (cp.ALS(**options), cp.Solver(GradientDescent(), **options))
)
assert jnp.allclose(by_als, by_descent, atol=1e-3)

assert cp.als(t, 2, key=keys[7], init="svd").fit > 0.9
assert cp.gcp(t, 2, key=keys[7], restarts=2, max_iters=100).fit > 0.9
several = jax.vmap(lambda diagonal: fitted(diagonal).fit)(jnp.stack([t.diagonal, 2 * t.diagonal]))
assert jnp.allclose(several[0], fitted(t.diagonal).fit, atol=1e-3)
assert several[1] < several[0]
on_diagonal = (jnp.arange(9),) * 3
dense = lambda d: cp.als(low_rank.full().at[on_diagonal].add(d), 2, key=keys[7], tol=1e-8)
of_dense = jax.grad(lambda diagonal: dense(diagonal).cp.weights.sum())(t.diagonal)
assert jnp.allclose(slope, of_dense, atol=1e-2)
"""


EACH_IN_ITS_FOLDER = """
import os, runpy, sys
for folder in sys.argv[1:]:
    os.chdir(folder)
    runpy.run_path(os.path.join(folder, "page.py"))
"""
WITH_PYTHON = [page for page in PAGES if python(page)]


@pytest.mark.parametrize("pages", [WITH_PYTHON[::2], WITH_PYTHON[1::2]])
def test_the_python_of_pages_runs_in_order(pages, tmp_path):
    """In a process for several pages: most of the time of one is to begin."""
    folders = [tmp_path / page.stem for page in pages]
    for page, folder in zip(pages, folders, strict=True):
        folder.mkdir()
        more = [OF_EXTENDING] if page.stem == "extending" else []
        (folder / "page.py").write_text("\n".join([*python(page), *more]), "utf-8")
    run = subprocess.run(
        [sys.executable, "-c", EACH_IN_ITS_FOLDER, *map(str, folders)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for page, folder in zip(pages, folders, strict=True):
        pictures = re.findall(r'savefig\("(.*?)"\)', text(page))
        assert all((folder / name).exists() for name in pictures)


def test_the_pages_have_python_in_them():
    assert {page.stem for page in WITH_PYTHON} >= {"README", "getting_started", "rules"}


def tables():
    """The record: title to rows, each a dictionary by column."""
    for part in RECORD.split("\n## ")[1:]:
        title, *lines = part.splitlines()
        header, _, *rows = (
            [c.strip() for c in ln.split("|")[1:-1]] for ln in lines if ln[:1] == "|"
        )
        yield title, [dict(zip(header, row, strict=True)) for row in rows]


def rounds_to(value, digits):
    decimals = len(digits.partition(".")[2])
    return f"{value:.{decimals}f}" == digits or f"{value:.2g}" == digits


# Where the gains of the rules are measured.
OF_RULES = {
    "R1": ["Gram, value"],
    "R2": ["Gradient of 50 scanned steps"],
    "R3": ["Solves"],
    "R4": ["Loss, value"],
    "R5": ["Loss, value", "Elementwise losses"],
    "R7": ["Gradient through a fit"],
}


@pytest.mark.parametrize("rule", OF_RULES)
def test_the_gain_of_a_rule_is_in_its_table(rule):
    """5.4× or 1/13 stands for a ratio, rounded."""
    said = re.search(rf"^\| {rule} \|.*$", text(ROOT / "docs" / "rules.md"), re.MULTILINE)[0]
    claimed = re.findall(r"(?<![\d.])([\d.]+)×(?!\s?\d)", said) + re.findall(r"\b1/(\d+)\b", said)
    measured = [rows for title, rows in tables() if title.startswith(tuple(OF_RULES[rule]))]
    cells = [cell for rows in measured for row in rows for cell in row.values()]
    ratios = [float(cell[:-1]) for cell in cells if re.fullmatch(r"[\d.]+×", cell)]
    assert claimed
    assert not [c for c in claimed if not any(rounds_to(r, c) for r in ratios)]


def test_nothing_else_claims_a_ratio():
    others = "\n".join(text(page) for page in PAGES if page.stem not in ("rules", "performance"))
    assert not re.findall(r"(?<![\d.])[\d.]+× (?:as|the|a) |\b1/\d+ of\b", others)


# Of columns of the README, under which names the record has them.
COLUMNS = {
    "jkr": ("jkr", "gradient ms", "cp.fit", "sweep", "jkr, compiled"),
    "TensorLy (NumPy)": ("TensorLy",),
}


def test_every_time_in_the_readme_is_in_the_record():
    found = re.findall(r"(?:^\|.*\|$\n)+", text(ROOT / "README.md"), re.MULTILINE)
    assert len(found) == 2
    for table in found:
        header, _, *rows = ([c.strip() for c in r.split("|")[1:-1]] for r in table.splitlines())
        assert len(rows) >= 3
        for row in rows:
            cells = dict(zip(header, row, strict=True))
            problem = cells.pop("problem")
            there = [
                r
                for _, rs in tables()
                for r in rs
                if problem in (r.get("problem"), r.get("what"), r.get("product"))
            ]
            cells.pop("")
            for name, cell in cells.items():
                names = COLUMNS.get(name, (name,))
                figures = {str(r.get(c)) for r in there for c in names}
                number = cell.removesuffix(" ms").removesuffix(" s")
                assert number in {*figures, "–"}, (problem, name)


def test_the_page_of_laws_has_every_law():
    found = re.findall(r"^\| ([IJ]\d+ᴴ?) \|", text(ROOT / "docs" / "laws.md"), re.MULTILINE)
    assert sorted(label.replace("ᴴ", "H") for label in found) == sorted(LABELS)


def test_what_the_page_of_laws_names_is_there():
    rows = re.findall(r"^\| [IJ].*\|(.*)\|$", text(ROOT / "docs" / "laws.md"), re.MULTILINE)
    names = re.findall(r"`([a-z_]\w+(?:\.\w+)*)`", "".join(rows))
    assert len(names) > 30
    for name in set(names) - {"entry_weights", "scale_rows"}:
        value = jkr
        for part in name.split("."):
            value = getattr(value, part)
