"""Benchmarks: every claim about speed or memory in the documentation, measured in one run.

    python -m benchmarks                              every suite, every peer installed
    python -m benchmarks --suite mttkrp loss          some suites
    python -m benchmarks --compare einsum tensorly    some contestants
    python -m benchmarks --out benchmarks/RESULTS.md  write the table of record

One file a suite: a function that yields rows of a table. `timing` runs the contestants of a row
in turn, in one process, and takes medians, so that a noisy machine is noisy for all of them.
Only ratios inside one run mean anything.
"""
