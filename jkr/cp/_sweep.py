"""One sweep of alternating least squares, and what it needs to know of the data.

With the other factors fixed, min ‖T₍ₙ₎ − B Kᵀ‖, K = ∗_{m≠n} U_m with U unit columns, and B the
factor of mode n with the weights, is solved by G Bᵀ = Yᵀ, where Y = T₍ₙ₎K̄ is an MTTKRP and
G = KᴴK = ∘_{m≠n} U_mᴴU_m (I10ᴴ). Under entry weights every row of B has a Gram of its own (J3ᴴ).
Nothing of K's size is formed, and modes that share a pass over the tensor share it (`groups`).

T is divided by its largest entry, though never in memory: its MTTKRPs are. The penalty ½ l2 Σ‖Aₙ‖²
is on F free factors between which the weights are spread evenly: with D = diag(λ^{(F−1)/F}),
B = A D and (D G D + l2 I) Aᵀ = D Yᵀ.
"""

from functools import partial
from itertools import groupby
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr._contractions._passes import groups
from jkr._linalg._norms import square_root, unit_columns
from jkr._linalg._psd import psd_solve
from jkr._linalg._small import gram, matmul, pair_columns, product_of_others, square
from jkr.cp._data import Options, largest_weight, observed, unit_weights
from jkr.cp._model import CPTensor
from jkr.cp._nonnegative import hals

_SMALL = 1e-4  # of the norm of the data


class ALSState(NamedTuple):
    """Between two sweeps; a pytree of arrays that can be saved and resumed.

    Attributes:
        cp: the model in the units of the data, a CPTensor (I_1, …, I_N) of rank R: unit columns,
            nonnegative weights, fixed factors as given. For a float16 or bfloat16 tensor it is in
            float32.
        fit: its fit, from ‖T‖² − 2 Re⟨M, T⟩ + ‖M‖², a real scalar; −inf before the first sweep, NaN
            where something was not finite.
        change: `|Δfit|` of the last sweep, a real scalar; inf before the first.
        iteration: sweeps done, an integer scalar.
        scale: largest absolute value in the tensor, where it is observed, a real scalar.
        norm: ‖W½∘T‖ in units of the scale and of the largest entry weight, a real scalar.

    Example:
        >>> import jax, jkr
        >>> x = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2).full()
        >>> state = jkr.cp.als_init(x, 2, key=jax.random.key(1))
        >>> state.cp.shape, int(state.iteration), float(state.fit)
        ((4, 5, 6), 0, -inf)

    Source: as `als`; Kolda & Bader, SIAM Review 51 (2009) 455–500, doi:10.1137/07070111X, figure
    3.3.
    """

    cp: CPTensor
    fit: Array
    change: Array
    iteration: Array
    scale: Array
    norm: Array


class Data(NamedTuple):
    """What every sweep reads.

    Attributes:
        x: W∘T.
        w: W in units of its largest.
        l2: in units of the scaled data.
        scale: as in `ALSState`.
        norm: as there.
    """

    x: Array
    w: Array | None
    l2: Array
    scale: Array
    norm: Array


def prepared(
    x: Array, w: Array | None, l2: Array, scale: Array, norm: Array, options: Options
) -> Data:
    """What every sweep reads, from the tensor, its weights, the penalty and what was `measured`."""
    # T = scale·T' has factors scale^{1/F}·A', and the loss is divided by scale².
    unit = scale ** (2 / len(options.free) - 2)
    if w is not None:
        unit = unit / largest_weight(w)
        x, w = observed(x, w), unit_weights(w).astype(x.dtype)
        x = w * x
    # A negative penalty, which only a traced one can be, is flagged; one beyond the dtype is as
    # good as infinite.
    most = float(jnp.finfo(l2.dtype).max)
    l2 = jnp.minimum(jnp.where(l2 >= 0, l2, jnp.nan) * jnp.minimum(unit, most), most**0.5)
    return Data(x, w, l2, scale, norm)


class Inner(NamedTuple):
    """A state as the sweep keeps it: in units of the scale, all columns of unit norm.

    Attributes:
        weights: (R,).
        factors: unit columns, those of fixed modes too.
        grams: UₙᴴUₙ of each.
        frozen: product of the norms that the columns of the fixed modes were given with, (R,).
        fit: as in `ALSState`, and so are the others.
        change: as there.
        iteration: as there.
    """

    weights: Array
    factors: tuple[Array, ...]
    grams: tuple[Array, ...]
    frozen: Array
    fit: Array
    change: Array
    iteration: Array


def inner(state: ALSState, options: Options) -> Inner:
    """A state's inner form."""
    frozen, units = jnp.ones(state.cp.rank, state.scale.dtype), []
    for n, a in enumerate(state.cp.factors):
        norms, unit = unit_columns(a, a)
        frozen = frozen if n in options.free else frozen * norms.real
        units.append(unit)
    weights = state.cp.weights * (frozen / state.scale).astype(state.cp.weights.dtype)
    grams = tuple(gram(a, a) for a in units)
    rest = state.fit, state.change, state.iteration
    return Inner(weights, tuple(units), grams, frozen, *rest)


