"""Constraints on the factor of a mode: what a fit may make of it.

=====================  ========  ===================================================
constraint             kind      the factor A (I_n, R)
=====================  ========  ===================================================
`nonnegative()`        cone      A ≥ 0
`simplex(axis)`        bounded   A ≥ 0, columns (or rows, axis=1) that sum to one
`ball(radius)`         bounded   columns of norm at most the radius
`l1(weight)`           penalty   weight·Σ|A| is added to the objective
`prox(f, value)`       yours     f(A, step), and value(A) if it is a penalty
=====================  ========  ===================================================

Where the scale of a component lives depends on the kind, because a scale that can flow from one
factor to another has no minimiser otherwise.

- *Cones* (and no constraint): unit columns; the scale is in the component weights λ.
- *Bounded sets*: the factor is returned as constrained. λ ≥ 0 is updated by itself, by nonnegative
  least squares.
- *Penalties* that shrink: the factor with the penalty holds the scale, λ is one, and the columns of
  all factors without a constraint have norm at most one; with l2 > 0 they are as they are.

A constraint is a proximal operator, argmin_Z ½‖Z − Y‖² + step·value(Z) or the projection on its
set, and ALS solves each factor by ADMM with it, warm started (AO-ADMM). Where there is a better way
the constraint brings its own `solve`.

Source: [HSL16].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from jkr import _check
from jkr._linalg._admm import admm
from jkr._linalg._hals import hals
from jkr._linalg._prox import nearest_in_ball, nearest_simplex, soft_threshold
from jkr._linalg._psd import psd_solve
from jkr._mesh import any_mesh

__all__ = ["Constraint", "ball", "l1", "nonnegative", "prox", "simplex"]

Kind = Literal["free", "fixed", "cone", "bounded", "penalty"]

_ZERO = 1e-6  # of the largest entry: a zero that is to move, where it is squared


class Constraint(ABC):
    """A constraint on one factor; a pytree, so that its numbers can be traced and differentiated.

    Derive from it, register the class as a pytree (`jax.tree_util.register_dataclass`), and write
    `prox`; `value` too, if it is a penalty. The rest follows.

    Attributes:
        kind: "cone", "bounded" or "penalty", which says where the scale of a component lives.
        differentiable: whether `moves` says all of how a solution moves with the data.

    Example:
        >>> import jkr
        >>> jkr.cp.constraints.nonnegative().kind
        'cone'
    """

    kind: Kind = "cone"
    differentiable: ClassVar[bool] = False

    @abstractmethod
    def prox(self, y: Array, step: Array) -> Array:
        """argmin_Z ½‖Z − Y‖² + step·value(Z), or the point of the set that is nearest to Y."""

    def value(self, a: Array) -> Array:
        """What it adds to the objective, a real scalar; 0 for a set."""
        return jnp.zeros((), a.real.dtype)

    def start(self, a: Array, *, drawn: bool) -> Array:
        """A factor to start from, of one that was drawn at random, or given."""
        return a if self.kind == "penalty" else self.prox(a, jnp.ones((), a.real.dtype))

    def memory(self, a: Array) -> Any:
        """What `solve` keeps from sweep to sweep, before the first."""
        return jnp.zeros_like(a)

    def solve(self, G: Array, Y: Array, previous: Array, memory: Any) -> tuple[Array, Any]:
        """Least squares of one factor under the constraint, ½ tr(A G Aᴴ) − Re⟨Y, A⟩ + value(A).

        Args:
            G: the normal equations, (R, R), or one matrix a row, (I, R, R).
            Y: right-hand sides, (I, R): without the constraint A Gᵀ = Y.
            previous: the factor so far, (I, R).
            memory: of the sweep before.

        Returns:
            The factor (I, R), and what to keep for the next sweep.
        """
        return admm(self.prox, G, Y, previous, memory)

    def moves(self, a: Array) -> Array:
        """Which entries of a solution a small change of the data moves: a mask."""
        return jnp.ones(a.shape, bool)

    def at_bound(self, a: Array, slope: Array, curvature: Array) -> Array:
        """A factor near its solution, with entries that one Newton step would fix, fixed."""
        return a

    def residual(self, a: Array, slope: Array, step: Array) -> Array:
        """How far a factor is from being optimal, given the gradient: 0 where it is, (I, R)."""
        return (a - self.prox(a - step * slope, step)) / step


class Parametrised(Constraint):
    """A constraint that free parameters obey: one that `gcp` takes, too."""

    @abstractmethod
    def parameters(self, a: Array) -> Any:
        """Real arrays that an optimiser may move as it likes."""

    @abstractmethod
    def factor(self, parameters: Any) -> Array:
        """The factor of such parameters."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Free(Parametrised):
    """No constraint."""

    kind: ClassVar[Kind] = "free"
    differentiable: ClassVar[bool] = True

    def prox(self, y: Array, step: Array) -> Array:
        """Y itself."""
        return y

    def memory(self, a: Array) -> Any:
        """Nothing."""
        return ()

    def solve(self, G: Array, Y: Array, previous: Array, memory: Any) -> tuple[Array, Any]:
        """The solution of the normal equations; a row without any of them stays."""
        if G.ndim == 2:
            return psd_solve(G, Y.T, minimum_norm=False).T, memory
        empty = jnp.all(jnp.diagonal(G, axis1=1, axis2=2) == 0, axis=1)[:, None]
        return jnp.where(empty, previous, jax.vmap(psd_solve)(G, Y)), memory

    def parameters(self, a: Array) -> Any:
        """The factor; of a complex one the real and the imaginary part."""
        return (a.real, a.imag) if jnp.iscomplexobj(a) else a

    def factor(self, parameters: Any) -> Array:
        """The factor again."""
        return lax.complex(*parameters) if isinstance(parameters, tuple) else parameters

    def residual(self, a: Array, slope: Array, step: Array) -> Array:
        """The gradient."""
        return slope


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fixed(Constraint):
    """A factor that stays as it is."""

    factor: Array
    kind: ClassVar[Kind] = "fixed"
    differentiable: ClassVar[bool] = True

    def prox(self, y: Array, step: Array) -> Array:
        """The factor."""
        return self.factor

    def memory(self, a: Array) -> Any:
        """Nothing."""
        return ()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nonnegative(Parametrised):
    """A ≥ 0."""

    kind: ClassVar[Kind] = "cone"
    differentiable: ClassVar[bool] = True

    def prox(self, y: Array, step: Array) -> Array:
        """The positive part."""
        return jnp.maximum(y, 0)

    def start(self, a: Array, *, drawn: bool) -> Array:
        """The absolute values of a draw, the positive part of a given factor."""
        return jnp.abs(a) if drawn else jnp.maximum(a, 0)

    def memory(self, a: Array) -> Any:
        """Nothing."""
        return ()

    def solve(self, G: Array, Y: Array, previous: Array, memory: Any) -> tuple[Array, Any]:
        """HALS, which never makes the fit worse and leaves exact zeros."""
        return hals(G, Y, previous), memory

    def moves(self, a: Array) -> Array:
        """What is not held at zero."""
        return a != 0

    def parameters(self, a: Array) -> Any:
        """Square roots: A = B∘B; zeros, from which a square never moves, are lifted a little."""
        return jnp.sqrt(jnp.maximum(a, _ZERO * jnp.max(a)))

    def factor(self, parameters: Any) -> Array:
        """Their squares."""
        return parameters * parameters

    def at_bound(self, a: Array, slope: Array, curvature: Array) -> Array:
        """Zeros where a Newton step for the entry alone leads to the bound or beyond."""
        return jnp.where((slope > 0) & (a * curvature <= slope), 0, a)

    def residual(self, a: Array, slope: Array, step: Array) -> Array:
        """The gradient, but for what would leave the bound."""
        return jnp.where(a == 0, jnp.minimum(slope, 0), slope)


