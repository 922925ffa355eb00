"""README and documentation: their Python runs, and their figures are those of the record."""

import os
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


@pytest.mark.parametrize("page", [p for p in PAGES if python(p)], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_in_order(page, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(python(page))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        # Faster by a third.
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    assert run.returncode == 0, run.stderr
    pictures = re.findall(r'savefig\("(.*?)"\)', text(page))
    assert all((tmp_path / name).exists() for name in pictures)


def test_the_pages_have_python_in_them():
    assert {page.stem for page in PAGES if python(page)} >= {"README", "getting_started", "rules"}


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


def test_every_time_in_the_readme_is_in_the_record():
    header, _, *rows = re.findall(r"^\| .*\|$", text(ROOT / "README.md"), re.MULTILINE)
    columns = [cell.strip().removesuffix(" (NumPy)") for cell in header.split("|")[2:-1]]
    assert columns == ["problem", "jkr", "TensorLy", "pyttb"]
    assert len(rows) >= 5
    for row in rows:
        problem, *cells = (cell.strip() for cell in row.split("|")[2:-1])
        found = [
            r for _, rs in tables() for r in rs if problem in (r.get("problem"), r.get("what"))
        ]
        for name, cell in zip(columns[1:], cells, strict=True):
            figures = [r.get(c) for r in found for c in (name, "gradient ms" * (name == "jkr"))]
            assert cell.removesuffix(" ms") in [*figures, "–"], (problem, name)


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