def outer(after: Inner, state: ALSState, options: Options) -> ALSState:
    """The state, with the fixed factors as they were given, that an inner form stands for."""
    back = state.scale / jnp.where(after.frozen > 0, after.frozen, 1)
    factors = tuple(
        a if n in options.free else state.cp.factors[n] for n, a in enumerate(after.factors)
    )
    cp = CPTensor(after.weights * back.astype(after.weights.dtype), factors)
    return ALSState(cp, after.fit, after.change, after.iteration, state.scale, state.norm)


def sweep(data: Data, state: Inner, options: Options) -> Inner:
    """Every free factor in turn; the fit from what the last update leaves at hand."""
    x, w, l2, scale, norm = data
    weights, factors, grams = state.weights, list(state.factors), list(state.grams)
    group_of = {n: group for group in groups(x.shape) for n in group.modes}
    conjugate = [a.conj() for a in factors]
    pairs = [] if w is None else [pair_columns(a) for a in factors]
    y = G = solution = jnp.zeros(())
    for group, modes in groupby(options.free, key=group_of.__getitem__):
        pass_x = group.contract(x, conjugate, precision=options.precision)
        pass_w = w if w is None else group.contract(w, pairs, precision=options.precision)
        for n in modes:
            y = group.finish(pass_x, conjugate, mode=n) / scale.astype(x.dtype)
            if w is None:
                G = product_of_others(grams, n)
            else:
                G = square(group.finish(pass_w, pairs, mode=n), weights.shape[0])
            spread = _spread(weights, state.frozen, data, options)
            previous = factors[n] * weights[None, :]
            solution = _update(G, y, previous, spread, l2, nonnegative=n in options.nonnegative)
            weights, factors[n] = _renormed(solution, factors[n])
            grams[n], conjugate[n] = gram(factors[n], factors[n]), factors[n].conj()
            if w is not None:
                pairs[n] = pair_columns(factors[n])
    fitted = matmul(solution, G.T) if w is None else jnp.sum(G * solution[:, None, :], axis=-1)
    squared = norm**2 + jnp.sum((solution.conj() * (fitted - 2 * y)).real)
    fit = 1 - square_root(squared) / jnp.where(norm > 0, norm, 1)
    # A sweep that is not finite is not taken.
    fit = jnp.where(jnp.isfinite(fit), fit, jnp.nan)
    after = weights, tuple(factors), tuple(grams)
    before = state.weights, state.factors, state.grams
    weights, factors, grams = jax.tree.map(partial(jnp.where, jnp.isnan(fit)), before, after)
    change, done = jnp.abs(fit - state.fit), state.iteration + 1
    return Inner(weights, factors, grams, state.frozen, fit, change, done)


def _spread(weights: Array, frozen: Array, data: Data, options: Options) -> Array:
    """D, (R,): what the other factors bear of a component's weight; 1 without a penalty.

    Where a component vanished, nothing would ever bring it back: it is taken for a small one.
    """
    free = len(options.free)
    alive = jnp.maximum(weights.real, _SMALL * data.norm)
    each = (alive / jnp.where(frozen > 0, frozen, 1)) ** (1 / free)
    return jnp.where(data.l2 > 0, frozen * each ** (free - 1), 1).astype(weights.dtype)


def _update(
    G: Array, y: Array, previous: Array, D: Array, l2: Array, *, nonnegative: bool
) -> Array:
    """B from G (R, R) or one a row (I, R, R), Y and D."""
    penalty, D = l2.astype(G.dtype) * jnp.eye(len(D), dtype=G.dtype), D[None, :]
    shape = (1,) * (G.ndim - 2) + penalty.shape
    H = G * (D.T * D).reshape(shape) + penalty.reshape(shape)
    start = jnp.where(D == 0, 0, previous / jnp.where(D == 0, 1, D))
    if nonnegative:
        return hals(H, y * D, start) * D
    if G.ndim == 2:
        return psd_solve(H, (y * D).T, minimum_norm=False).T * D
    # A row with nothing observed has no equations: it stays.
    empty = jnp.all(jnp.diagonal(H, axis1=1, axis2=2) == 0, axis=1)[:, None]
    return jnp.where(empty, previous, jax.vmap(psd_solve)(H, y * D) * D)


def _renormed(a: Array, previous: Array) -> tuple[Array, Array]:
    """As `unit_columns`, for columns whose squares are in range."""
    norms = jnp.sqrt(jnp.sum((a * a.conj()).real, axis=0))
    columns = a * (1 / jnp.where(norms == 0, 1, norms))[None, :].astype(a.dtype)
    columns = jnp.where(norms[None, :] == 0, previous, columns)
    # Without the barrier every loop that reads the columns would divide anew.
    return lax.optimization_barrier((norms.astype(a.dtype), columns))
