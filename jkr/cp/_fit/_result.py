"""What a fit returns: the model, how good it is, and how it ended.

Trouble at run time is data: `status` is an integer that survives jit and vmap, and
`result.message` says what it means and what to try.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from jkr.cp._model._cptensor import CPTensor
from jkr.tensors._tensor import GOOD, Scale

CONVERGED, ROUGH, DEPENDENT, MAX_ITERS, INTERRUPTED, NOT_FINITE, BAD_DATA, BAD_WEIGHTS = range(8)
STALLED, NO_DERIVATIVE, UNDETERMINED, UNSETTLED = range(8, 12)
SEVERITY = (  # of the statuses, the worst last
    *(CONVERGED, ROUGH, UNSETTLED, UNDETERMINED, DEPENDENT, STALLED, MAX_ITERS, INTERRUPTED),
    *(NOT_FINITE, NO_DERIVATIVE, BAD_DATA, BAD_WEIGHTS),
)

# Values of `stationarity`:
ROUGH_ABOVE = 1e-4  # derivatives through the fit are rough
FAR_ABOVE = 3e-2  # the fit has not converged, though it changes no more
ROUNDING = 64  # times eps: nothing but rounding is left

MESSAGES = {
    CONVERGED: (
        "converged: the fit, the objective or, of nls, the stationarity settled to tol, or nothing "
        "is left to change"
    ),
    ROUGH: (
        "converged: the fit, or the objective, settled to tol (for derivatives through the fit, "
        f"lower tol: stationarity is above {ROUGH_ABOVE:g})"
    ),
    DEPENDENT: (
        "converged, but components are linearly dependent or vanish, so the model is not unique: "
        "try a lower rank, or l2 > 0"
    ),
    UNDETERMINED: (
        "converged, but the observed entries do not determine the model: the standard errors of "
        "some columns exceed them; `undetermined` says of which modes and components, and other "
        "values of theirs fit as well: try a small l2, fewer components, or observe other entries"
    ),
    MAX_ITERS: (
        "stopped after max_iters iterations, before the fit settled to tol: raise max_iters, "
        "loosen tol, or try a lower rank"
    ),
    UNSETTLED: (
        "converged, but whether the observed entries determine the model was not settled: the "
        "search for the direction that they determine worst, no longer than the fit itself, did "
        "not end, as where there is one that they leave open; ask "
        "cp.condition(model, entry_weights=...)"
    ),
    INTERRUPTED: "interrupted: this is the best model so far; resume with init=result.cp",
    NOT_FINITE: (
        "stopped: the fit, the objective, or the model in the dtype of the tensor, is not finite, "
        "or the objective underflows; look for NaN in a prox of your own, for overflow in the "
        "start and l2, for weights beyond float16, for learning rates that are too large, and "
        "scale data whose squares are out of range"
    ),
    BAD_DATA: (
        "the tensor holds NaN or inf, or entries that the loss is not for; where they are missing, "
        "pass entry_weights=jnp.isfinite(tensor), or leave them out of a Sparse"
    ),
    BAD_WEIGHTS: "entry_weights need to be finite, nonnegative and not all zero",
    STALLED: (
        "stopped far from a minimum: the fit, or the objective, settled to tol, but stationarity "
        f"is above {FAR_ABOVE:g}: lower tol or, of gcp, take another optimizer or learning rate; a "
        "penalty with kinks is better a constraint with a prox"
    ),
    NO_DERIVATIVE: (
        "stopped: the derivative of the loss, or of the penalty, is NaN or inf at the model that "
        "was reached, or they are NaN themselves: write yours so that all are finite there, at "
        "zero too (rows with nothing observed are zero), and l2 not negative"
    ),
}

BRIEFLY = {
    CONVERGED: "converged",
    ROUGH: "converged",
    DEPENDENT: "converged to dependent components",
    UNDETERMINED: "converged to an undetermined model",
    UNSETTLED: "converged, perhaps to an undetermined model",
    MAX_ITERS: "stopped by max_iters",
    INTERRUPTED: "interrupted",
    NOT_FINITE: "not finite",
    BAD_DATA: "bad data",
    BAD_WEIGHTS: "bad entry_weights",
    STALLED: "stopped far from a minimum",
    NO_DERIVATIVE: "no derivative",
}


def worst(*statuses: Any) -> int:
    """The most severe of statuses that are known, arrays of them included."""
    known = np.concatenate([np.ravel(status) for status in statuses])
    return max(known.tolist(), key=SEVERITY.index)


def unless_bad(scale: Scale, status: Any) -> Array:
    """The status, or that of the data, where those are bad."""
    return jnp.where(scale.status == GOOD, status, BAD_DATA - 1 + scale.status)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("steps",),
    meta_fields=("what", "passes_once", "passes_each"),
)
@dataclass(frozen=True)
class Stage:
    """One stage of `fit`.

    Attributes:
        what: in words, and why.
        steps: how many it took, an integer scalar.
        passes_once: over the tensor, before and after all steps; None where how many passes there
            are depends on the data.
        passes_each: by every step.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> print(jkr.cp.Stage("nls on the tensor", jnp.array(3), 5, 2))
        nls on the tensor (3 steps, 11 passes)

    Source: as `fit`; [BA98].
    """

    what: str
    steps: Array | int = 0
    passes_once: int | None = None
    passes_each: int = 0

    @property
    def passes(self) -> int | None:
        """Over the tensor, all in all, of the slowest of a batch."""
        if self.passes_once is None:
            return None
        return self.passes_once + self.passes_each * int(np.max(self.steps))

    def __str__(self) -> str:
        """In words."""
        steps, passes = int(np.max(self.steps)), self.passes
        costs = [f"{steps} steps"] if steps else []
        costs += [] if passes is None else [f"{passes} passes"]
        return f"{self.what} ({', '.join(costs)})" if costs else self.what


class CPResult(NamedTuple):
    """A fitted CP model and how the fit went; a pytree, batched by `vmap` like any other.

    Attributes:
        cp: the model, a CPTensor (I_1, …, I_N) of rank R: unit-norm columns and nonnegative
            weights, components in the order of the start; factors of fixed modes as they were
            given.
        fit: 1 − ‖W½∘(T − M)‖/‖W½∘T‖ of the tensor T, the model M and the entry weights W,
            from the residual itself, entry by entry, a real scalar; 1 for the zero tensor. Of
            other losses M is the data that the model stands for. (Of a sparse tensor of zeros it is
            good to √eps.)
        relative_error: 1 − fit, a real scalar.
        iterations: number of sweeps, or steps, done, an integer scalar.
        converged: whether status is 0, 1, 2, 10 or 11, a boolean scalar.
        status: an integer scalar. 0 converged; 1 converged, but derivatives through the fit are
            rough; 2 converged to dependent components; 3 max_iters reached; 4 interrupted; 5 not
            finite; 6 NaN or inf in the data; 7 entry weights that are negative, not finite or all
            zero; 8 settled by tol, but far from stationary; 9 a loss or a penalty that is NaN, or
            without a derivative; 10 converged to a model that the observed entries do not
            determine; 11 converged, and whether they do was not settled. `message` says it in
            words.
        stationarity: how far the fit is from a stationary point, a real scalar: the gradient with
            respect to a free factor, balanced, over ‖W½∘T‖ and the norm of the largest column that
            multiplies it, the largest of all modes. For other losses f than least squares it is
            over ‖W½∘f'‖ and ‖W½∘f''∘M‖; of a factor with a constraint, the residual of that
            instead; of float16 and bfloat16 data, before rounding; inf where it is not finite.
            Derivatives through the fit are in error by about this times the condition of the
            problem.
        history: fit after each sweep of `als`, or objective after each step of `gcp` and `nls`,
            (max_iters,), padded with its last value, which is exact. The fit is from
            ‖T‖² − 2 Re⟨M, T⟩ + ‖M‖², which costs no pass over the tensor; its terms cancel, so
            that relative errors below a few √eps (1e-3 in float32, 1e-7 in float64) are not
            resolved. Of `nls` objectives of least squares before the last are good to eps·‖T‖², so
            that they may rise at the end.
        undetermined: of every mode and component, whether the standard error of its column, in its
            weakest direction, exceeds the column, booleans (N, R); of other losses than least
            squares, whether it is infinite. Looked for where entries weigh differently, or are
            missing; rows with nothing observed, which are zero, and what is held at zero do not
            count. Where factors have more than 300 entries, found by a search of the weakest
            direction that costs about what the fit cost at most: if it does not end, status 11;
            `cp.condition(model, entry_weights=...)` is exact.
        objective: what was minimised, but for the tensor: loss, constraints, l2, penalty.
        stages: of `fit`, what it chose, one after the other; `message` says it in words.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1))
        >>> result.cp.shape, result.history.shape, result.message.startswith("converged")
        ((4, 5, 6), (500,), True)

    Derivative (R7): see `als`.

    Source: [KB09], section 3.4.
    """

    cp: CPTensor
    fit: Array
    relative_error: Array
    iterations: Array
    converged: Array
    status: Array
    stationarity: Array
    history: Array
    undetermined: Array
    objective: Any = None
    stages: tuple[Stage, ...] = ()

    def __repr__(self) -> str:
        """In a line, where values are known and of one fit."""
        leaves = jax.tree.leaves(self[:-2])
        known = all(isinstance(a, jax.Array) and not isinstance(a, Tracer) for a in leaves)
        if not known or self.status.ndim:
            return f"CPResult({self.cp}, fit={self.fit}, status={self.status}, …)"
        return (
            f"CPResult(shape {self.cp.shape}, rank {self.cp.rank}, fit {float(self.fit):.6g}, "
            f"{int(self.iterations)} iterations, {BRIEFLY[int(self.status)]})"
        )

    def _is_no_tensor(self, other: Any) -> Any:
        """Results are no tensors.

        Raises:
            ValueError: always.
        """
        raise ValueError("cp.CPResult.+: results are neither added nor multiplied; their cp are")

    # Those of a tuple would make another tuple.
    __add__ = __radd__ = __mul__ = __rmul__ = _is_no_tensor

    @property
    def message(self) -> str:
        """What the status means and what to try; for a batch, the worst of its statuses.

        Of `fit`, what it chose as well, and what that cost.
        """
        stages = "; ".join(str(stage) for stage in self.stages)
        return MESSAGES[worst(self.status)] + (f". Stages: {stages}" if stages else "")
