"""Elementwise losses f(model, data) of generalised CP (GCP).

A loss is minus the log-likelihood of the data, up to terms without the model, or a distance. Every
function of two arrays of one shape that returns real values of that shape is a loss; its derivative
is JAX's. Those here say more of themselves: whether the model has to be nonnegative, which data
they are for, and what data they expect of a model, from which a fit is reported.

======================  ================  =============================  ===============
loss                    data              f(m, x)                        model m
======================  ================  =============================  ===============
`gaussian`              any, complex too  ½(m − x)²                      mean
`huber(delta)`          any, complex too  the same, linear beyond delta  centre
`poisson`               counts            m − x log m                    mean ≥ 0
`poisson_log`           counts            eᵐ − x m                       log of the mean
`bernoulli_odds`        0 to 1            log(1 + m) − x log m           odds ≥ 0
`bernoulli_logit`       0 to 1            log(1 + eᵐ) − x m              log of the odds
`negative_binomial(r)`  counts            (r + x) log(1 + m) − x log m   odds ≥ 0
`gamma`                 x ≥ 0             x/m + log m                    mean ≥ 0
`rayleigh`              x ≥ 0             2 log m + (π/4)(x/m)²          mean ≥ 0
`beta_divergence(b)`    x ≥ 0             mᵇ/b − x mᵇ⁻¹/(b − 1)          mean ≥ 0
======================  ================  =============================  ===============

Where a logarithm or a quotient would leave its domain at m = 0, m + 10⁻¹⁰ stands for m.

Source: [HKD20], table 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from math import inf, pi

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from jkr import _check
from jkr._linalg._norms import squared_distance
from jkr._mesh import any_mesh

__all__ = [
    "Loss",
    "bernoulli_logit",
    "bernoulli_odds",
    "beta_divergence",
    "gamma",
    "gaussian",
    "huber",
    "negative_binomial",
    "poisson",
    "poisson_log",
    "rayleigh",
]

_TINY = 1e-10  # that of the paper


def _identity(model: Array, *constants: Array) -> Array:
    return model


@dataclass(frozen=True)
class Loss:
    """An elementwise loss, and what is known of it; called as `loss(model, data)`.

    Attributes:
        function: f(model, data) of two arrays of one shape, elementwise: real values, of that
            shape; or `f(model, data, *constants)`, of the `entry_constants` of a fit. What else it
            depends on are Python numbers.
        nonnegative: whether the model has to be nonnegative. A fit then keeps its factors so.
        low: the least datum that it is for, a number.
        high: the largest.
        expected: the data that a model (and constants) stand for, an array of the model's shape;
            the model itself, if not given.
        at_zero: (c0, c1, c2), if f(m, 0) is `c0 + c1·Re m + c2·|m|²`: sums over the zeros of a
            sparse tensor then cost nothing. (A fit visits them all the same if `expected` is
            given.)
        name: in messages.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> log_cosh = jkr.cp.losses.Loss(lambda m, x: jnp.log(jnp.cosh(m - x)), name="log cosh")
        >>> jkr.cp.losses.poisson.nonnegative, log_cosh.nonnegative
        (True, False)

    Source: [HKD20].
    """

    function: Callable[..., Array]
    nonnegative: bool = False
    low: float = -inf
    high: float = inf
    expected: Callable[..., Array] = _identity
    at_zero: tuple[float, float, float] | None = None
    name: str = "this loss"

    @partial(any_mesh, large=True)
    def __call__(self, model: Array, data: Array) -> Array:
        """f(model, data), entry by entry.

        Args:
            model: array.
            data: array of the same shape.

        Returns:
            Real array of that shape.

        Example:
            >>> import jax.numpy as jnp, jkr
            >>> jkr.cp.losses.gaussian(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
            Array([0., 2.], dtype=float32)

        Source: [HKD20].
        """
        return self.function(model, data)

    @property
    def expects_model(self) -> bool:
        """Whether data are expected to be what the model is."""
        return self.expected is _identity

    def __repr__(self) -> str:
        """<Loss poisson>."""
        return f"<Loss {self.name}>"


def _gaussian(m: Array, x: Array) -> Array:
    return squared_distance(m, x) / 2


def _poisson(m: Array, x: Array) -> Array:
    return m - x * jnp.log(m + _TINY)


def _poisson_log(m: Array, x: Array) -> Array:
    return jnp.exp(m) - x * m


def _bernoulli_odds(m: Array, x: Array) -> Array:
    return jnp.log1p(m) - x * jnp.log(m + _TINY)


def _share(odds: Array) -> Array:
    return odds / (1 + odds)


def _bernoulli_logit(m: Array, x: Array) -> Array:
    return jax.nn.softplus(m) - x * m


def _gamma(m: Array, x: Array) -> Array:
    return x / (m + _TINY) + jnp.log(m + _TINY)


def _rayleigh(m: Array, x: Array) -> Array:
    return 2 * jnp.log(m + _TINY) + pi / 4 * (x / (m + _TINY)) ** 2


# What each is, for the documentation: `help` shows the class.
gaussian = Loss(_gaussian, at_zero=(0, 0, 0.5), name="gaussian")
"""Least squares, ½(m − x)², of complex data ½ of the squared absolute value; m is the mean.

Source: [HKD20].
"""
poisson = Loss(_poisson, nonnegative=True, low=0, at_zero=(0, 1, 0), name="poisson")
"""Counts, m − x log m; m ≥ 0 is the mean of a Poisson distribution.

Source: [HKD20]; [CK12].
"""
poisson_log = Loss(_poisson_log, low=0, expected=jnp.exp, name="poisson_log")
"""Counts, eᵐ − x m; m is the logarithm of the mean of a Poisson distribution.

Source: [HKD20].
"""
bernoulli_odds = Loss(
    _bernoulli_odds,
    nonnegative=True,
    low=0,
    high=1,
    expected=_share,
    name="bernoulli_odds",
)
"""Zeros and ones, log(1 + m) − x log m; m ≥ 0 are the odds of a one, which is expected m/(1 + m).

Source: [HKD20].
"""
bernoulli_logit = Loss(
    _bernoulli_logit, low=0, high=1, expected=jax.nn.sigmoid, name="bernoulli_logit"
)
"""Zeros and ones, log(1 + eᵐ) − x m; m is the logarithm of the odds of a one.

Source: [HKD20].
"""
gamma = Loss(_gamma, nonnegative=True, low=0, name="gamma")
"""Positive data, x/m + log m; m ≥ 0 is the mean of a gamma distribution of constant shape.

Source: [HKD20].
"""
rayleigh = Loss(_rayleigh, nonnegative=True, low=0, name="rayleigh")
"""Positive data, 2 log m + (π/4)(x/m)²; m ≥ 0 is the mean of a Rayleigh distribution.

Source: [HKD20].
"""


def huber(delta: float = 1.0) -> Loss:
    """Huber's loss: ½d² up to a distance d of δ, δd − ½δ² beyond; bears outliers.

    d is the absolute value of m − x, of complex data too.

    Args:
        delta: δ > 0, a number, in the units of the data.

    Returns:
        Loss; the same one for the same δ, so that nothing is compiled anew.

    Raises:
        ValueError: delta that is no finite number above 0.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.cp.losses.huber(1.0)(jnp.array([0.0, 0.0]), jnp.array([1.0, 3.0]))
        Array([0.5, 2.5], dtype=float32)

    Source: [Hub64].
    """
    return _huber(_check.number("cp.losses.huber", "delta", delta, above=0))


@cache
def _huber(delta: float) -> Loss:
    def function(m: Array, x: Array) -> Array:
        squares = squared_distance(m, x)
        far = squares > delta**2
        size = jnp.sqrt(jnp.where(far, squares, 1))
        return jnp.where(far, delta * size - delta**2 / 2, squares / 2)

    return Loss(function, name=f"huber({delta:g})")


def negative_binomial(trials: float = 1.0) -> Loss:
    """Negative binomial loss, (r + x) log(1 + m) − x log m: counts that vary more than Poisson's.

    Args:
        trials: r > 0, failures until the count ends; the mean count is r m, m the odds of success.

    Returns:
        Loss; the same one for the same r.

    Raises:
        ValueError: trials that are no finite number above 0.

    Example:
        >>> import jkr
        >>> jkr.cp.losses.negative_binomial(3)
        <Loss negative_binomial(3)>

    Source: [HKD20].
    """
    return _negative_binomial(
        _check.number("cp.losses.negative_binomial", "trials", trials, above=0)
    )


@cache
def _negative_binomial(trials: float) -> Loss:
    def function(m: Array, x: Array) -> Array:
        return (trials + x) * jnp.log1p(m) - x * jnp.log(m + _TINY)

    name = f"negative_binomial({trials:g})"
    return Loss(function, nonnegative=True, low=0, expected=lambda m: trials * m, name=name)


def beta_divergence(beta: float) -> Loss:
    """β-divergence mᵇ/b − x mᵇ⁻¹/(b − 1): ½m² − x m at 2, `poisson` at 1, `gamma` at 0.

    Args:
        beta: b, any number.

    Returns:
        Loss; the same one for the same b.

    Raises:
        ValueError: beta that is no finite number.

    Example:
        >>> import jax.numpy as jnp, jkr
        >>> jkr.cp.losses.beta_divergence(2)(jnp.array([3.0]), jnp.array([1.0]))
        Array([1.5], dtype=float32)

    Source: [HKD20]; [FI11].
    """
    return _beta_divergence(_check.number("cp.losses.beta_divergence", "beta", beta))


@cache
def _beta_divergence(beta: float) -> Loss:
    def function(m: Array, x: Array) -> Array:
        if beta in (0, 1):
            return _poisson(m, x) if beta else _gamma(m, x)
        m = m + _TINY if beta < 2 else m
        return m**beta / beta - x * m ** (beta - 1) / (beta - 1)

    at_zero = {1.0: (0, 1, 0), 2.0: (0, 0, 0.5)}.get(beta)
    name = f"beta_divergence({beta:g})"
    return Loss(function, nonnegative=True, low=0, at_zero=at_zero, name=name)


def checked_loss(
    name: str, loss: Loss | Callable[..., Array], dtype: DTypeLike, constants: int
) -> Loss:
    """A loss that goes with entries of that dtype, and so many constants: elementwise, real."""
    if loss is gaussian and not constants:  # by far the most frequent, and tracing it takes time
        return gaussian
    known = loss if isinstance(loss, Loss) else Loss(_check.loss(name, loss))
    _tried(name, known, jnp.dtype(dtype), constants)
    return known


@lru_cache(maxsize=64)
def _tried(name: str, loss: Loss, dtype: DTypeLike, constants: int) -> None:
    """Trace a loss once, not at every call, and see whether it is what it says at zero."""
    if loss.at_zero is not None:
        with jax.ensure_compile_time_eval():
            m = jnp.asarray([0.5, 1.0, 2.0], dtype)
            found = loss.function(m, jnp.zeros_like(m), *[jnp.ones_like(m.real)] * constants)
            known = np.asarray(m.real, float), np.asarray(found, float)
        _check.at_zero(name, loss.at_zero, *known)
    for shape in ((2, 3), (3, 2)):  # to which arrays in a closure do not both broadcast
        entries = jax.ShapeDtypeStruct(shape, dtype)
        _check.elementwise(name, "loss", loss.function, entries, constants)
        if not loss.expects_model:
            _check.expected(name, loss.expected, entries, constants)
