"""MTTKRP against unfolding times a Khatri–Rao product."""

import numpy as np
import oracles
import pytest
from numpy.testing import assert_allclose

import jkr

SHAPES = [(5,), (3, 4), (4, 3, 5), (2, 3, 4, 2), (2, 3, 1, 2, 3), (2, 2, 1, 3, 2, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_every_mode(shape, dtype, rng):
    draw = lambda *s: rng.standard_normal(s).astype(dtype) * (1 + (dtype == "complex128") * 1j)  # noqa: E731
    x, factors = draw(*shape), [draw(n, 3) for n in shape]
    for n in range(len(shape)):
        assert_allclose(jkr.mttkrp(x, factors, n), oracles.mttkrp(x, factors, n), atol=1e-12)
        assert_allclose(jkr.mttkrp(x, factors, n - len(shape)), jkr.mttkrp(x, factors, n))


def test_the_mode_s_own_factor_is_not_read(rng):
    x, factors = rng.standard_normal((2, 3)), [np.full((2, 1), np.nan), rng.standard_normal((3, 1))]
    assert np.isfinite(jkr.mttkrp(x, factors, 0)).all()
