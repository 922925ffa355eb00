"""Generalised CP by gradient, as an algorithm: any elementwise loss, any optax optimiser.

The optimiser sees real arrays, one a free mode: the factor itself; of a complex factor its real and
imaginary part; of a nonnegative factor its square root, A = B∘B, so that no bound is ever left,
not even inside a line search, whatever the optimiser (squared variables: Royer, Thirion-Moreau &
Comon 2011; they took conjugate gradients). Of those roots the objective is smooth, and an entry
whose bound holds it has a curvature there, so that L-BFGS sees it settle. Arrays and objective are
in units of the start's, so that neither the scale of the data nor their number matters to learning
rates and line searches. Value and gradient come from one pass over the tensor (R5).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._linalg._norms import column_norms, square_root
from jkr._linalg._psd import is_singular
from jkr._linalg._small import gram
from jkr._products._hadamard import hadamard
from jkr.cp._data import measured
from jkr.cp._equations import merged, parted
from jkr.cp._fit import Ending, Problem, padded
from jkr.cp._implicit import Factors, balanced, normal_form
from jkr.cp._model import CPTensor
from jkr.cp._objective import Known, Objective
from jkr.cp._result import CPResult
from jkr.cp._start import begun

if TYPE_CHECKING:
    import optax

_SIZES = 10  # of a start, each an eighth of the one before
_ZERO = 1e-6  # of the largest entry: a zero that is to move, where it is squared


class GCPState(NamedTuple):
    """Between two steps; a pytree of arrays that can be saved and resumed.

    Attributes:
        cp: the model, a CPTensor (I_1, …, I_N) of rank R: unit columns, nonnegative weights, fixed
            factors as given. For a float16 or bfloat16 tensor it is in float32.
        objective: Σ W∘f(M, T) and the penalties, a real scalar; NaN where something was not finite.
        change: `|Δobjective|` of the last step over the larger `|objective|` of the two, a real
            scalar; inf before the first.
        iteration: steps done, an integer scalar.
        parameters: what the optimiser sees, in units of `size`: for each free mode a real (I_n, R);
            of a complex factor two, its real and imaginary part; of a nonnegative one its square
            root.
        slope: gradient of the objective, in units of `reference`, with respect to them: the same
            shapes.
        optimizer: the optimiser's own state, whatever it is.
        size: root mean square of the parameters at the start, a real scalar.
        reference: Σ `W∘|f(M, T)|` at the start, a real scalar.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.gcp_init(x, 2, key=jax.random.key(1))
        >>> state.cp.shape, int(state.iteration), [p.shape for p in state.parameters]
        ((4, 5, 6), 0, [(4, 2), (5, 2), (6, 2)])

    Source: as `gcp`; Hong, Kolda & Duersch, SIAM Review 62 (2020) 133–163, doi:10.1137/18M1203626.
    """

    cp: CPTensor
    objective: Array
    change: Array
    iteration: Array
    parameters: Any
    slope: Any
    optimizer: Any
    size: Array
    reference: Array


@dataclass(frozen=True)
class GCP:
    """Generalised CP.

    Attributes:
        kind: of start.
        rank: R.
        objective: what is minimised.
        optimizer: that takes the steps.
    """

    kind: str
    rank: int
    objective: Objective
    optimizer: "optax.GradientTransformation"
    title: ClassVar[str] = "GCP"
    watches: ClassVar[str] = "objective"

    def begin(self, problem: Problem, key: Array | None) -> tuple[GCPState, Array]:
        """The state before the first step, and a status that tells of bad data."""
        x, w, given, _ = problem
        options = self.objective.options
        loss = self.objective.loss
        cp, _, _, status = begun(
            x, w, given, key, self.kind, self.rank, options, loss.low, loss.high
        )
        known = self.objective.known(problem)
        units = parted(cp.factors, options)[0]
        weights = cp.weights if given is not None else self._sized(cp.weights, units, known)
        free = balanced(weights, units)
        parameters, size = _in_units(self._parameters(free))
        reference = self.objective.magnitude(free, known)
        value, slope = jax.value_and_grad(self._relative)(parameters, known, size, reference)
        objective = jnp.where(status == 0, value * reference, jnp.nan)
        start = GCPState(
            cp._replace(weights=weights),
            objective,
            jnp.where(jnp.isfinite(objective), jnp.inf, jnp.nan),
            jnp.zeros((), int),
            parameters,
            slope,
            self.optimizer.init(parameters),
            size,
            reference,
        )
        return start, status

    def prepare(self, problem: Problem, state: GCPState) -> Known:
        """What every step reads."""
        return self.objective.known(problem)

    def enter(self, state: GCPState) -> GCPState:
        """The state itself."""
        return state

    def step(self, data: Known, inner: GCPState) -> GCPState:
        """One step of the optimiser, taken if it leads to something finite."""
        import optax  # here, because it costs import time

        old, size, reference = inner, inner.size, inner.reference

        def relative(parameters: Any) -> Array:
            return self._relative(_cast(parameters, old.parameters), data, size, reference)

        # Optimisers promote dtypes and ranks, which a user may have forbidden, and may return
        # another precision than they were given.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, optimizer = optax.with_extra_args_support(self.optimizer).update(
                old.slope,
                old.optimizer,
                old.parameters,
                value=old.objective / reference,
                grad=old.slope,
                value_fn=relative,
            )
            parameters = _cast(optax.apply_updates(old.parameters, updates), old.parameters)
            value, slope = _stored(optimizer) or jax.value_and_grad(relative)(parameters)
        slope, optimizer = _cast(slope, old.slope), _cast(optimizer, old.optimizer)
        objective = value.astype(reference.dtype) * reference
        finite = jnp.isfinite(objective)
        larger = jnp.maximum(jnp.abs(objective), jnp.abs(old.objective))
        change = jnp.abs(objective - old.objective) / jnp.where(larger > 0, larger, 1)
        free = self._free(parameters, size)
        weights, units = normal_form(free, parted(old.cp.factors, self.objective.options)[0])
        cp = CPTensor(weights, merged(units, data.fixed, self.objective.options))
        new = cp, parameters, slope, optimizer
        kept = old.cp, old.parameters, old.slope, old.optimizer
        cp, parameters, slope, optimizer = jax.tree.map(
            lambda a, b: jnp.where(finite, a, b), new, kept
        )
        objective, change = (jnp.where(finite, a, jnp.nan) for a in (objective, change))
        done = old.iteration + 1
        return GCPState(cp, objective, change, done, parameters, slope, optimizer, size, reference)

    def leave(self, inner: GCPState, state: GCPState) -> GCPState:
        """The state itself."""
        return inner

    def score(self, result: CPResult) -> Array:
        """Minus the objective."""
        return -result.history[..., -1]

    def finish(
        self, problem: Problem, data: Known, state: GCPState, steps: Array, ending: Ending
    ) -> CPResult:
        """The result: zeros at their bounds, the fit of the data that the model stands for."""
        objective, options = self.objective, self.objective.options
        weights, units = state.cp.weights, parted(state.cp.factors, options)[0]
        free = objective.at_bounds(balanced(weights, units), data)
        weights, units = normal_form(free, units)
        cp = CPTensor(weights, merged(units, data.fixed, options))
        free = balanced(weights, units)
        last = objective.value(free, data)
        x, w = data.x, data.w
        error = square_root(objective.squared_error(cp, x, w, measured(x, w)[0]))
        slope = objective.stationarity(free, data)
        eps = float(jnp.finfo(x.dtype).eps)
        vanished = jnp.any(weights.real <= eps * jnp.max(weights.real))
        units = cp.normalize().factors
        dependent = vanished | is_singular(hadamard(*(gram(a, a) for a in units)), eps**0.5)
        # An objective of nothing, where the fit is not perfect, has underflowed.
        lost = (last == 0) & (error > eps**0.5)
        told = ending.told(state, cp, slope, dependent, jnp.where(lost, jnp.nan, error))
        history = padded(steps, state.iteration, last)
        return CPResult(cp=cp, fit=1 - error, relative_error=error, **told, history=history)

    def differentiable(self, problem: Problem, result: CPResult) -> CPResult:
        """R7."""
        return self.objective.differentiable(problem, result)

    def _relative(self, parameters: Any, known: Known, size: Array, reference: Array) -> Array:
        """The objective in units of the reference."""
        return self.objective.value(self._free(parameters, size), known) / reference

    def _sized(self, weights: Array, units: Factors, known: Known) -> Array:
        """The weights of a start, as large as the objective bears.

        The loss alone knows how large a model should be: a mean, its logarithm, or odds. A start
        that is too small is near to where all gradients vanish; so it is the largest size at which
        the objective is not much above the least of all.
        """
        sizes = 8.0 ** -jnp.arange(_SIZES).astype(known.x.real.dtype)
        values = lax.map(
            lambda s: self.objective.value(
                balanced(weights * s.astype(weights.dtype), units), known
            ),
            sizes,
        )
        values = jnp.where(jnp.isfinite(values), values, jnp.inf)
        least = jnp.min(values)
        largest = jnp.argmax(values <= least + 2 * jnp.abs(least))
        return weights * sizes[largest].astype(weights.dtype)

    def _parameters(self, free: Factors) -> Any:
        """What the optimiser sees of the free factors."""
        return tuple(
            self._root(a) if n in self.objective.options.nonnegative else _apart(a)
            for n, a in zip(self.objective.options.free, free, strict=True)
        )

    def _free(self, parameters: Any, size: Array) -> Factors:
        """The free factors."""
        parameters = jax.tree.map(lambda p: size * p, parameters)
        return tuple(
            p * p if n in self.objective.options.nonnegative else _together(p)
            for n, p in zip(self.objective.options.free, parameters, strict=True)
        )

    def _root(self, a: Array) -> Array:
        """√a, where zeros, from which a square would never move, are lifted a little."""
        return jnp.sqrt(jnp.maximum(a, _ZERO * jnp.max(a)))


def _in_units(parameters: Any) -> tuple[Any, Array]:
    """Parameters in units of their root mean square, and that."""
    entries = jnp.concatenate([p.ravel() for p in jax.tree.leaves(parameters)])
    size = column_norms(entries[:, None])[0] / entries.size**0.5
    size = jnp.where(size > 0, size, 1)
    return jax.tree.map(lambda p: p / size, parameters), size


def _stored(optimizer: Any) -> tuple[Array, Any] | None:
    """Value and gradient at the new parameters, where the optimiser's line search kept them."""
    import optax

    try:
        value, slope = (optax.tree_utils.tree_get(optimizer, name) for name in ("value", "grad"))
    except KeyError:  # several
        return None
    return None if value is None or slope is None else (value, slope)


def _cast(tree: Any, like: Any) -> Any:
    """The same numbers, in the dtypes of another tree."""
    return jax.tree.map(lambda a, b: jnp.asarray(a).astype(b.dtype), tree, like)


def _apart(a: Array) -> Any:
    return (a.real, a.imag) if jnp.iscomplexobj(a) else a


def _together(p: Any) -> Array:
    return lax.complex(*p) if isinstance(p, tuple) else p