@partial(jax.tree_util.register_dataclass, data_fields=(), meta_fields=("axis",))
@dataclass(frozen=True)
class Simplex(Constraint):
    """A ≥ 0 with sums of one along an axis."""

    axis: int = 0
    kind: ClassVar[Kind] = "bounded"

    @partial(any_mesh, large=True)  # it sorts, which axes of an explicit mesh do not allow
    def prox(self, y: Array, step: Array) -> Array:
        """The nearest point of the simplex, column by column or row by row."""
        return nearest_simplex(y, self.axis)

    def start(self, a: Array, *, drawn: bool) -> Array:
        """Absolute values of a draw, in proportion; the projection of a given factor."""
        if not drawn:
            return super().start(a, drawn=drawn)
        sizes = jnp.abs(a)
        return sizes / jnp.sum(sizes, axis=self.axis, keepdims=True)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ball(Constraint):
    """Columns of at most that norm, within a cone.

    The nearest point of a cone and a ball is that of the cone, brought into the ball.
    """

    radius: Array
    cone: Constraint = field(default_factory=Free)
    kind: ClassVar[Kind] = "bounded"

    def prox(self, y: Array, step: Array) -> Array:
        """Longer columns, shortened."""
        return nearest_in_ball(self.cone.prox(y, step), self.radius)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class L1(Constraint):
    """weight·Σ|A| added to the objective."""

    weight: Array
    kind: ClassVar[Kind] = "penalty"

    def prox(self, y: Array, step: Array) -> Array:
        """Soft thresholding."""
        return soft_threshold(y, step * self.weight)

    def value(self, a: Array) -> Array:
        """weight·Σ|A|."""
        there = a != 0
        return self.weight * jnp.sum(jnp.where(there, jnp.abs(jnp.where(there, a, 1)), 0))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("operator", "function"),
    meta_fields=("kind",),
)
@dataclass(frozen=True)
class Proximal(Constraint):
    """A proximal operator of the user's own."""

    operator: Partial
    function: Partial | None
    kind: Kind

    def prox(self, y: Array, step: Array) -> Array:
        """As the user says."""
        return self.operator(y, step)

    def value(self, a: Array) -> Array:
        """As the user says; 0 if nothing was said."""
        return super().value(a) if self.function is None else self.function(a)


