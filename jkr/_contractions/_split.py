"""Where to split the modes of a tensor in two groups: a cost model of both stages.

Contracting X (I_1, …, I_N) with factors goes by a group of modes at a time. With the split s,
L = ∏_{n<s} I_n and M = ∏_{n≥s} I_n, and X seen as an L×M matrix,

    left partial    X · K_right   L×R, serves every mode of the left group,
    right partial   K_leftᵀ · X   R×M, serves every mode of the right group,

and a second stage contracts a partial with the rest of its group. Reading X costs the same
whatever the split, so what differs is R times the sum of these memory passes:

- over L, writing the left partial, and over M the right one;
- over M, forming K_right and reading it back (over L: K_left), where a group has several modes;
- over L or M, one read a mode of that group by its second stage; the left partial has its
  components last, where reading costs about three times as much.

Where one mode n is long and stands between short ones, both groups of any split are: L or M holds
it. Contracted slice by slice, X_p (I_n × S) for each of the P = ∏_{m<n} I_m indices p before it,
S = ∏_{m>n} I_m, neither is formed: what the slices cost is

- P·I_n twice, adding to the sum (I_n, R) that stays in a cache,
- P·S for the partial of the other modes, and one read a mode by its second stage,
- the start of each of the P turns of a loop.

Those are a CPU's costs, and what decides which modes share a pass. On an accelerator a matrix
product of few rows and a long inner dimension starves: with 1000 rows and 32 columns it reads at a
third of the bandwidth (H100). There fewer modes are contracted by the product, often one, and the
rest of their group in a second stage, by multiplication and summing (`product_ends`).
"""

from collections.abc import Sequence
from math import prod

_WRITE, _FORM, _REDUCE_LEFT, _REDUCE_RIGHT = 1, 2, 3, 1
_TURN = 2000
# On an accelerator: entries whose reading takes no longer than a launch; rows below which a product
# starves, by how much, and a usual rank.
QUICK, _ROWS, _STARVED, _RANK = 1 << 20, 1 << 14, 3, 32


def split_cost(shape: Sequence[int], s: int) -> int:
    """Memory passes over L and M (in entries a component) with the split after s modes."""
    left, right = shape[:s], shape[s:]
    cost = 0
    for group, reduce in ((left, _REDUCE_LEFT), (right, _REDUCE_RIGHT)):
        several = len(group) > 1
        cost += prod(group) * (_WRITE + several * (_FORM + reduce * len(group)))
    return cost


def best_split(shape: Sequence[int]) -> int:
    """The number of modes in the left group, the same for all modes of one tensor.

    Symbolic dimensions (`jax.export`) cannot be compared: half of the modes, then.
    """
    if not are_numbers(shape):
        return (len(shape) + 1) // 2
    return min(range(1, len(shape)), key=lambda s: split_cost(shape, s))


def are_numbers(shape: Sequence[int]) -> bool:
    """Whether all dimensions are known, none of them symbolic."""
    return all(isinstance(dim, int) for dim in shape)


def product_ends(shape: Sequence[int], s: int) -> int:
    """The t ≥ s with modes t and later contracted by a matrix product on an accelerator.

    Modes s to t are left to a second stage, which reads what the product wrote.
    """
    if not are_numbers(shape) or prod(shape) <= QUICK:
        return s
    return min(range(s, len(shape)), key=lambda t: _product_cost(shape, s, t))


def _product_cost(shape: Sequence[int], s: int, t: int) -> int:
    """What the product reads, forms and writes, and the second stage reads, in entries."""
    rows, columns = prod(shape[:t]), prod(shape[t:])
    read = rows * columns * (_STARVED if rows < _ROWS else 1)
    formed = columns * _FORM if len(shape) - t > 1 else 0
    return read + _RANK * (formed + rows * (_WRITE + (t > s)))


def long_middle(shape: Sequence[int]) -> int | None:
    """The mode about which to contract slice by slice, if that costs less than the best split."""
    if len(shape) < 3 or not are_numbers(shape):
        return None
    mode = max(range(1, len(shape) - 1), key=lambda n: shape[n])
    sliced = _slices_cost(shape, mode)
    return mode if sliced < split_cost(shape, best_split(shape)) else None


def _slices_cost(shape: Sequence[int], n: int) -> int:
    """Memory passes (in entries a component) slice by slice about mode n."""
    before, others = prod(shape[:n]), prod(shape) // max(shape[n], 1)
    return before * (2 * shape[n] + _TURN) + others * (_WRITE + _REDUCE_RIGHT * (len(shape) - 1))
