"""Alternating least squares: one factor at a time, its normal equations solved exactly.

With the other factors fixed, min ‖W½∘(T₍ₙ₎ − B Kᵀ)‖, K = ∗_{m≠n} U_m with U unit columns, and B the
factor of mode n with the weights, is solved by G Bᵀ = Yᵀ, where Y = (W∘T)₍ₙ₎K̄ is an MTTKRP and
G = KᴴWK, which is ∘_{m≠n} U_mᴴU_m (I10ᴴ) for all rows, or under entry weights one a row (J3ᴴ). Both
come from one pass over the tensor, which modes share.

T is divided by its largest entry, though never in memory: its MTTKRPs are. The penalty ½ l2 Σ‖Aₙ‖²
is on F factors between which the weights are spread evenly: with D = diag(λ^{(F−1)/F}), B = A D and
(D G D + l2 I) Aᵀ = D Yᵀ.

Source: [KB09], figure 3.3; entry weights: [TB05]; sharing passes: [PTC13]; constraints: [HSL16];
sweeps that begin ahead: [MYD20].
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jkr import _check
from jkr._linalg._hals import hals
from jkr._linalg._norms import square_root, times, unit_columns, unit_columns_in_range
from jkr._linalg._psd import trusted_solve
from jkr._linalg._small import framed, gram, row_products
from jkr.cp import losses
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._objective._objective import Objective
from jkr.cp._solvers._algorithm import SMALL, Algorithm, Start, TrustingStep
from jkr.cp._solvers._extrapolate import Momentum, at_rest, extrapolated
from jkr.tensors._tensor import GOOD, Pass, Scale


class ALSState(NamedTuple):
    """Between two sweeps; a pytree of arrays that can be saved and resumed.

    Attributes:
        cp: the model in the units of the data, a CPTensor (I_1, …, I_N) of rank R: unit columns,
            nonnegative weights, fixed factors as given. For a float16 or bfloat16 tensor it is in
            float32.
        fit: its fit, from ‖T‖² − 2 Re⟨M, T⟩ + ‖M‖², a real scalar; −inf before the first sweep, NaN
            where something was not finite.
        change: `|Δfit|` of the last sweep that was taken, a real scalar; inf before the first.
        iteration: sweeps done, those not taken included, an integer scalar.
        scale: how large the data are, a `jkr.tensors.Scale`.
        grams: UₙᴴUₙ of each factor, its columns of unit norm where they bear scale.
        memory: what constraints keep from sweep to sweep.
        momentum: what lets the next sweep begin ahead; None where sweeps are plain.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.ALS().init(x, 2, key=jax.random.key(1))
        >>> state.cp.shape, int(state.iteration), float(state.fit)
        ((4, 5, 6), 0, -inf)

    Source: [KB09], figure 3.3.
    """

    cp: CPTensor
    fit: Array
    change: Array
    iteration: Array
    scale: Scale
    grams: tuple[Array, ...]
    memory: tuple[Any, ...]
    momentum: Momentum | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Alternating(Algorithm):
    """Alternating least squares.

    Attributes:
        accelerated: whether sweeps begin ahead, under constraints and entry weights.
    """

    accelerated: bool = field(default=False, metadata={"static": True})

    title: ClassVar[str] = "ALS"
    state: ClassVar[type] = ALSState
    watches: ClassVar[str] = "fit"

    def check(self, name: str, objective: Objective) -> None:
        """Least squares only."""
        for term in objective.terms:
            is_gaussian = term.loss == losses.gaussian
            penalty = objective.penalty
            _check.least_squares(name, term.loss.name, is_gaussian=is_gaussian, penalty=penalty)

    def init(self, objective: Objective, start: Start) -> ALSState:
        """The state before the first sweep."""
        cp, scale, _ = start
        fit = jnp.where(scale.status == GOOD, -jnp.inf, jnp.nan).astype(scale.norm.dtype)
        grams = tuple(gram(u, u) for u in _unit_fixed(objective, cp)[1])
        pairs = zip(objective.constraints, cp.factors, strict=True)
        memory = tuple(c.memory(a) for c, a in pairs)
        momentum = at_rest(cp, scale) if self._extrapolates(objective) else None
        return ALSState(
            cp=cp,
            fit=fit,
            change=-fit,
            iteration=jnp.zeros((), int),
            scale=scale,
            grams=grams,
            memory=memory,
            momentum=momentum,
        )

    def step(self, objective: Objective, state: ALSState) -> ALSState:
        """One sweep, from ahead where that pays."""
        if not self._extrapolates(objective):
            return self._sweep(objective, state)
        return extrapolated(self._sweep, objective, state)

    def trusting_step(self, objective: Objective) -> TrustingStep | None:
        """A sweep that looks at its normal equations once, at its end.

        To look at each of them costs as much as to solve there.
        """
        if self._extrapolates(objective):
            return None

        def step(state: ALSState) -> tuple[ALSState, Array]:
            after, regular = _after_a_sweep(objective, state, _trusting)
            return after, regular & ~jnp.isnan(after.fit)

        return step

    def _extrapolates(self, objective: Objective) -> bool:
        """Not in plain least squares, whose sweeps are the textbook's: `nls` is for slow ones."""
        (term,) = objective.terms
        plain = all(objective.constraints[n].kind == "free" for n in objective.free)
        return self.accelerated and not (plain and term.by_grams)

    def _sweep(self, objective: Objective, state: ALSState) -> ALSState:
        """One that is not finite is not taken."""
        after, _ = _after_a_sweep(objective, state, _with_care)
        kept = state._replace(fit=after.fit, change=after.change, iteration=after.iteration)
        return jax.tree.map(partial(jnp.where, jnp.isnan(after.fit)), kept, after)


