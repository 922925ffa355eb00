"""Comparing models: permuted, rescaled and turned ones are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from tensorly.metrics.factors import congruence_coefficient

from jkr import cp

A = cp.random(jax.random.key(0), (4, 5, 6), 3)
B = cp.random(jax.random.key(1), (4, 5, 6), 3)


def shuffled(model, order, scales):
    factors = (
        a[:, order] * jnp.asarray(s)[None, :] for a, s in zip(model.factors, scales, strict=True)
    )
    return cp.CPTensor(model.weights[jnp.asarray(order)] * 2, tuple(factors))


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_align_undoes_permutations_and_paired_signs(dtype):
    a = jax.tree.map(lambda z: z.astype(dtype), A)
    turn = np.exp(0.7j) if dtype == "complex128" else -1.0
    scales = [[turn, 1.0, 1.0], [1 / turn, -1.0, 1.0], [1.0, -1.0, 1.0]]
    moved = shuffled(a, [2, 0, 1], [jnp.asarray(s).astype(dtype) for s in scales])
    aligned = cp.align(moved, a)
    for ours, theirs in zip(aligned.factors, a.factors, strict=True):
        assert_allclose(ours, theirs, rtol=1e-5)
    assert_allclose(aligned.weights, 2 * a.weights)
    assert {z.dtype for z in jax.tree.leaves(aligned)} == {jnp.dtype(dtype)}


def test_align_keeps_the_tensor_where_signs_cannot_be_turned_in_pairs():
    turned = cp.CPTensor(A.weights, tuple(-a for a in A.factors))
    aligned = cp.align(turned, A)
    assert_allclose(aligned.full(), turned.full(), atol=1e-12)
    cosines = jnp.stack(
        [jnp.sum(a * b, axis=0) for a, b in zip(aligned.factors, A.factors, strict=True)]
    )
    assert ((cosines > 0).sum(axis=0) == 2).all()


@pytest.mark.parametrize("rank", [2, 5])
def test_align_to_another_rank_puts_the_unmatched_last(rank):
    reference = cp.CPTensor(jnp.ones(2), tuple(a[:, [2, 0]] for a in A.factors))
    aligned = cp.align(A, reference)
    for ours, theirs in zip(aligned.factors, A.factors, strict=True):
        assert_allclose(ours, theirs[:, [2, 0, 1]])
    more = cp.random(jax.random.key(2), A.shape, rank)
    assert_allclose(cp.align(A, more).full(), A.full(), atol=1e-12)


def test_factor_match_score():
    moved = shuffled(A, [1, 2, 0], [[1.0, 2.0, -3.0], [4.0, -5.0, 6.0], [0.1, 0.2, 0.3]])
    assert_allclose(cp.factor_match_score(A, moved), 1)
    assert 0 <= cp.factor_match_score(A, B) < 0.5
    assert_allclose(cp.factor_match_score(A, B), cp.factor_match_score(B, A))
    fewer = cp.CPTensor(jnp.ones(2), tuple(a[:, 1:] for a in A.factors))
    assert_allclose(cp.factor_match_score(A, fewer), 1)
    zero = jax.tree.map(jnp.zeros_like, A)
    assert cp.factor_match_score(A, zero) == 0
    scores = jax.jit(jax.vmap(lambda s: cp.factor_match_score(A, cp.CPTensor(s, B.factors))))
    assert_allclose(scores(jnp.ones((2, 3))), [cp.factor_match_score(A, B)] * 2)


def test_congruence_against_tensorly():
    score, order = congruence_coefficient(
        [np.asarray(a) for a in A.factors], [np.asarray(b) for b in B.factors], absolute_value=True
    )
    ours = cp.congruence(A, B)
    assert ours.shape == (3, 3)
    assert_allclose(np.abs(ours)[np.arange(3), order].mean(), score)
    assert_allclose(cp.factor_match_score(A, B), score)


def test_models_of_halves_are_compared_in_the_modes_that_they_share():
    half = cp.CPTensor(A.weights, (A.factors[0][:2], *A.factors[1:]))
    moved = shuffled(half, [1, 2, 0], [[1.0, 2.0, -3.0], [4.0, -5.0, 6.0], [0.1, 0.2, 0.3]])
    assert_allclose(cp.factor_match_score(A, moved, modes=(1, 2)), 1)
    assert_allclose(
        np.abs(cp.congruence(A, moved, modes=(1, -1))),
        np.abs(cp.congruence(A, A, modes=(1, 2)))[:, [1, 2, 0]],
    )
    for named in (np.array([1, 2]), [2, 1, -1, 1], range(1, 3), {1, 2}):
        assert_allclose(cp.factor_match_score(A, moved, modes=named), 1)
    assert_allclose(cp.factor_match_score(A, moved, modes=np.int64(2)), 1)
    aligned = cp.align(moved, A, modes=(1, 2))
    assert_allclose(aligned.full(), moved.full(), atol=1e-12)
    for ours, theirs in zip(aligned.factors[1:], A.factors[1:], strict=True):
        assert_allclose(
            jnp.sum(ours * theirs, 0) / jnp.linalg.norm(ours, axis=0),
            jnp.linalg.norm(theirs, axis=0),
        )
    # The first mode bears what cannot be turned in pairs.
    turned = half._replace(factors=(half.factors[0], -half.factors[1], half.factors[2]))
    assert_allclose(cp.align(turned, A, modes=(1, 2)).factors[0], -half.factors[0])
