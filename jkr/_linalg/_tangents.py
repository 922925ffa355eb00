"""What a derivative rule asks of its tangents."""

from typing import Any

from jax.custom_derivatives import SymbolicZero


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be zero, in a rule with `symbolic_zeros`."""
    return isinstance(tangent, SymbolicZero)
