"""Value and gradient of elementwise losses (R5): in blocks, in one block, and by plain autodiff."""

import jax
import jax.numpy as jnp

import jkr
from benchmarks.problems import draw, label
from benchmarks.timing import compiled, ms, race, temporaries, times
from jkr._contractions import _elementwise

TITLE = "Elementwise losses, value and gradient (float32, ms and MB of temporaries)"
HEADER = (
    *("problem", "loss", "jkr, in blocks", "in one block", "blocks / one", "autodiff"),
    *("autodiff / jkr", "blocks MB", "one block MB", "one / blocks MB", "autodiff MB"),
)
PROBLEMS = [((60, 50, 40), 5), ((200,) * 3, 8), ((400,) * 3, 32)]
LOSSES = (jkr.cp.losses.gaussian, jkr.cp.losses.poisson, jkr.cp.losses.bernoulli_logit)


def rows(compare, repeats):
    """One row a problem and loss; entry weights of one make the gaussian an elementwise loss."""
    for shape, rank in PROBLEMS:
        x, factors = draw(shape, rank)
        x, factors = jnp.abs(x), tuple(map(jnp.abs, factors))
        for loss in LOSSES:
            w = jnp.ones(shape, x.dtype) if loss == jkr.cp.losses.gaussian else None

            def ours(factors, x, w, loss=loss):
                model = jkr.cp.CPTensor(jnp.ones(factors[0].shape[1], x.dtype), factors)
                return jkr.cp.loss(model, x, loss=loss, entry_weights=w)

            def dense(factors, x, w, loss=loss):
                order = x.ndim
                operands = [p for n, a in enumerate(factors) for p in (a, [n, order])]
                values = loss(jnp.einsum(*operands, list(range(order))), x)
                return jnp.sum(values if w is None else w * values)

            args = factors, x, w
            calls, memory = {}, {}
            for name, f, block in (
                ("blocks", ours, _elementwise.BLOCK),
                ("one", ours, x.size),
                ("autodiff", dense, None),
            ):
                # Anew each time, since JAX remembers what it traced, with the size of blocks then.
                jax.clear_caches()
                gradient = jax.value_and_grad(lambda *args, f=f: f(*args))
                usual, _elementwise.BLOCK = _elementwise.BLOCK, block or _elementwise.BLOCK
                try:
                    calls[name] = compiled(gradient, *args)
                    memory[name] = temporaries(gradient, *args)
                finally:
                    _elementwise.BLOCK = usual
            t = race(calls, repeats)
            yield (
                label(shape, rank),
                loss.name,
                ms(t["blocks"]),
                ms(t["one"]),
                times(t["blocks"] / t["one"]),
                ms(t["autodiff"]),
                times(t["autodiff"] / t["blocks"]),
                f"{memory['blocks']:.3g}",
                f"{memory['one']:.4g}",
                times(memory["one"] / memory["blocks"]),
                f"{memory['autodiff']:.4g}",
            )
