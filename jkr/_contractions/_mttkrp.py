"""MTTKRP of a dense array, with its rule (R2): what the contractions of this room build on.

Yₙ = X₍ₙ₎(∗_{m≠n} A_m). The modes are split in two groups, one matrix product contracts X with the
group that n is not in, and a second stage, small, contracts the rest (`_partial`). The split is
the same for all modes of one tensor (`_split`), so that all N of them cost two passes over X: in
`mttkrps` explicitly, and by common-subexpression elimination where `mttkrp` is called for several
modes under one `jit`. A tensor with one long mode between short ones goes slice by slice instead
(`_slices`).

Saved for the derivative are only the arguments: R2 is these checkpoints. They recompute the partial
contractions where they are needed again (a compiler that sees both copies, outside a scan, still
shares them: prevent_cse=False).
"""

from collections.abc import Sequence
from functools import partial

import jax
from jax import Array

from jkr._contractions._passes import all_modes, one_mode
from jkr._linalg._dtypes import Precision


@partial(jax.jit, static_argnums=(2, 3, 4))
def mttkrp(
    x: Array, factors: Sequence[Array], n: int, precision: Precision = None, sharded: bool = False
) -> Array:
    """X₍ₙ₎(∗_{m≠n} A_m), (I_n, R), of arrays of one dtype."""
    kernel = partial(one_mode, mode=n, precision=precision, sharded=sharded)
    return jax.checkpoint(kernel, prevent_cse=False)(x, tuple(factors))


@partial(jax.jit, static_argnums=(2, 3))
def mttkrps(
    x: Array, factors: Sequence[Array], precision: Precision = None, sharded: bool = False
) -> tuple[Array, ...]:
    """Those of all modes, by two passes over X."""
    kernel = partial(all_modes, precision=precision, sharded=sharded)
    return jax.checkpoint(kernel, prevent_cse=False)(x, tuple(factors))
