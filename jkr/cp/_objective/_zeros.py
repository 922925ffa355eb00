"""What is summed over the zeros of a sparse tensor: polynomials that follow from `Loss.at_zero`.

Where data are zero f(m, 0) = c₀ + c₁ Re m + c₂|m|², so that its derivative is c₁ + 2c₂m, the second
one 2c₂. Each function here is what one of those in `_loss.py` and `_objective.py` is of zeros; a
loss that does not say what it is at zero gives None, and every zero is visited.
"""

from collections.abc import Callable
from functools import wraps

from jkr.cp.losses import Loss
from jkr.tensors._tensor import AtZero


def _where_known(of: Callable[[float, float, float], AtZero]) -> Callable[[Loss], AtZero | None]:
    @wraps(of)
    def of_loss(loss: Loss) -> AtZero | None:
        return None if loss.at_zero is None else of(*loss.at_zero)

    return of_loss


@_where_known
def derivative(c0: float, c1: float, c2: float) -> AtZero:
    """f, and ∂f/∂m beside it."""
    return AtZero((c0, c1, c2), (c1, 2 * c2))


@_where_known
def magnitude(c0: float, c1: float, c2: float) -> AtZero:
    """|f| of a nonnegative model; of others about as large."""
    return AtZero((abs(c0), abs(c1), abs(c2)))


@_where_known
def slopes(c0: float, c1: float, c2: float) -> AtZero:
    """|∂f/∂m|² + |m ∂²f/∂m²|² = (c₁ + 2c₂m)² + (2c₂m)²."""
    return AtZero((c1 * c1, 4 * c1 * c2, 8 * c2 * c2))


@_where_known
def curvature(c0: float, c1: float, c2: float) -> AtZero:
    """∂²f/∂m², where it is positive."""
    return AtZero(entry=(max(2 * c2, 0), 0))


@_where_known
def curved_model(c0: float, c1: float, c2: float) -> AtZero:
    """m ∂²f/∂m², likewise."""
    return AtZero(entry=(0, max(2 * c2, 0)))
