"""How many digits the loss keeps near an exact fit, in float32, against float64."""

import jax
import jax.numpy as jnp

import jkr

TITLE = "Relative error of the float32 loss, 60×50×40, R=5"
HEADER = ("relative residual", "loss", "loss with entry weights", "10·eps/ρ²")


def rows(compare, repeats):
    """One row a residual; the reference is summed in float64, on NumPy."""
    import numpy as np

    shape = (60, 50, 40)
    model = jkr.cp.random(jax.random.key(0), shape, 5, dtype=jnp.float32)
    clean = np.einsum(
        "r,ir,jr,kr->ijk", *(np.asarray(a, "float64") for a in jax.tree.leaves(model))
    )
    noise = np.asarray(jax.random.normal(jax.random.key(1), shape), "float64")
    for residual in (1e-1, 1e-2, 1e-3, 1e-4):
        scale = residual * np.linalg.norm(clean) / np.linalg.norm(noise)
        x = (clean + scale * noise).astype("float32")
        true = np.sum((x - clean) ** 2) / 2
        error = [
            abs(float(jkr.cp.loss(model, x, entry_weights=w)) / true - 1)
            for w in (None, jnp.ones(shape))
        ]
        bound = 10 * np.finfo("float32").eps / residual**2
        yield f"{residual:.0e}", *(f"{e:.1e}" for e in error), f"{bound:.1e}"
