"""What tests of derivatives read off a fit, and along what they move its arguments."""

import jax
import jax.numpy as jnp


def direction_of(at):
    """A random direction of the arguments of a fit."""
    return jax.tree.map(lambda a: jax.random.normal(jax.random.key(5), a.shape, a.dtype), at)


def moved(at, step, direction):
    """The arguments, a step along a direction."""
    return jax.tree.map(lambda a, d: a + step * d, at, direction)


def along(gradient, direction):
    """The derivative along a direction, Re Σ g·d."""
    products = jax.tree.map(lambda g, d: jnp.sum(g * d).real, gradient, direction)
    return sum(jax.tree.leaves(products))


def gauge_free(result):
    """Numbers that no choice of scales and signs changes: of the model, its fit, its columns."""
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
