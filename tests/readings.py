"""What tests of derivatives read off a fit: no choice of scales and signs changes it."""

import jax.numpy as jnp


def gauge_free(result):
    """Functions of the reconstruction, of the fit, of weights and of columns up to phase."""
    weights, factors = result.cp
    full = result.cp.full()
    c = jnp.cos(jnp.arange(float(full.size))).reshape(full.shape)
    of_columns = sum(
        jnp.sum(jnp.sin(jnp.arange(float(a.size))).reshape(a.shape) * jnp.abs(a) ** 2)
        for a in factors
    )
    return jnp.stack(
        [
            jnp.sum(c * jnp.abs(full) ** 2) + jnp.sum(c.astype(full.dtype) * full).real,
            result.fit,
            of_columns + jnp.sum(jnp.abs(weights) ** 1.5),
        ]
    )
