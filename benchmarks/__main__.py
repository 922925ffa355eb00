"""Command line of the benchmarks; see the package's docstring."""

import argparse
import importlib
import importlib.util
import os
import platform
import sys
from pathlib import Path

import jax

SUITES = (
    "als",
    "fits",
    "first",
    "implicit",
    "gcp",
    "solution",
    "answers",
    "published",
    "entrywise",
    "mttkrp",
    "sparse",
    "sparse_fits",
    "relations",
    "loss",
    "products",
    "eager",
    "gram",
    "scan",
    "solve",
    "operators",
    "sketch",
    "glam",
    "accuracy",
    "import",
    "gpu",
    "programs",
)
COMPARE = ("einsum", "tensorly", "pyttb", "pygenten", "pykeen", "sklearn")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _machine() -> str:
    device = jax.devices()[0]
    where = _processor() if device.platform == "cpu" else device.device_kind
    versions = f"Python {platform.python_version()}, JAX {jax.__version__}"
    return f"{where}, {os.cpu_count()} cores; {versions}"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Run the suites asked for; print their tables and write them where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--suite", nargs="+", choices=SUITES, default=SUITES)
    parser.add_argument("--compare", nargs="*", choices=COMPARE, default=COMPARE)
    parser.add_argument("--repeats", type=int, default=7, help="the median is of this many")
    parser.add_argument("--out", type=Path, help="write the tables to this Markdown file")
    options = parser.parse_args()
    compare = {c for c in options.compare if c == "einsum" or importlib.util.find_spec(c)}
    for missing in set(options.compare) - compare:
        print(f"{missing} is not installed: left out", file=sys.stderr)
    suites = {name: importlib.import_module(f"benchmarks.suite_{name}") for name in SUITES}
    order, done = [suite.TITLE for suite in suites.values()], {}
    for suite in (suites[name] for name in options.suite):
        print(f"\n## {suite.TITLE}\n", flush=True)
        rows = []
        for row in suite.rows(compare, options.repeats):
            print("  ".join(f"{cell:>10}" for cell in row), flush=True)
            rows.append(row)
        name = suite.__name__.removeprefix("benchmarks.suite_")
        made = f"{_machine()}. `python -m benchmarks --suite {name}`, {options.repeats} repeats."
        done[suite.TITLE] = f"{made}\n\n{_table(suite.HEADER, rows)}"
        if options.out:  # suite by suite: what was measured is kept whatever comes next
            _write(options.out, done, order)
    if options.out:
        print(f"wrote {options.out}")


_ABOUT = """# Benchmarks

Medians of interleaved calls; only ratios inside one table mean anything. `python -m benchmarks
--out benchmarks/RESULTS.md` makes all of them anew, `--suite` some, which leaves the others as
they are."""


def _write(path: Path, done: dict[str, str], order: list[str]) -> None:
    """Put these sections in the file, in the order of the suites, beside those it has."""
    sections = {}
    if path.exists():
        for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, _, text = part.partition("\n")
            sections[title] = text.strip()
    sections |= done
    parts = [_ABOUT, *(f"## {t}\n\n{sections[t]}" for t in order if t in sections)]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