def nonnegative() -> Constraint:
    """A ≥ 0: what `nonnegative=` stands for, of one mode.

    Returns:
        Constraint, a cone. ALS solves it by HALS.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> bound = {2: jkr.cp.constraints.nonnegative()}
        >>> result = jkr.cp.als(x, 2, key=jax.random.key(1), constraints=bound)
        >>> bool((result.cp.factors[2] >= 0).all())
        True

    Source: [CP09].
    """
    return Nonnegative()


def simplex(axis: int = 0) -> Constraint:
    """A ≥ 0 with columns (axis=0) or rows (axis=1) that sum to one: shares, or mixtures.

    Args:
        axis: along which to sum, 0 or 1.

    Returns:
        Constraint, a bounded set.

    Raises:
        ValueError: an axis that is neither 0 nor 1.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.cp.constraints.simplex().prox(jnp.array([[0.5], [0.9]]), 1.0).ravel()
        Array([0.3, 0.7], dtype=float32)

    Source: [DSSC08].
    """
    return Simplex(_check.at_least("cp.constraints.simplex", "axis", axis, 0, below=2))


def ball(radius: ArrayLike = 1.0) -> Constraint:
    """Columns of norm at most a radius.

    Args:
        radius: a positive real scalar.

    Returns:
        Constraint, a bounded set.

    Raises:
        ValueError: a radius that is no real scalar, or not above 0.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.cp.constraints.ball(1.0).prox(jnp.array([[3.0], [4.0]]), 1.0).ravel()
        Array([0.6, 0.8], dtype=float32)

    Source: [PB14], section 6.5.1.
    """
    return Ball(_check.positive("cp.constraints.ball", "radius", radius))


def l1(weight: ArrayLike) -> Constraint:
    """weight·Σ|A| added to the objective: a factor with many zeros.

    Args:
        weight: a nonnegative real scalar, in the units of the data.

    Returns:
        Constraint, a penalty.

    Raises:
        ValueError: a weight that is no real scalar, or negative.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.cp.constraints.l1(1.0).prox(jnp.array([[3.0], [-0.5]]), 1.0).ravel()
        Array([ 2., -0.], dtype=float32)

    Source: [PB14], section 6.5.2.
    """
    return L1(_check.nonnegative_scalar("cp.constraints.l1", "weight", weight))


def prox(
    f: Callable[[Array, Array], Array],
    value: Callable[[Array], Array] | None = None,
    *,
    kind: Kind | None = None,
) -> Constraint:
    """A constraint of your own, from its proximal operator.

    Args:
        f: (factor (I_n, R), step) to a factor: argmin_Z ½‖Z − Y‖² + step·value(Z), or the nearest
            point of a set. What it depends on beside them goes into a `jax.tree_util.Partial`, if
            it is to be traced or differentiated.
        value: what is added to the objective, of a penalty; a function of the factor to a number.
        kind: "cone", "bounded" or "penalty"; a penalty with a value, a cone without one, if not
            given.

    Returns:
        Constraint.

    Raises:
        ValueError: functions that are none, a kind that is not known, a penalty without value.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> increasing = jkr.cp.constraints.prox(lambda a, step: jnp.sort(a, axis=0))
        >>> increasing.kind
        'cone'

    Source: [PB14].
    """
    name = "cp.constraints.prox"
    _check.function(name, "f", f)
    if value is not None:
        _check.function(name, "value", value)
    chosen = kind if kind is not None else ("cone" if value is None else "penalty")
    _check.one_of(name, "kind", chosen, ("cone", "bounded", "penalty"))
    _check.value_of_penalty(name, chosen, value)
    function = None if value is None else _as_partial(value)
    return Proximal(_as_partial(f), function, chosen)


def _as_partial(f: Callable) -> Partial:
    """A function as a pytree: what a Partial binds are its leaves."""
    return f if isinstance(f, Partial) else Partial(f)
