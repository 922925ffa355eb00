"""MTTKRP of one mode and of all, against einsum, TensorLy, pyttb and the bare products."""

import jax

import jkr
from benchmarks.problems import SHAPES, bare_dots, draw, einsum_mttkrp, label, numpy_of
from benchmarks.timing import compiled, ms, race, times

TITLE = "MTTKRP (float32, ms)"
HEADER = ("problem", "mode", "jkr", "einsum", "TensorLy", "pyttb", "best / jkr", "jkr / floor")
PEERS = {"einsum", "tensorly", "pyttb"}


def _peers(x, factors, modes, compare):
    """Calls that compute the MTTKRPs of these modes, by each peer asked for."""
    calls = {}
    if "einsum" in compare:
        calls["einsum"] = compiled(lambda x, f: [einsum_mttkrp(x, f, n) for n in modes], x, factors)
    arrays = numpy_of(x, factors)
    if "tensorly" in compare:
        from tensorly.tenalg.core_tenalg.mttkrp import unfolding_dot_khatri_rao

        cp = (None, arrays[1])
        calls["tensorly"] = lambda: [unfolding_dot_khatri_rao(arrays[0], cp, n) for n in modes]
    if "pyttb" in compare:
        import pyttb

        t = pyttb.tensor(arrays[0])
        calls["pyttb"] = lambda: [t.mttkrp(arrays[1], n) for n in modes]
    return calls


def rows(compare, repeats):
    """One row a mode, and one for all modes of a shape."""
    for shape, rank in SHAPES:
        x, factors = draw(shape, rank)
        s, left, right = bare_dots(x, factors)
        for n in [*range(len(shape)), "all"]:
            modes = range(len(shape)) if n == "all" else [n]
            if n == "all":
                ours = compiled(jkr.mttkrps, x, factors)
                floor = [compiled(f, *args) for f, args in (left, right)]
            else:
                ours = compiled(lambda x, f, n=n: jkr.mttkrp(x, f, n), x, factors)
                floor = [compiled(left[0], *left[1]) if n < s else compiled(right[0], *right[1])]
            calls = {"jkr": ours, "floor": lambda floor=floor: [call() for call in floor]}
            calls |= _peers(x, factors, modes, compare)
            t = race(calls, repeats)
            peers = [t[name] for name in PEERS if name in t]
            yield (
                label(shape, rank),
                str(n),
                ms(t["jkr"]),
                *(ms(t.get(name)) for name in ("einsum", "tensorly", "pyttb")),
                times(min(peers) / t["jkr"]) if peers else "–",
                times(t["jkr"] / t["floor"]),
            )
        jax.clear_caches()