# A constraint, normal equations, right-hand sides (I, R), the factor so far and what is kept from
# sweep to sweep, to the factor, what to keep, and whether the equations were regular enough.
Solve = Callable[[Any, Array, Array, Array, Any], tuple[Array, Any, Array]]


def _with_care(
    constraint: Any, G: Array, Y: Array, previous: Array, memory: Any
) -> tuple[Array, Any, Array]:
    return *constraint.solve(G, Y, previous, memory), jnp.ones((), bool)


def _trusting(
    constraint: Any, G: Array, Y: Array, previous: Array, memory: Any
) -> tuple[Array, Any, Array]:
    if constraint.kind != "free" or G.ndim > 2:
        return _with_care(constraint, G, Y, previous, memory)
    A, regular = trusted_solve(G, Y.T)
    return A.T, memory, regular


def _after_a_sweep(objective: Objective, state: ALSState, solve: Solve) -> tuple[ALSState, Array]:
    """Every free factor in turn; the fit from what the last update leaves at hand.

    And whether all normal equations were regular enough.
    """
    problem, unit = objective.in_units(state.scale), objective.unit(state.scale)
    frozen, factors = _unit_fixed(objective, state.cp)
    weights = state.cp.weights * (frozen / unit).astype(state.cp.weights.dtype)
    grams, memory, regular = list(state.grams), list(state.memory), []
    solution = Y = G = jnp.zeros(())
    for part, modes in _runs(problem):
        read = part.contract(_conj(factors))
        for n in modes:
            Y = _scaled(problem, part.mttkrp(read, _conj(factors), n), data=True)
            G = _scaled(problem, part.gram(read, factors, grams, n))
            D, previous = _spread(problem, n, weights, factors[n], frozen, state.scale)
            H = problem.with_l2(n, framed(G, D))
            A, memory[n], good = solve(
                problem.constraints[n], H, Y * D[None, :], previous, memory[n]
            )
            regular.append(good)
            weights, factors[n] = _placed(problem, n, A, D, factors[n], G, Y, state.scale)
            grams[n] = gram(factors[n], factors[n])
            solution = factors[n] * weights[None, :]
    fit = _fit_of_last(solution, G, Y, objective, state.scale)
    weights = weights * (unit / jnp.where(frozen > 0, frozen, 1)).astype(weights.dtype)
    cp = CPTensor(weights, objective.factors(tuple(factors[n] for n in objective.free)))
    after = state._replace(
        cp=cp,
        fit=fit,
        change=jnp.abs(fit - state.fit),
        iteration=state.iteration + 1,
        grams=tuple(grams),
        memory=tuple(memory),
    )
    return after, jnp.all(jnp.stack(regular))


def _runs(problem: Objective) -> Iterator[tuple[Pass, list[int]]]:
    """Passes with the free modes that they serve, as often as the order of the modes asks for."""
    (term,) = problem.terms
    passes = term.tensor.passes(problem.precision)
    serves = {n: part for part in passes for n in part.modes}
    run: list[int] = []
    for n, following in zip(problem.free, (*problem.free[1:], None), strict=True):
        run.append(n)
        if following is None or serves[following] is not serves[n]:
            yield serves[n], run
            run = []


