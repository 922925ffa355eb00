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
"""

from collections.abc import Sequence
from math import prod

_WRITE, _FORM, _REDUCE_LEFT, _REDUCE_RIGHT = 1, 2, 3, 1


def split_cost(shape: Sequence[int], s: int) -> int:
    """Memory passes over L and M (in entries a component) with the split after s modes."""
    left, right = shape[:s], shape[s:]
    cost = 0
    for group, reduce in ((left, _REDUCE_LEFT), (right, _REDUCE_RIGHT)):
        several = len(group) > 1
        cost += prod(group) * (_WRITE + several * (_FORM + reduce * len(group)))
    return cost


def best_split(shape: Sequence[int]) -> int:
    """The number of modes in the left group, the same for all modes of one tensor."""
    return min(range(1, len(shape)), key=lambda s: split_cost(shape, s))
