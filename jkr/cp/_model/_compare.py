"""Comparing CP models: how alike their components are, which belongs to which, and with what sign.

In all modes, or in some: models of the halves of a data set differ in the length of the mode that
was halved. All are functions of the normalised factors, so that scales and the order of components
do not matter; none forms a tensor.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from jkr import _check
from jkr._linalg._dtypes import promoted
from jkr._linalg._loops import by_others
from jkr._linalg._small import gram
from jkr._mesh import any_mesh
from jkr._products._hadamard import hadamard
from jkr.cp._model._cptensor import CPTensor, checked, phase

Modes = int | Sequence[int] | None


@any_mesh
def congruence(a: CPTensor, b: CPTensor, *, modes: Modes = None) -> Array:
    """Tucker congruence of every component of a with every one of b, ∏ₙ cos(aᵣ⁽ⁿ⁾, bₛ⁽ⁿ⁾).

    Entry (r, s) is the cosine between the rank-one tensors r of a and s of b, weights left out;
    0 where either vanishes. Complex models: ∏ₙ aᵣ⁽ⁿ⁾ᴴbₛ⁽ⁿ⁾ of unit columns.

    Args:
        a: CPTensor (I_1, …, I_N) of rank R.
        b: CPTensor of the same shape and of rank S.
        modes: that count, an int or several; all of them, if not given. The others may differ in
            size.

    Returns:
        Array (R, S), entries of absolute value at most 1.

    Raises:
        ValueError: what is no CP model, models of different shape, or modes that they do not have.

    Example:
        >>> import jax, jkr
        >>> a = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> jkr.cp.congruence(a, a).shape
        (2, 2)

    Source: law I10ᴴ; Tucker, A method for synthesis of factor analysis studies (1951); [LT06].
    """
    return _congruence(*_compared("cp.congruence", a, b, modes))


@partial(jax.jit, static_argnums=2)
def _congruence(a: CPTensor, b: CPTensor, named: tuple[int, ...]) -> Array:
    return hadamard(*_cosines(a, b, named))


@any_mesh
def factor_match_score(a: CPTensor, b: CPTensor, *, modes: Modes = None) -> Array:
    """How alike two models are: mean absolute congruence of matched components, in [0, 1].

    Components are matched one to one so that the score is largest (an assignment problem); where
    the ranks differ, the components of the smaller model are matched. Weights do not count.

    Args:
        a: CPTensor (I_1, …, I_N).
        b: CPTensor of the same shape; its rank may differ.
        modes: that count, an int or several; all of them, if not given. The others may differ in
            size.

    Returns:
        Real scalar; 1 for equal components in any order, scale and (paired) sign.

    Raises:
        ValueError: what is no CP model, models of different shape, or modes that they do not have.

    Example:
        >>> import jax, jkr
        >>> a = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> round(float(jkr.cp.factor_match_score(a, a)), 4)
        1.0

    Source: [ADKM11] (without its penalty on weights).
    """
    return _score(*_compared("cp.factor_match_score", a, b, modes))


@partial(jax.jit, static_argnums=2)
def _score(a: CPTensor, b: CPTensor, named: tuple[int, ...]) -> Array:
    alike = jnp.abs(_congruence(a, b, named))
    rows, columns = _match(alike)
    return jnp.clip(jnp.mean(alike[rows, columns]), 0, 1)


@any_mesh
def align(a: CPTensor, reference: CPTensor, *, modes: Modes = None) -> CPTensor:
    """The same tensor as a, its components in the order and with the signs of a reference.

    Components are permuted to the best one-to-one match and their columns' signs (phases) turned to
    the reference's, in pairs only: scales and `full()` stay. Where the signs of all modes together
    cannot be turned, the mode that resembles the reference least bears the rest, or the first of
    those that do not count. Components of a that find no match come last, in their order.

    Args:
        a: CPTensor (I_1, …, I_N) to be aligned.
        reference: CPTensor of the same shape; its rank may differ.
        modes: that count, an int or several; all of them, if not given. The others may differ in
            size.

    Returns:
        CPTensor of the shape, rank and scales of a.

    Raises:
        ValueError: what is no CP model, models of different shape, or modes that they do not have.

    Example:
        >>> import jax, jax.numpy as jnp, jkr
        >>> a = jkr.cp.random(jax.random.key(0), (4, 5, 6), 2)
        >>> turned = jkr.cp.CPTensor(a.weights, tuple(f[:, ::-1] for f in a.factors))
        >>> bool(jnp.allclose(jkr.cp.align(turned, a).factors[0], a.factors[0]))
        True

    Source: as `factor_match_score`, for the match; law I4, for signs that move between modes.
    """
    return _aligned(*_compared("cp.align", a, reference, modes))


@partial(jax.jit, static_argnums=2)
def _aligned(a: CPTensor, reference: CPTensor, named: tuple[int, ...]) -> CPTensor:
    weights, factors = a
    cosines = jnp.stack(_cosines(a, reference, named))
    rows, columns = _match(jnp.abs(jnp.prod(cosines, axis=0)))
    rank, theirs = cosines.shape[1:]
    partner = jnp.full(rank, theirs, columns.dtype).at[rows].set(columns)
    order = jnp.argsort(partner, stable=True)
    matched = partner[order] < theirs
    along = cosines[:, order, jnp.minimum(partner[order], theirs - 1)]
    turn = jnp.where(matched, phase(along), 1)
    rest = jnp.prod(turn, axis=0).conj()
    others = [n for n in range(len(factors)) if n not in named]
    least = jnp.asarray(named)[jnp.argmin(jnp.abs(along), axis=0)]
    bearer = jnp.full_like(least, others[0]) if others else least
    turns = dict(zip(named, turn, strict=True))
    turned = []
    for n, f in enumerate(factors):
        mine = turns.get(n, jnp.ones_like(rest))
        mine = jnp.where(bearer == n, mine * rest, mine)
        turned.append(f[:, order] * mine.astype(f.dtype)[None, :])
    return CPTensor(weights[order], tuple(turned))


def _compared(
    name: str, a: CPTensor, b: CPTensor, modes: Modes
) -> tuple[CPTensor, CPTensor, tuple[int, ...]]:
    """Two models, checked, and the modes that count."""
    one, other = (CPTensor(*checked(name, model)) for model in (a, b))
    return one, other, _check.compared_modes(name, modes, one.shape, other.shape)


def _cosines(a: CPTensor, b: CPTensor, named: tuple[int, ...]) -> list[Array]:
    """Unit columns' aᵣᴴbₛ, (R, S), of each of these modes."""
    one, other = a.normalize().factors, b.normalize().factors
    return [gram(*promoted(one[n], other[n])) for n in named]


def _match(alike: Array) -> tuple[Array, Array]:
    """Rows and columns of the one-to-one match with the largest sum."""
    from optax.assignment import hungarian_algorithm  # here, because it costs import time

    cost = -lax.stop_gradient(alike).astype(jnp.result_type(float))
    # It promotes dtypes and ranks, which a user may have forbidden.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return by_others(hungarian_algorithm, cost)