def _conj(factors: list[Array]) -> tuple[Array, ...]:
    return tuple(a.conj() for a in factors)


def _scaled(problem: Objective, amount: Array, *, data: bool = False) -> Array:
    """An MTTKRP (of the data), or a Gram, in the units of the problem."""
    (term,) = problem.terms
    if data and term.unit is not None:
        amount = times(amount, 1 / term.unit)
    return term.times_weight(amount)


def _unit_fixed(objective: Objective, cp: CPTensor) -> tuple[Array, list[Array]]:
    """The factors, fixed ones with unit columns, and the product of the norms those had, (R,)."""
    frozen, factors = jnp.ones(cp.rank, cp.weights.real.dtype), list(cp.factors)
    for n in range(len(factors)):
        if n not in objective.free:
            norms, factors[n] = unit_columns(factors[n], factors[n])
            frozen = frozen * norms.real
    return frozen, factors


def _spread(
    problem: Objective, n: int, weights: Array, factor: Array, frozen: Array, scale: Scale
) -> tuple[Array, Array]:
    """D, (R,), what multiplies the factor that is solved for, and that factor so far.

    A bearer of scale is solved for with its share of the weights, under a penalty; all of them
    without. Where a component vanished nothing would ever bring it back: it is taken for a small
    one.
    """
    if problem.literal:
        return weights, factor
    alive = jnp.maximum(weights.real, SMALL * scale.norm)
    if n not in problem.bearers:
        return alive.astype(weights.dtype), factor
    bearers = len(problem.bearers)
    each = (alive / jnp.where(frozen > 0, frozen, 1)) ** (1 / bearers)
    D = jnp.where(problem.l2 > 0, frozen * each ** (bearers - 1), 1).astype(weights.dtype)
    return D, factor * (jnp.where(D == 0, 0, weights / jnp.where(D == 0, 1, D)))[None, :]


def _placed(
    problem: Objective,
    n: int,
    A: Array,
    D: Array,
    previous: Array,
    G: Array,
    Y: Array,
    scale: Scale,
) -> tuple[Array, Array]:
    """Weights and factor after a solve, by the kind of the constraint."""
    if problem.literal:
        return D, A
    if n in problem.bearers:
        return unit_columns_in_range(A * D[None, :], previous)
    eps = float(jnp.finfo(scale.norm.dtype).eps)
    # The factor stays as constrained, and λ ≥ 0 is a least-squares problem of its own. A column
    # that was brought to zero, where no λ makes anything of its rounding, becomes what it was with
    # λ = 0, as in a cone, so that the other factors can turn it round.
    diagonal = jnp.diagonal(G, axis1=-2, axis2=-1).real.reshape(-1, A.shape[1])
    size = D.real * jnp.sqrt(jnp.sum(diagonal * (A * A.conj()).real, axis=0))
    there = size > eps * scale.norm
    revived = jnp.where(there[None, :], A, previous)
    off = problem.constraints[n].prox(revived, jnp.ones_like(scale.norm)) - revived
    obeys = jnp.max(jnp.abs(off)) <= 10 * eps * jnp.max(jnp.abs(revived))
    A = jnp.where(obeys, revived, A)
    H = (
        gram(A, A) * G
        if G.ndim == 2
        else jnp.einsum("ir,irs,is->rs", A.conj(), G, A, precision="highest")
    )
    y = jnp.sum(A.conj() * Y, axis=0).real
    return hals(H.real, y[None, :], jnp.where(there, D.real, 0)[None, :])[0].astype(D.dtype), A


def _fit_of_last(B: Array, G: Array, Y: Array, objective: Objective, scale: Scale) -> Array:
    """1 − ‖T − M‖/‖T‖ from ‖T‖² − 2 Re⟨M, T⟩ + ‖M‖², B being the last factor with the weights."""
    whole = objective.norm(scale)
    squared = whole**2 + jnp.sum((B.conj() * (row_products(B, G) - 2 * Y)).real)
    fit = 1 - square_root(squared) / jnp.where(whole > 0, whole, 1)
    return jnp.where(jnp.isfinite(fit), fit, jnp.nan)
