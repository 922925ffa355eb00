"""What a fit returns: the model, how good it is, and how it ended.

Trouble at run time is data: `status` is an integer that survives jit and vmap, and
`result.message` says what it means and what to try.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from jkr.cp._model import CPTensor

CONVERGED, MAX_ITERS, NOT_FINITE = range(3)

MESSAGES = {
    CONVERGED: "converged: the fit changed by less than tol in the last sweep",
    MAX_ITERS: (
        "stopped after max_iters sweeps, before the fit settled to tol: raise max_iters, "
        "loosen tol, or try a lower rank"
    ),
    NOT_FINITE: (
        "stopped: the fit is not finite; look for NaN, inf or overflow in the data and the start"
    ),
}


class CPResult(NamedTuple):
    """A fitted CP model and how the fit went; a pytree, batched by `vmap` like any other.

    Attributes:
        cp: the model: unit-norm columns, nonnegative weights, components in the order of the
            start.
        fit: 1 − ‖T − M‖/‖T‖, of the tensor T and the model M; 1 for the zero tensor. From
            ‖T‖² − 2 Re⟨M, T⟩ + ‖M‖², whose terms cancel: relative errors below a few √eps (1e-3
            in float32, 1e-7 in float64) are not resolved, and an exact fit may stop early.
        relative_error: 1 − fit.
        iterations: number of sweeps done.
        converged: whether |Δfit| < tol stopped the fit.
        status: 0 converged, 1 max_iters reached, 2 not finite; `message` says it in words.
        history: fit after each sweep, (max_iters,), padded with its last value.
    """

    cp: CPTensor
    fit: Array
    relative_error: Array
    iterations: Array
    converged: Array
    status: Array
    history: Array

    @property
    def message(self) -> str:
        """What the status means and what to try; for a batch, the worst of its statuses."""
        return MESSAGES[int(jnp.max(self.status))]
