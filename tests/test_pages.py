"""README and documentation: their Python runs, and their figures are those of the record."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_laws import LABELS

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
        # Faster by a third. The examples in docstrings run with all optimizations.
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )
    assert run.returncode == 0, run.stderr
    pictures = re.findall(r'savefig\("(.*?)"\)', text(page))
    assert all((tmp_path / name).exists() for name in pictures)


def test_the_pages_have_python_in_them():
    assert {page.stem for page in PAGES if python(page)} >= {"README", "getting_started", "rules"}


def rounds_to(value, digits):
    decimals = len(digits.partition(".")[2])
    return f"{value:.{decimals}f}" == digits or f"{value:.2g}" == digits


def test_every_ratio_is_in_the_record():
    """5.4× or 1/13 stands for some ratio of the tables, rounded."""
    ratios = [float(r) for r in re.findall(r"([\d.]+)×(?!\d)", RECORD)]
    said = "\n".join(map(text, PAGES))
    claimed = re.findall(r"(?<![\d.])([\d.]+)×(?!\s?\d)", said) + re.findall(r"\b1/(\d+)\b", said)
    assert len(claimed) >= 10
    assert not [c for c in claimed if not any(rounds_to(r, c) for r in ratios)]


def test_every_time_is_in_the_record():
    """A row of the README's table: its problem, and milliseconds as the record has them."""
    rows = re.findall(r"^\|.*?\| (\d.+?) \|(.* ms .*)\|$", text(ROOT / "README.md"), re.MULTILINE)
    assert len(rows) >= 5
    for problem, cells in rows:
        lines = [line for line in RECORD.splitlines() if line.startswith(f"| {problem} |")]
        recorded = {float(n) for line in lines for n in re.findall(r"[\d.]+(?:e[+-]\d+)?", line)}
        times = {float(t) for t in re.findall(r"([\d.]+) ms", cells)}
        assert times
        assert times <= recorded, problem


def test_the_page_of_laws_has_every_law():
    found = re.findall(r"^\| ([IJ]\d+ᴴ?) \|", text(ROOT / "docs" / "laws.md"), re.MULTILINE)
    assert sorted(label.replace("ᴴ", "H") for label in found) == sorted(LABELS)
