"""Every documented ValueError: the function, the rule and the shapes that came."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from jax.experimental import sparse

import jkr
from jkr import cp, glam, operators, plot, sketch
from jkr.cp.constraints import nonnegative
from jkr.tensors import Dense, Sparse


def z(*shape):
    return np.zeros(shape)


def model(*shape, rank=2):
    return cp.CPTensor(jnp.ones(rank), tuple(z(n, rank) for n in shape))


def fitted(*shape):
    return cp.als(np.ones(shape), 2, key=KEY, max_iters=2)


def squared(m, x):
    return (m - x) ** 2


def scattered(n, unstored="zero"):
    return Sparse([[0, 1]], [1.0], (n, n), unstored=unstored)


def several():
    return jax.tree.map(lambda a: jnp.stack([a, a]), scattered(2))


def batched():
    return sparse.BCOO.fromdense(jnp.eye(3), n_batch=1)


class Failing:
    """A function of the user's that fails; by the same name in every process."""

    def __call__(self, *arrays):
        raise RuntimeError("no such thing")

    def __repr__(self):
        return "failing"

    def __hash__(self):
        return 0

    def __eq__(self, other):
        return isinstance(other, Failing)


class NoPytree(cp.constraints.Constraint):
    def prox(self, y, step):
        return y


def own(f=lambda a, step: a, value=None):
    return {0: cp.constraints.prox(f, value)}


def optimiser(init=lambda parameters: (), update=None):
    return optax.GradientTransformation(init, update)


def in_32_bits(call):
    with jax.enable_x64(False):
        return call()


pytestmark = pytest.mark.every_turn

KEY = jax.random.key(0)
SKETCH_OF_THREE = sketch.tensor_sketch(KEY, (3,), 4)
SKETCH = sketch.tensor_sketch(KEY, (3, 2), 4)
BASES = [z(5, 3), z(4, 2)]
SQUARES = [z(3, 3), z(2, 2)]
ONE = ((2,), (3,))
ZEROS = (
    "is not known at zero, so that each of the 1e+10 entries of (100000, 100000) would be "
    "visited in every pass, and at most 2.1e+09 are; losses that know their value at zero "
    "(at_zero: gaussian, poisson) visit stored entries only"
)

WEIGHTS = "entry_weights need the shape of the tensor, or one that broadcasts to it,"
BAD = (
    "the tensor holds NaN or inf, or entries that the loss is not for; where they are missing, "
    "pass entry_weights=jnp.isfinite(tensor), or leave them out of a Sparse"
)
PAIRS = (
    "under entry weights, or where entries are missing, makes a matrix of (R Σ I_n)² entries, and "
    "R Σ I_n may be up to 32768"
)
SEVERAL = "needs one sparse tensor, got a batch with values of shape (2, 1): use it inside vmap"

ERRORS = [
    # products
    (
        lambda: jkr.khatri_rao(z(3, 2), z(4, 5)),
        "khatri_rao: matrices need equal column counts, got (3, 2) and (4, 5)",
    ),
    (
        lambda: jkr.khatri_rao(z(1, 2), z(1, 2), z(1, 3)),
        "khatri_rao: matrices need equal column counts, got (1, 2), (1, 2) and (1, 3)",
    ),
    (
        lambda: jkr.face_splitting(z(3, 2), z(4, 2)),
        "face_splitting: matrices need equal row counts, got (3, 2) and (4, 2)",
    ),
    (
        lambda: jkr.hadamard(z(3, 2), z(1, 2)),
        "hadamard: matrices need equal row counts, got (3, 2) and (1, 2)",
    ),
    (
        lambda: jkr.hadamard(z(3, 2), z(3, 1)),
        "hadamard: matrices need equal column counts, got (3, 2) and (3, 1)",
    ),
    (lambda: jkr.kronecker(), "kronecker: needs at least one matrix, got none"),
    (
        lambda: jkr.kronecker(z(3), z(2, 2)),
        "kronecker: matrices need two dimensions or more, got (3,) and (2, 2)",
    ),
    (lambda: jkr.khatri_rao(2.0), "khatri_rao: matrices need two dimensions or more, got ()"),
    (
        lambda: jkr.kronecker(z(2, 3, 3), z(3, 3, 3)),
        "kronecker: leading batch dimensions need to broadcast, got (2, 3, 3) and (3, 3, 3)",
    ),
    (
        lambda: jkr.khatri_rao([z(2, 3), z(4, 3)]),
        "khatri_rao: takes matrices as separate arguments, got a sequence; "
        "unpack it: khatri_rao(*matrices)",
    ),
    (lambda: jkr.khatri_rao("abc"), "khatri_rao: needs matrices of numbers, got str"),
    (lambda: jkr.khatri_rao(None), "khatri_rao: needs matrices of numbers, got NoneType"),
    (
        lambda: jkr.penetrating_face(z(2, 2), z(2, 3)),
        "penetrating_face: the columns of b need to be a multiple of the columns of a, "
        "got (2, 2) and (2, 3)",
    ),
    (
        lambda: jkr.penetrating_face(z(2, 2), z(3, 4)),
        "penetrating_face: matrices need equal row counts, got (2, 2) and (3, 4)",
    ),
    # partitions
    (
        lambda: jkr.tracy_singh(z(2, 3), z(2, 3), ((1,), (3,)), ONE),
        "tracy_singh: the block sizes of partition_a need to add up to the shape of a, "
        "got (1,) by (3,) for (2, 3)",
    ),
    (
        lambda: jkr.tracy_singh(z(2, 3), z(2, 3), ONE, ((2,), (3.0,))),
        "tracy_singh: partition_b needs (row_sizes, column_sizes), two tuples of ints, "
        "got ((2,), (3.0,))",
    ),
    (
        lambda: jkr.tracy_singh(z(2, 3), z(2, 3), ((3, -1), (3,)), ONE),
        "tracy_singh: block sizes need to be nonnegative, got ((3, -1), (3,))",
    ),
    (
        lambda: jkr.block_khatri_rao(z(2, 3), z(2, 3), ONE, ((1, 1), (3,))),
        "block_khatri_rao: the partitions need as many row blocks, got (2,) and (1, 1)",
    ),
    (
        lambda: jkr.block_khatri_rao(z(2, 3), z(2, 3), ONE, ((2,), (1, 2))),
        "block_khatri_rao: the partitions need as many column blocks, got (3,) and (1, 2)",
    ),
    (
        lambda: jkr.block_face_splitting(z(2, 3), z(3, 3), ONE, ((3,), (3,))),
        "block_face_splitting: the partitions need equal row sizes, got (2,) and (3,)",
    ),
    (
        lambda: jkr.block_column_khatri_rao(z(2, 3), z(2, 2), ONE, ((2,), (2,))),
        "block_column_khatri_rao: the partitions need equal column sizes, got (3,) and (2,)",
    ),
    # vec, unfold, permutation
    (lambda: jkr.vec(z(3)), "vec: matrices need two dimensions or more, got (3,)"),
    (
        lambda: jkr.unvec(z(5), (2, 3)),
        "unvec: a vector of 2·3 = 6 entries is needed for the shape (2, 3), got (5,)",
    ),
    (lambda: jkr.unvec(z(5), (5,)), "unvec: shape needs to be (rows, columns), got (5,)"),
    (lambda: jkr.unvec(z(5), 5), "unvec: a shape is a sequence of ints, got 5"),
    (lambda: jkr.unfold(2.0, 0), "unfold: the tensor needs order 1 or more, got shape ()"),
    (lambda: jkr.unfold(z(2, 2), 2), "unfold: mode 2 is out of range for a tensor of order 2"),
    (lambda: jkr.unfold(z(2, 2), -3), "unfold: mode -3 is out of range for a tensor of order 2"),
    (lambda: jkr.unfold(z(2, 2), 0.5), "unfold: mode needs to be an int, got 0.5"),
    (lambda: jkr.unfold(z(2, 2), True), "unfold: mode needs to be an int, got True"),
    (
        lambda: jkr.unfold(np.ma.masked_array(z(2, 2), z(2, 2) == 0), 0),
        "unfold: a masked array goes where a tensor with missing entries may; here pass "
        "x.filled(value)",
    ),
    (
        lambda: jkr.unfold(z(2, 2).astype(np.longdouble), 0),
        f"unfold: JAX has no {np.dtype(np.longdouble)}; pass x.astype('float64')",
    ),
    (
        lambda: jkr.unfold(z(2, 2).astype(np.clongdouble), 0),
        f"unfold: JAX has no {np.dtype(np.clongdouble)}; pass x.astype('complex128')",
    ),
    (
        lambda: jkr.unfold([np.ma.masked_array(z(2), [0, 1])] * 2, 0),
        "unfold: masked arrays in a list lose their masks; pass np.ma.stack(x)",
    ),
    (
        lambda: cp.als([[z(3), np.ma.masked_array(z(3), [0, 1, 0])]], 1, key=KEY),
        "cp.als: masked arrays in a list lose their masks; pass np.ma.stack(x)",
    ),
    (
        lambda: in_32_bits(lambda: jkr.unfold(np.full((2, 2), 2**40), 0)),
        "unfold: ints beyond the range of int32: pass x.astype(float), or set jax_enable_x64",
    ),
    (
        lambda: in_32_bits(lambda: cp.als(np.full((2, 2), 2**40, "uint64"), 1, key=KEY)),
        "cp.als: ints beyond the range of uint32: pass x.astype(float), or set jax_enable_x64",
    ),
    (
        lambda: in_32_bits(lambda: cp.loss(model(2, 3), np.full((2, 3), 1e60))),
        "cp.loss: entries up to 1e+60 are beyond the range of float32: scale the tensor, or set "
        "jax_enable_x64",
    ),
    (
        lambda: jkr.unfold(z(2, 2).astype(object), 0),
        "unfold: needs a tensor of numbers, got ndarray of dtype object; pass x.astype(float)",
    ),
    (
        lambda: jkr.unfold(np.zeros((2, 2), [("a", float)]), 0),
        "unfold: needs a tensor of numbers, got ndarray of dtype [('a', '<f8')]; pass one of its "
        "fields, as x['a']",
    ),
    (
        lambda: jkr.unfold(np.array([["2020-01-01"]], "datetime64[D]"), 0),
        "unfold: needs a tensor of numbers, got ndarray of dtype datetime64[D]",
    ),
    (lambda: jkr.unvec(z(2), (2, True)), "unvec: a shape is a sequence of ints, got (2, True)"),
    (
        lambda: jkr.fold(z(2, 5), 0, (2, 2, 3)),
        "fold: the mode-0 unfolding of a tensor of shape (2, 2, 3) is (2, 6), got (2, 5)",
    ),
    (lambda: jkr.fold(z(2, 5), 0, (2, -5)), "fold: dimensions need to be at least 0, got (2, -5)"),
    (
        lambda: jkr.kronecker_permutation(1, 2, -3, 4),
        "kronecker_permutation: dimensions need to be at least 0, got (1, 2, -3, 4)",
    ),
    # contractions
    (
        lambda: jkr.mttkrp(z(2, 3), z(2, 3), 0),
        "mttkrp: factors need to be a sequence of matrices, got ndarray",
    ),
    (
        lambda: jkr.mttkrp(z(2, 3), [z(2, 2), z(3, 1)], 0),
        "mttkrp: factors need to be matrices with equal column counts, got (2, 2) and (3, 1)",
    ),
    (
        lambda: jkr.mttkrp(z(2, 3), [], 0),
        "mttkrp: factors need to be matrices with equal column counts, got none",
    ),
    (
        lambda: jkr.mttkrp(z(2, 3), [z(3, 2), z(2, 2)], 0),
        "mttkrp: factors need one row for each index of their mode, got (3, 2) and (2, 2) for a "
        "tensor of shape (2, 3)",
    ),
    (
        lambda: jkr.mttkrps(z(2, 3), [z(2, 2)]),
        "mttkrps: factors need one row for each index of their mode, got (2, 2) for a tensor of "
        "shape (2, 3)",
    ),
    (
        lambda: jkr.khatri_rao_gram([z(2, 3), z(4, 3)]),
        "khatri_rao_gram: takes matrices as separate arguments, got a sequence; "
        "unpack it: khatri_rao_gram(*matrices)",
    ),
    (
        lambda: jkr.khatri_rao_matmul([z(2, 3), z(4, 2)], z(3)),
        "khatri_rao_matmul: ms need to be matrices with equal column counts, got (2, 3) and (4, 2)",
    ),
    (
        lambda: jkr.khatri_rao_matmul(z(2, 3), z(3)),
        "khatri_rao_matmul: ms need to be a sequence of matrices, got ndarray",
    ),
    (
        lambda: jkr.khatri_rao_matmul([z(2, 3), z(4, 3)], z(4)),
        "khatri_rao_matmul: x needs shape (3,) or (3, k), got (4,)",
    ),
    (
        lambda: jkr.khatri_rao_rmatmul([z(2, 3), z(4, 3)], z(3, 2)),
        "khatri_rao_rmatmul: y needs shape (8,) or (8, k), got (3, 2)",
    ),
    (
        lambda: jkr.face_splitting_matmul([z(2, 3), z(3, 3)], z(9)),
        "face_splitting_matmul: ms need to be matrices with equal row counts, "
        "got (2, 3) and (3, 3)",
    ),
    (
        lambda: jkr.face_splitting_matmul([z(2, 3), z(2, 4)], z(1, 12)),
        "face_splitting_matmul: x needs shape (12,) or (12, k), got (1, 12)",
    ),
    (
        lambda: jkr.khatri_rao_lstsq([z(2, 3), z(4, 3)], z(8), l2=z(3)),
        "khatri_rao_lstsq: l2 needs to be a scalar, got shape (3,)",
    ),
    (
        lambda: jkr.khatri_rao_lstsq([z(2, 3), z(4, 3)], z(8, 1, 1)),
        "khatri_rao_lstsq: y needs shape (8,) or (8, k), got (8, 1, 1)",
    ),
    (
        lambda: jkr.weighted_gram(z(2, 3) + 1j, [z(2, 1), z(3, 1)], 0),
        "weighted_gram: entry_weights need to be real, got complex128",
    ),
    (
        lambda: jkr.weighted_gram(z(2, 3), [z(2, 1), z(4, 1)], 0),
        "weighted_gram: factors need one row for each index of their mode, "
        "got (2, 1) and (4, 1) for a tensor of shape (2, 3)",
    ),
    (
        lambda: jkr.weighted_gram(z(2, 3), [z(2, 1), z(3, 1)], 2),
        "weighted_gram: mode 2 is out of range for a tensor of order 2",
    ),
    (
        lambda: jkr.mttkrp(z(2, 3), [z(2, 1), z(3, 1)], -3),
        "mttkrp: mode -3 is out of range for a tensor of order 2",
    ),
    (
        lambda: jkr.mttkrp(z(2, 3), model(2, 3), 0),
        "mttkrp: factors need to be a sequence of matrices, got a CPTensor; pass its factors",
    ),
    (
        lambda: jkr.khatri_rao_lstsq([z(2, 3), z(4, 3)], z(8), l2=1j),
        "khatri_rao_lstsq: l2 needs to be real, got complex128",
    ),
    (
        lambda: jkr.khatri_rao_lstsq([z(2, 3), z(4, 3)], z(8), l2=-1.0),
        "khatri_rao_lstsq: l2 needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: jkr.fold(z(2, 2), 2, (2, 2)),
        "fold: mode 2 is out of range for a tensor of order 2",
    ),
    (
        lambda: jkr.kronecker_permutation(1, 2, 3.5, 4),
        "kronecker_permutation: a shape is a sequence of ints, got (1, 2, 3.5, 4)",
    ),
    # CP
    (
        lambda: cp.random(KEY, (2, -3), 1),
        "cp.random: dimensions need to be at least 0, got (2, -3)",
    ),
    (
        lambda: cp.loss(model(2, 3), z(2, 4)),
        "cp.loss: both tensors need the same shape, got (2, 3) and (2, 4)",
    ),
    (
        lambda: cp.loss(model(2, 3), z(2, 3), entry_weights=z(2)),
        f"cp.loss: {WEIGHTS} got (2,) for (2, 3)",
    ),
    (
        lambda: cp.loss(model(2, 3), z(2, 3), entry_weights=z(2, 3) + 1j),
        "cp.loss: entry_weights need to be real, got complex128",
    ),
    (
        lambda: cp.CPTensor(jnp.ones(3), (z(2, 2), z(3, 2))).full(),
        "cp.CPTensor.full: weights need one entry for each of the 2 components, got (3,)",
    ),
    (
        lambda: model(2, 3).inner(model(2, 4)),
        "cp.CPTensor.inner: both tensors need the same shape, got (2, 3) and (2, 4)",
    ),
    (lambda: cp.random(KEY, (2, 3), 0), "cp.random: rank needs to be at least 1, got 0"),
    (lambda: cp.random(KEY, (2, 3), 1.5), "cp.random: rank needs to be an int, got 1.5"),
    (
        lambda: cp.random(KEY, (2, 3), 1, dtype="int32"),
        "cp.random: dtype needs to be floating or complex, got int32",
    ),
    (
        lambda: cp.als(z(2, 3), 1),
        "cp.als: a random start needs a key: pass key=jax.random.key(0), or a CPTensor as init",
    ),
    (lambda: cp.als(z(2, 3), 0, key=KEY), "cp.als: rank needs to be at least 1, got 0"),
    (lambda: cp.als(z(3), 1, key=KEY), "cp.als: the tensor needs order 2 or more, got shape (3,)"),
    (
        lambda: cp.als(z(2, 0), 1, key=KEY),
        "cp.als: the tensor has an empty mode, got shape (2, 0)",
    ),
    (lambda: cp.als("x", 1, key=KEY), "cp.als: needs a tensor of numbers, got str"),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, max_iters=0),
        "cp.als: max_iters needs to be at least 1, got 0",
    ),
    (
        lambda: cp.als(z(2, 3), 1, init="svdd"),
        "cp.als: init needs to be one of ('random', 'uniform', 'svd') or a CPTensor, got 'svdd'",
    ),
    (
        lambda: cp.als(z(2, 3), 1, init=3),
        "cp.als: needs a CPTensor, got int",
    ),
    (
        lambda: cp.als(z(2, 3), 1, init=model(2, 3)),
        "cp.als: init has rank 2, and rank 1 was asked for",
    ),
    (
        lambda: cp.als(z(2, 4), 2, init=model(2, 3)),
        "cp.als: factors need one row for each index of their mode, got (2, 2) and (3, 2) for a "
        "tensor of shape (2, 4)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, init=cp.random(KEY, (2, 3), 1, dtype=complex)),
        "cp.als: a complex init does not go with a float64 tensor",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, tol=z(2)),
        "cp.als: tol needs to be a scalar, got shape (2,)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, tol=-1e-3),
        "cp.als: tol needs to be finite and nonnegative, got -0.001",
    ),
    (lambda: cp.als(z(2, 3), 1, key=0), "cp.als: key needs to be one jax.random.key, got int"),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, tol=True),
        "cp.als: tol needs to be a number, got True",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, l2=np.True_),
        "cp.gcp: l2 needs to be a number, got True",
    ),
    (
        lambda: cp.fit(z(2, 3), 1, key=KEY, tol=np.nan),
        "cp.fit: tol needs to be finite and nonnegative, got nan",
    ),
    (
        lambda: cp.nls(z(2, 3), 1, key=KEY, max_iters=True),
        "cp.nls: max_iters needs to be an int, got True",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, fixed_modes=np.array([True, False])),
        "cp.als: fixed_modes needs modes of the tensor, got (True, False)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, restarts=0),
        "cp.als: restarts needs to be at least 1, got 0",
    ),
    (
        lambda: cp.als(z(2, 3), 1, init=model(2, 3, rank=1), restarts=2),
        "cp.als: restarts=2 need a random start, got a model as init",
    ),
    (
        lambda: cp.als(z(2, 3), 3, init="svd"),
        "cp.als: init='svd' with rank 3 above the rank of an unfolding of (2, 3) adds random "
        "columns and needs a key: pass key=jax.random.key(0)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, entry_weights=z(3, 2)),
        f"cp.als: {WEIGHTS} got (3, 2) for (2, 3)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, entry_weights=z(2, 3) + 1j),
        "cp.als: entry_weights need to be real, got complex128",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, entry_weights=z(2, 3) - 1),
        "cp.als: entry_weights need to be finite, nonnegative and not all zero",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, entry_weights=z(2, 3) + jnp.inf),
        "cp.als: entry_weights need to be finite, nonnegative and not all zero",
    ),
    (
        lambda: cp.als(z(2, 3) + jnp.nan, 1, key=KEY),
        f"cp.als: {BAD}",
    ),
    (
        lambda: in_32_bits(lambda: cp.als(np.full((2, 3), 1e-60), 1, key=KEY)),
        "cp.als: entries up to 1e-60 are beyond the range of float32: scale the tensor, or set "
        "jax_enable_x64",
    ),
    (
        lambda: in_32_bits(lambda: cp.als(np.full((2, 3), 1e60), 1, key=KEY)),
        "cp.als: entries up to 1e+60 are beyond the range of float32: scale the tensor, or set "
        "jax_enable_x64",
    ),
    (
        lambda: cp.ALS().init(z(2, 3) + jnp.inf, 1, key=KEY),
        f"cp.ALS.init: {BAD}",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, nonnegative=[2]),
        "cp.als: nonnegative needs modes of the tensor, got (2,)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, fixed_modes="0"),
        "cp.als: fixed_modes needs modes of the tensor, got '0'",
    ),
    (
        lambda: cp.als(z(2, 3) + 1j, 1, key=KEY, nonnegative=True),
        "cp.als: nonnegative factors need a real tensor, got complex128",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, fixed_modes=0),
        "cp.als: fixed_modes need init to be a CPTensor that holds their factors",
    ),
    (
        lambda: cp.als(z(2, 3), 1, init=model(2, 3, rank=1), fixed_modes=(0, -1)),
        "cp.als: at least one mode needs to be free, got fixed_modes (0, 1)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, l2=z(2)),
        "cp.als: l2 needs to be a scalar, got shape (2,)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, l2=-1),
        "cp.als: l2 needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, entry_weights=z(2, 3)),
        "cp.als: entry_weights need to be finite, nonnegative and not all zero",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, nonnegative=[False, True]),
        "cp.als: nonnegative needs modes of the tensor, got (False, True)",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, callback=3),
        "cp.als: callback needs to be a function, got 3",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, tol="tiny"),
        "cp.als: needs tol to be a scalar, got str",
    ),
    (
        lambda: cp.pullback(model(2, 3), z(2, 3), model(2, 3)),
        "cp.pullback: result needs to be a CPResult, got CPTensor",
    ),
    (
        lambda: cp.pullback(fitted(2, 3), z(2, 4), model(2, 4)),
        "cp.pullback: factors need one row for each index of their mode, got (2, 2) and (3, 2) "
        "for a tensor of shape (2, 4)",
    ),
    (
        lambda: cp.pullback(fitted(2, 3), z(2, 3), model(2, 4)),
        "cp.pullback: factors need one row for each index of their mode, got (2, 2) and (4, 2) "
        "for a tensor of shape (2, 3)",
    ),
    (
        lambda: cp.pullback(fitted(2, 3), z(2, 3), model(2, 3, rank=3)),
        "cp.pullback: cotangent has rank 3, and rank 2 was asked for",
    ),
    (
        lambda: cp.pullback(fitted(2, 3), z(2, 3) * np.nan, model(2, 3)),
        "cp.pullback: the data are not those of a fit",
    ),
    (
        lambda: cp.pullback(fitted(2, 3), z(2, 3), None),
        "cp.pullback: needs a CPTensor, got NoneType",
    ),
    (
        lambda: cp.condition(z(2, 3)),
        "cp.condition: factors need to be a sequence of matrices, got ndarray",
    ),
    (lambda: cp.condition(None), "cp.condition: needs a CPTensor, got NoneType"),
    (
        lambda: cp.condition(model(3)),
        "cp.condition: needs a model of two modes or more, got shape (3,)",
    ),
    (
        lambda: cp.standard_errors(model(2, 3), z(2, 4)),
        "cp.standard_errors: both tensors need the same shape, got (2, 3) and (2, 4)",
    ),
    (
        lambda: cp.standard_errors(model(2, 3), z(2, 3), entry_weights=z(2, 4)),
        f"cp.standard_errors: {WEIGHTS} got (2, 4) for (2, 3)",
    ),
    (
        lambda: cp.core_consistency(model(2, 3), z(2, 4)),
        "cp.core_consistency: both tensors need the same shape, got (2, 3) and (2, 4)",
    ),
    (
        lambda: cp.core_consistency(model(2, 3), z(2, 3), entry_weights=z(2)),
        f"cp.core_consistency: {WEIGHTS} got (2,) for (2, 3)",
    ),
    (lambda: cp.degeneracy(3), "cp.degeneracy: needs a CPTensor, got int"),
    (
        lambda: cp.ALS().step(z(2, 3), model(2, 3)),
        "cp.ALS.step: state needs to come from init or step, got CPTensor",
    ),
    (
        lambda: cp.NLS().step(z(2, 3), cp.GCP().init(z(2, 3), 1, key=KEY)),
        "cp.NLS.step: state needs to come from init or step, got GCPState",
    ),
    (
        lambda: cp.ALS().step(z(2, 4), cp.ALS().init(z(2, 3), 1, key=KEY)),
        "cp.ALS.step: a state of shape (2, 3) and a tensor of shape (2, 4)",
    ),
    (lambda: cp.als(z(2, 3), True, key=KEY), "cp.als: rank needs to be an int, got True"),
    (lambda: cp.random(KEY, (2, 3), True), "cp.random: rank needs to be an int, got True"),
    # tensors
    (
        lambda: cp.als(Dense(z(2, 3), z(2, 3)), 1, key=KEY, entry_weights=z(2, 3)),
        "cp.als: entry_weights beside a tensor that has entry weights of its own; give them once",
    ),
    (
        lambda: cp.als(model(2, 3), 1, key=KEY, entry_weights=z(2, 3)),
        "cp.als: entry_weights go with an array, got a CPTensor",
    ),
    (
        lambda: cp.loss(model(2, 3), model(2, 3), entry_weights=z(2, 3)),
        "cp.loss: entry_weights go with an array, got a CPTensor",
    ),
    (
        lambda: cp.als(model(3), 1, key=KEY),
        "cp.als: the tensor needs order 2 or more, got shape (3,)",
    ),
    (
        lambda: cp.ALS()(Dense(z(2, 3), z(3, 2)), 1, key=KEY),
        f"cp.ALS: {WEIGHTS} got (3, 2) for (2, 3)",
    ),
    (
        lambda: jkr.mttkrp(model(2, 3), [z(2, 2)], 0),
        "mttkrp: factors need one row for each index of their mode, got (2, 2) for a tensor of "
        "shape (2, 3)",
    ),
    (
        lambda: jkr.mttkrps(Dense(z(2, 3), 1j * z(2, 3)), [z(2, 2), z(3, 2)]),
        "mttkrps: entry_weights need to be real, got complex128",
    ),
    # constraints
    (
        lambda: cp.ALS(constraints=3),
        "cp.ALS: constraints need to be a dict from modes to cp.constraints, got int",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints={1: "simplex"}),
        "cp.als: the constraint of mode 1 needs to be one of cp.constraints, got str",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints={2: nonnegative()}),
        "cp.als: mode 2 is out of range for a tensor of order 2",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints={1: nonnegative(), -1: nonnegative()}),
        "cp.als: mode 1 has two constraints, and takes one",
    ),
    (
        lambda: cp.als(
            z(2, 3),
            1,
            init=model(2, 3, rank=1),
            constraints={0: nonnegative()},
            fixed_modes=0,
        ),
        "cp.als: mode 0 is in constraints and in fixed_modes; name it once",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, constraints={0: cp.constraints.l1(1.0)}),
        "cp.gcp: takes nonnegative factors and fixed ones, got the constraint L1; cp.als takes any",
    ),
    (
        lambda: cp.constraints.simplex(axis=2),
        "cp.constraints.simplex: axis needs to be at least 0 and below 2, got 2",
    ),
    (
        lambda: cp.constraints.ball(0),
        "cp.constraints.ball: radius needs to be above 0, got 0.0",
    ),
    (
        lambda: cp.constraints.ball(-1),
        "cp.constraints.ball: radius needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: cp.constraints.ball(z(2)),
        "cp.constraints.ball: radius needs to be a scalar, got shape (2,)",
    ),
    (
        lambda: cp.constraints.l1(-1),
        "cp.constraints.l1: weight needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: cp.constraints.l1(True),
        "cp.constraints.l1: weight needs to be a number, got True",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints=own(Failing())),
        "cp.als: prox of mode 0 needs to be a function of (factor, step), got failing, which fails "
        "with: no such thing",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints=own(lambda a, step: a.T)),
        "cp.als: prox of mode 0 needs to give a factor of shape (2, 1), float64, got shape (1, 2), "
        "float64",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints=own(value=Failing())),
        "cp.als: value of mode 0 needs to be a function of a factor, got failing, which fails "
        "with: no such thing",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints=own(value=lambda a: a)),
        "cp.als: value of mode 0 needs to give one real number, got shape (2, 1), float64",
    ),
    (
        lambda: cp.als(z(2, 3), 1, key=KEY, constraints={0: NoPytree()}),
        "cp.als: the constraint of mode 0 needs to be a pytree; register its class, NoPytree, by "
        "jax.tree_util.register_dataclass",
    ),
    (lambda: cp.constraints.prox(3), "cp.constraints.prox: f needs to be a function, got 3"),
    (
        lambda: cp.constraints.prox(max, 3),
        "cp.constraints.prox: value needs to be a function, got 3",
    ),
    (
        lambda: cp.constraints.prox(max, kind="what"),
        "cp.constraints.prox: kind needs to be one of cone, bounded and penalty, got 'what'",
    ),
    (
        lambda: cp.constraints.prox(max, kind="penalty"),
        "cp.constraints.prox: a penalty needs its value, got None",
    ),
    # solvers
    (
        lambda: cp.Solver(cp.ALS().algorithm, loss=cp.losses.poisson)(z(2, 3), 1, key=KEY),
        "cp.Solver: least squares only, got the loss poisson; cp.gcp takes any",
    ),
    (
        lambda: cp.Solver(cp.ALS().algorithm, penalty=lambda factors: jnp.sum(factors[0]))(
            z(2, 3), 1, key=KEY
        ),
        "cp.Solver: takes no penalty function; cp.gcp does",
    ),
    (
        lambda: cp.GCP(optimizer="adam"),
        "cp.GCP: optimizer needs to be an optax optimiser, got 'adam'",
    ),
    (
        lambda: cp.GCP(penalty=1.0),
        "cp.GCP: penalty needs to be a function, got 1.0",
    ),
    (
        lambda: cp.align(model(2, 3), model(2, 4)),
        "cp.align: both tensors need the same shape, got (2, 3) and (2, 4)",
    ),
    (
        lambda: cp.congruence(model(2, 3), model(2, 4)),
        "cp.congruence: both tensors need the same shape, got (2, 3) and (2, 4)",
    ),
    (
        lambda: cp.factor_match_score(model(2, 3), 1),
        "cp.factor_match_score: needs a CPTensor, got int",
    ),
    (
        lambda: cp.random(jax.random.split(KEY, 3), (2, 3), 1),
        "cp.random: key needs to be one jax.random.key, got shape (3,)",
    ),
    (
        lambda: cp.random(KEY, (2, 3), 1, dtype="abc"),
        "cp.random: dtype needs to be floating or complex, got 'abc'",
    ),
    (
        lambda: cp.als(jnp.ones((2, 3), "float8_e4m3fn"), 1, key=KEY),
        "cp.als: needs 16 bits or more in floating-point entries, got float8_e4m3fn",
    ),
    (lambda: model(2, 3).inner(None), "cp.CPTensor.inner: needs a CPTensor, got NoneType"),
    (lambda: cp.loss(3, z(2, 3)), "cp.loss: needs a CPTensor, got int"),
    (
        lambda: jkr.vec(jax.random.split(KEY, (2, 3))),
        "vec: needs matrices of numbers, got entries of dtype key<fry>",
    ),
    (lambda: jkr.unfold([[2**70]], 0), "unfold: needs a tensor of numbers, got list"),
    # generalised CP
    (
        lambda: cp.gcp(z(2, 3), 1),
        "cp.gcp: a random start needs a key: pass key=jax.random.key(0), or a CPTensor as init",
    ),
    (lambda: cp.gcp(z(2, 3), 0, key=KEY), "cp.gcp: rank needs to be at least 1, got 0"),
    (lambda: cp.gcp(z(3), 1, key=KEY), "cp.gcp: the tensor needs order 2 or more, got shape (3,)"),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, max_iters=0),
        "cp.gcp: max_iters needs to be at least 1, got 0",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, loss="poisson"),
        "cp.gcp: loss needs to be one of jkr.cp.losses, or a function of (model, data), "
        "got 'poisson'; pass jkr.cp.losses.poisson, if that is one",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, loss=lambda m, x: jnp.sum(m - x)),
        "cp.gcp: loss needs to give one real number an entry, got shape (), float64 for shape "
        "(2, 3), float64",
    ),
    (
        lambda: cp.gcp(z(2, 3) + 1j, 1, key=KEY, loss=lambda m, x: m - x),
        "cp.gcp: loss needs to give one real number an entry, got shape (2, 3), complex128 for "
        "shape (2, 3), complex128",
    ),
    (
        lambda: cp.loss(model(2, 3), z(2, 3), loss=lambda m, x: (m, x)),
        "cp.loss: loss needs to give one real number an entry, got tuple for shape (2, 3), float64",
    ),
    (
        lambda: cp.gcp(z(2, 3) - 1, 1, key=KEY, loss=cp.losses.poisson),
        f"cp.gcp: {BAD}; poisson takes data from 0 to inf",
    ),
    (
        lambda: cp.GCP(loss=cp.losses.bernoulli_logit).init(z(2, 3) + 2, 1, key=KEY),
        f"cp.GCP.init: {BAD}; bernoulli_logit takes data from 0 to 1",
    ),
    (
        lambda: cp.gcp(z(2, 3) + 1j, 1, key=KEY, loss=cp.losses.poisson),
        "cp.gcp: the tensor of poisson needs to be real, got complex128",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, penalty=lambda factors: factors[0]),
        "cp.gcp: penalty needs to give one real number, got shape (2, 1), float64",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, penalty=Failing()),
        "cp.gcp: penalty needs to be a function of the tuple of factors, got failing, "
        "which fails with: no such thing",
    ),
    (
        lambda: cp.loss(model(2, 3), z(2, 3), loss=Failing()),
        "cp.loss: loss needs to be a function of (model, data), got failing, which fails with: "
        "no such thing",
    ),
    (
        lambda: cp.gcp(
            z(2, 3), 1, key=KEY, loss=cp.losses.Loss(lambda m, x: m, expected=Failing())
        ),
        "cp.gcp: expected of the loss needs to be a function of the model, got failing, which "
        "fails with: no such thing",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, loss=cp.losses.Loss(lambda m, x: m, expected=jnp.sum)),
        "cp.gcp: expected of the loss needs to give an array of the shape of the model, got shape "
        "(), float64 for shape (2, 3)",
    ),
    # what is done to models
    (
        lambda: model(2, 3) + model(2, 4),
        "cp.CPTensor.+: both tensors need the same shape, got (2, 3) and (2, 4)",
    ),
    (lambda: model(2, 3) + 1, "cp.CPTensor.+: needs a CPTensor, got int"),
    (lambda: 1 + model(2, 3), "cp.CPTensor.+: needs a CPTensor, got int"),
    (lambda: model(2, 3) - 1, "cp.CPTensor.+: needs a CPTensor, got int"),
    (
        lambda: model(2, 3) - fitted(2, 3),
        "cp.CPTensor.+: needs a CPTensor, got CPResult; its cp is one",
    ),
    (
        lambda: sum([fitted(2, 3)] * 2),
        "cp.CPResult.+: results are neither added nor multiplied; their cp are",
    ),
    (
        lambda: 2 * fitted(2, 3),
        "cp.CPResult.+: results are neither added nor multiplied; their cp are",
    ),
    (lambda: model(2, 3) * z(2), "cp.CPTensor.*: needs a scalar, got shape (2,)"),
    (
        lambda: model(2, 3).take(3, 1),
        "cp.CPTensor.take: index 3 is out of range for size 3",
    ),
    (
        lambda: model(2, 3).take([0.5], 1),
        "cp.CPTensor.take: index needs to be an int, a sequence of ints, a slice, or a mask of "
        "3 booleans, got [0.5]",
    ),
    (
        lambda: model(2).take(0, 0),
        "cp.CPTensor.take: needs a model of two modes or more, got shape (2,)",
    ),
    (
        lambda: model(2, 3).mode_dot(z(4, 2), 1),
        "cp.CPTensor.mode_dot: needs a vector of 3 entries or a matrix of 3 columns, got (4, 2)",
    ),
    (
        lambda: cp.align(model(2, 3), model(2, 3, 4), modes=0),
        "cp.align: both models need as many modes, got (2, 3) and (2, 3, 4)",
    ),
    (
        lambda: cp.congruence(model(2, 3), model(4, 3), modes=(0, 1)),
        "cp.congruence: modes 0 and 1 need the same size in both models, got (2, 3) and (4, 3)",
    ),
    (
        lambda: cp.factor_match_score(model(2, 3), model(4, 3), modes=()),
        "cp.factor_match_score: needs a mode to compare, got modes=()",
    ),
    (
        lambda: cp.project((1j * z(2), (1j * z(2, 2), 1j * z(3, 2))), z(4, 3), 0),
        "cp.project: a complex model does not go with a float64 tensor",
    ),
    (
        lambda: cp.pullback(fitted(2, 3), np.ones((2, 3)), cp.CPTensor(None, model(2, 3).factors)),
        "cp.pullback: the cotangent needs weights, got None",
    ),
    (
        lambda: cp.rank_scan(z(2, 3), (1,), key=KEY, tol=-1.0),
        "cp.rank_scan: tol needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: cp.rank_scan(z(2, 3), (1,), key=KEY, l2=-1.0),
        "cp.rank_scan: l2 needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: cp.condition(model(2, 3), entry_weights=-np.ones((2, 3))),
        "cp.condition: entry_weights need to be finite, nonnegative and not all zero",
    ),
    (
        lambda: cp.core_consistency(model(2, 3), z(2, 3), entry_weights=-np.ones((2, 3))),
        "cp.core_consistency: entry_weights need to be finite, nonnegative and not all zero",
    ),
    (
        lambda: cp.standard_errors(model(2, 3), z(2, 3), entry_weights=z(2, 3)),
        "cp.standard_errors: entry_weights need to be finite, nonnegative and not all zero",
    ),
    (
        lambda: cp.loss(model(2, 3), z(2, 3), entry_constants=z(3, 2)),
        "cp.loss: entry_constants need the shape of the tensor, or one that broadcasts to it, got "
        "(3, 2) for (2, 3)",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, loss=Failing(), entry_constants=z(2, 3)),
        "cp.gcp: loss needs to be a function of (model, data) and 1 of entry_constants, got "
        "failing, which fails with: no such thing",
    ),
    (
        lambda: cp.gcp(model(2, 3), 1, key=KEY, entry_constants=z(2, 3)),
        "cp.gcp: entry_constants go with an array, got a CPTensor",
    ),
    (
        lambda: cp.compress(z(2, 3), (2, 2, 2), key=KEY),
        "cp.compress: sizes need one entry for each of the 2 modes, got 3",
    ),
    (
        lambda: cp.compress(z(2, 3), 0, key=KEY),
        "cp.compress: size needs to be at least 1, got 0",
    ),
    (
        lambda: cp.compress(z(2, 3), 2, key=KEY, power=-1),
        "cp.compress: power needs to be at least 0, got -1",
    ),
    (
        lambda: cp.compress(jkr.tensors.Dense(z(2, 3), z(2, 3)), 2, key=KEY),
        "cp.compress: takes no entry weights; cp.nls fits such a tensor as it is",
    ),
    (
        lambda: cp.compress(z(2, 3), 2, key=KEY).expand(model(3, 3)),
        "cp.Compressed.expand: both tensors need the same shape, got (3, 3) and (2, 2)",
    ),
    (
        lambda: cp.compress(z(2, 3), 2, key=KEY).reduce(model(3, 3)),
        "cp.Compressed.reduce: both tensors need the same shape, got (3, 3) and (2, 3)",
    ),
    (
        lambda: cp.fit(z(2, 3), 1, key=KEY, constraints=3),
        "cp.fit: constraints need to be a dict from modes to cp.constraints, got int",
    ),
    (
        lambda: cp.fit(
            z(2, 3), 1, key=KEY, constraints={0: cp.constraints.simplex()}, loss=cp.losses.poisson
        ),
        "cp.fit: takes nonnegative factors and fixed ones, got the constraint Simplex; cp.als "
        "takes any",
    ),
    (
        lambda: cp.project(model(2, 3), z(4, 2), 0),
        "cp.project: model and tensor need the same shape but for mode 0, got (2, 3) and (4, 2)",
    ),
    (
        lambda: cp.gcp(
            z(2, 3),
            1,
            init=cp.CPTensor(jnp.ones(1), (z(2, 1) - 1, z(3, 1))),
            fixed_modes=0,
            loss=cp.losses.poisson,
        ),
        "cp.gcp: fixed factors of poisson need to be nonnegative",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, fixed_modes=0),
        "cp.gcp: fixed_modes need init to be a CPTensor that holds their factors",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, l2=-1.0),
        "cp.gcp: l2 needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: cp.gcp(z(2, 3), 1, key=KEY, callback=3),
        "cp.gcp: callback needs to be a function, got 3",
    ),
    (
        lambda: cp.GCP().step(z(2, 3), 3),
        "cp.GCP.step: state needs to come from init or step, got int",
    ),
    (
        lambda: cp.GCP().step(z(2, 4), cp.GCP().init(z(2, 3), 1, key=KEY)),
        "cp.GCP.step: a state of shape (2, 3) and a tensor of shape (2, 4)",
    ),
    (
        lambda: cp.losses.huber(0),
        "cp.losses.huber: delta needs to be a finite number above 0, got 0",
    ),
    (
        lambda: cp.losses.negative_binomial("2"),
        "cp.losses.negative_binomial: trials needs to be a finite number above 0, got '2'",
    ),
    (
        lambda: cp.losses.beta_divergence(np.inf),
        "cp.losses.beta_divergence: beta needs to be a finite number, got inf",
    ),
    # rank scan
    (lambda: cp.rank_scan(z(2, 3), (), key=KEY), "cp.rank_scan: needs at least one rank, got none"),
    (
        lambda: cp.rank_scan(z(2, 3), 3, key=KEY),
        "cp.rank_scan: ranks need to be a sequence of ints, got 3",
    ),
    (
        lambda: cp.rank_scan(z(2, 3), (1, 0), key=KEY),
        "cp.rank_scan: rank needs to be at least 1, got 0",
    ),
    (
        lambda: cp.rank_scan(z(2, 3), (1,), key=KEY, restarts=1),
        "cp.rank_scan: restarts needs to be at least 2, got 1",
    ),
    (
        lambda: cp.rank_scan(z(2, 3) + np.nan, (1,), key=KEY, restarts=2),
        f"cp.rank_scan: {BAD}",
    ),
    # operators
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 5)),
        "operators.KhatriRao: matrices need equal column counts, got (3, 2) and (4, 5)",
    ),
    (
        lambda: operators.FaceSplitting(z(3, 2), z(4, 2)),
        "operators.FaceSplitting: matrices need equal row counts, got (3, 2) and (4, 2)",
    ),
    (
        lambda: operators.KhatriRao(operators.KhatriRao(z(3, 2)), z(4, 5)),
        "operators.KhatriRao: matrices need equal column counts, got (3, 2) and (4, 5)",
    ),
    (lambda: operators.Kronecker(), "operators.Kronecker: needs at least one matrix, got none"),
    (
        lambda: operators.Kronecker([z(2, 2), z(2, 2)]),
        "operators.Kronecker: takes matrices as separate arguments, got a sequence; unpack it: "
        "operators.Kronecker(*matrices)",
    ),
    (
        lambda: operators.Kronecker(z(5, 2, 2), z(2, 2)),
        "operators.Kronecker: matrices need two dimensions (batches go by vmap), "
        "got (5, 2, 2) and (1, 2, 2)",
    ),
    (
        lambda: operators.KhatriRao(operators.FaceSplitting(z(3, 2))),
        "operators.KhatriRao: needs matrices of numbers, got FaceSplitting",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)) @ z(3),
        "operators.KhatriRao: @ needs matrices or vectors whose inner dimensions agree, "
        "got (12, 2) and (3,)",
    ),
    (
        lambda: z(2, 2, 12) @ operators.KhatriRao(z(3, 2), z(4, 2)),
        "operators.KhatriRao: @ needs matrices or vectors whose inner dimensions agree, "
        "got (2, 2, 12) and (12, 2)",
    ),
    (
        lambda: operators.FaceSplitting(z(3, 2), z(3, 4)) @ operators.Kronecker(z(2, 2), z(3, 4)),
        "operators.FaceSplitting: @ needs matrices or vectors whose inner dimensions agree, "
        "got (3, 8) and (6, 8)",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)) @ "x",
        "operators.KhatriRao: needs an array of numbers, got str",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)) * z(2),
        "operators.KhatriRao: * needs a scalar, row weights (12, 1) or column weights (1, 2), "
        "got (2,)",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)) * z(12, 1),
        "operators.KhatriRao.scale_rows: weights need to be one vector for each factor, of shapes "
        "(3,) and (4,), got (12,)",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)).scale_columns(z(3)),
        "operators.KhatriRao.scale_columns: weights need to be one vector, of shape (2,), got (3,)",
    ),
    (
        lambda: operators.FaceSplitting(z(3, 2), z(3, 4)).scale_columns(),
        "operators.FaceSplitting.scale_columns: weights need to be one vector for each factor, of "
        "shapes (2,) and (4,), got none",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)).lstsq(z(3)),
        "operators.KhatriRao.lstsq: y needs shape (12,) or (12, k), got (3,)",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)).lstsq(operators.Kronecker(z(3, 2))),
        "operators.KhatriRao.lstsq: y needs 12 rows, got (3, 2)",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)).lstsq(model(3, 5)),
        "operators.KhatriRao.lstsq: y needs 12 rows, got (15, 2)",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)).lstsq(model(3, 4), l2=z(2)),
        "operators.KhatriRao.lstsq: l2 needs to be a scalar, got shape (2,)",
    ),
    (
        lambda: operators.KhatriRao(z(3, 2), z(4, 2)).lstsq(cp.CPTensor(z(3), (z(3, 2), z(4, 2)))),
        "operators.KhatriRao.lstsq: weights need one entry for each of the 2 components, got (3,)",
    ),
    (
        lambda: operators.to_lineax(z(2, 2)),
        "operators.to_lineax: needs a lazy product, got ndarray",
    ),
    # sketches
    (
        lambda: sketch.count_sketch(0, 3, 4),
        "sketch.count_sketch: key needs to be one jax.random.key, got int",
    ),
    (
        lambda: sketch.count_sketch(KEY, 0, 4),
        "sketch.count_sketch: n needs to be at least 1, got 0",
    ),
    (
        lambda: sketch.count_sketch(KEY, 3, 1.5),
        "sketch.count_sketch: size needs to be an int, got 1.5",
    ),
    (
        lambda: sketch.count_sketch(KEY, 3, True),
        "sketch.count_sketch: size needs to be an int, got True",
    ),
    (
        lambda: sketch.tensor_sketch(KEY, 3, 4),
        "sketch.tensor_sketch: dims need to be a sequence of ints, got 3",
    ),
    (
        lambda: sketch.tensor_sketch(KEY, (3, 0), 4),
        "sketch.tensor_sketch: dims need to be one or more ints, at least 1, got (3, 0)",
    ),
    (
        lambda: sketch.tensor_sketch(KEY, (), 4),
        "sketch.tensor_sketch: dims need to be one or more ints, at least 1, got ()",
    ),
    (
        lambda: SKETCH.sketches[0] @ z(2),
        "sketch.CountSketch: x needs shape (3,) or (3, k), got (2,)",
    ),
    (lambda: SKETCH @ z(5), "sketch.TensorSketch: x needs shape (6,) or (6, k), got (5,)"),
    (
        lambda: SKETCH @ operators.KhatriRao(z(2, 2), z(3, 2)),
        "sketch.TensorSketch: @ needs an array, or a KhatriRao or Kronecker of factors with 3 and "
        "2 rows, got a KhatriRao with 2 and 3",
    ),
    (
        lambda: SKETCH @ operators.FaceSplitting(z(6, 2), z(6, 2)),
        "sketch.TensorSketch: @ needs an array, or a KhatriRao or Kronecker of factors with 3 and "
        "2 rows, got a FaceSplitting with 6 and 6",
    ),
    (
        lambda: SKETCH.sketches[0].to_dense(int),
        "sketch.CountSketch.to_dense: dtype needs to be floating or complex, got int64",
    ),
    (
        lambda: SKETCH.to_dense(int),
        "sketch.TensorSketch.to_dense: dtype needs to be floating or complex, got int64",
    ),
    (
        lambda: sketch.polynomial_features(z(2), z(3, 2)),
        "sketch.polynomial_features: needs a TensorSketch, got ndarray",
    ),
    (
        lambda: sketch.polynomial_features(z(7, 3), SKETCH),
        "sketch.polynomial_features: x needs as many features as each part of the sketch has "
        "entries, got (7, 3) for a sketch of (3, 2)",
    ),
    (
        lambda: sketch.polynomial_features(z(3), SKETCH_OF_THREE, coef0=1.0),
        "sketch.polynomial_features: x needs one feature less than each part of the sketch has "
        "entries (coef0 is one), got (3,) for a sketch of (3,)",
    ),
    (
        lambda: sketch.polynomial_features(z(3), SKETCH_OF_THREE, gamma=z(2)),
        "sketch.polynomial_features: gamma needs to be a scalar, got shape (2,)",
    ),
    (
        lambda: sketch.polynomial_features(z(3), SKETCH_OF_THREE, gamma=-1.0),
        "sketch.polynomial_features: gamma needs to be finite and nonnegative, got -1.0",
    ),
    (
        lambda: sketch.polynomial_features(z(2), SKETCH_OF_THREE, coef0=-1.0),
        "sketch.polynomial_features: coef0 needs to be finite and nonnegative, got -1.0",
    ),
    # array models
    (
        lambda: glam.fitted(z(5, 3), z(3)),
        "glam.fitted: bases need to be a sequence of matrices, got ndarray",
    ),
    (
        lambda: glam.fitted([z(5, 3), z(4)], z(3)),
        "glam.fitted: bases need to be matrices, one for each mode, got (5, 3) and (4,)",
    ),
    (
        lambda: glam.fitted([], z(3)),
        "glam.fitted: bases need to be matrices, one for each mode, got none",
    ),
    (
        lambda: glam.fitted(BASES, z(2, 3)),
        "glam.fitted: coefficients need shape (3, 2), as the bases say, got (2, 3)",
    ),
    (
        lambda: glam.cross_product(BASES, z(5)),
        "glam.cross_product: y needs shape (5, 4), as the bases say, got (5,)",
    ),
    (
        lambda: glam.cross_product(BASES, z(5, 4), entry_weights=z(5)),
        f"glam.cross_product: {WEIGHTS} got (5,) for (5, 4)",
    ),
    (
        lambda: glam.weighted_gram(BASES, z(5, 4) * 1j),
        "glam.weighted_gram: entry_weights need to be real, got complex128",
    ),
    (
        lambda: glam.smooth(z(5, 4), BASES, SQUARES[:1], z(2)),
        "glam.smooth: penalties need to be square, one for each basis with 3 and 2 columns, "
        "got (3, 3)",
    ),
    (
        lambda: glam.smooth(z(5, 4), BASES, SQUARES, 1.0),
        "glam.smooth: smoothing needs one parameter for each of the 2 modes, got ()",
    ),
    (
        lambda: glam.smooth(z(5, 4), BASES, SQUARES, [1j, 1j]),
        "glam.smooth: smoothing needs to be real, got complex128",
    ),
    (
        lambda: glam.bspline_basis(z(2, 2), z(8)),
        "glam.bspline_basis: x needs to be a vector, got shape (2, 2)",
    ),
    (
        lambda: glam.bspline_basis(z(2), z(7)),
        "glam.bspline_basis: knots need to be a vector of 8 entries or more, got shape (7,)",
    ),
    (
        lambda: glam.bspline_basis(z(2), z(8), degree=-1),
        "glam.bspline_basis: degree needs to be at least 0, got -1",
    ),
    (
        lambda: glam.bspline_basis(z(2), np.arange(4.0)[::-1], 1),
        "glam.bspline_basis: knots need to be increasing, got [3.0, 2.0, 1.0, 0.0]",
    ),
    (
        lambda: glam.uniform_knots(1.0, -1.0, 3),
        "glam.uniform_knots: low needs to be below high, got 1.0 and -1.0",
    ),
    (
        lambda: glam.uniform_knots(z(2), 1.0, 3),
        "glam.uniform_knots: low needs to be a scalar, got shape (2,)",
    ),
    (
        lambda: glam.uniform_knots(0.0, 1.0, 0),
        "glam.uniform_knots: segments needs to be at least 1, got 0",
    ),
    (
        lambda: glam.difference_penalty(3, order=3),
        "glam.difference_penalty: order needs to be at least 0 and below 3, got 3",
    ),
    (
        lambda: glam.difference_penalty(3, order=0.5),
        "glam.difference_penalty: order needs to be an int, got 0.5",
    ),
    # sparse tensors
    (
        lambda: Sparse([[0, 1]], [1.0], (2, 2)),
        "tensors.Sparse: unstored needs to say what entries are that are not stored: 'zero' "
        "(counts, links: they are data, and zero) or 'missing' (ratings, samples: they were not "
        "observed, and count for nothing), got None",
    ),
    (
        lambda: Sparse([[0, 1]], [1.0], (2,), unstored="zero"),
        "tensors.Sparse: shape needs two sizes or more, each from 1 to 2147483647, got (2,)",
    ),
    (
        lambda: Sparse([[0, 1], [1, 2]], z(2), (2, 2), unstored="zero"),
        "tensors.Sparse: indices need to be from 0 and below (2, 2), and entry 1 has (1, 2)",
    ),
    (
        lambda: Sparse([[0, 1], [-1, 0]], z(2), (2, 2), unstored="zero"),
        "tensors.Sparse: indices need to be from 0 and below (2, 2), and entry 1 has (-1, 0)",
    ),
    (
        lambda: Sparse([[0.0, 1.0]], [1.0], (2, 2), unstored="zero"),
        "tensors.Sparse: indices need to be integers, got float64",
    ),
    (
        lambda: Sparse([[0, 1, 0]], [1.0], (2, 2), unstored="zero"),
        "tensors.Sparse: indices need one row for each stored entry and one column for each of "
        "the 2 modes, got shape (1, 3)",
    ),
    (
        lambda: Sparse(np.zeros((0, 2), int), [], (2, 2), unstored="zero"),
        "tensors.Sparse: needs from 1 to 2147483647 stored entries, got 0",
    ),
    (
        lambda: Sparse([[0, 1]], z(2), (2, 2), unstored="zero"),
        "tensors.Sparse: values need one number for each of the 1 stored entries, got shape (2,)",
    ),
    (
        lambda: Sparse([[0, 1], [1, 1]], [1.0, np.nan], (2, 2), unstored="zero"),
        "tensors.Sparse: values need to be finite, and entry 1 has nan",
    ),
    (
        lambda: Sparse([[0, 1]], [1.0], (2, 2), unstored="zero", entry_weights=[-1.0]),
        "tensors.Sparse: entry_weights need to be finite and nonnegative, and entry 0 has -1.0",
    ),
    (
        lambda: Sparse([[0, 1], [1, 1], [0, 1]], z(3), (2, 2), unstored="missing"),
        "tensors.Sparse: entries that are observed need to be stored once, and entries 0 and 2 are "
        "both at (0, 1)",
    ),
    (
        lambda: Sparse([[0, 1]], [1.0], (2, 2), unstored="zero").with_values(z(2)),
        "tensors.Sparse.with_values: values need one number for each of the 1 stored entries, got "
        "shape (2,)",
    ),
    (
        lambda: Sparse([[0, 1]], [1.0], (2, 2), unstored=np.ones(2)),
        "tensors.Sparse: unstored needs to say what entries are that are not stored: 'zero' "
        "(counts, links: they are data, and zero) or 'missing' (ratings, samples: they were not "
        "observed, and count for nothing), got array([1., 1.])",
    ),
    (
        lambda: Sparse([[0, 1], [1]], z(2), (2, 2), unstored="zero"),
        "tensors.Sparse: indices need to be a matrix, got rows that differ",
    ),
    (
        lambda: Sparse([[0, 1], [0, 1]], [1e308, 1e308], (2, 2), unstored="zero"),
        "tensors.Sparse: sums of entries stored twice need to be finite, and entry 0 has inf",
    ),
    (
        lambda: several().to_dense(),
        f"tensors.Sparse.to_dense: {SEVERAL}",
    ),
    (
        lambda: several().to_bcoo(),
        f"tensors.Sparse.to_bcoo: {SEVERAL}",
    ),
    (
        lambda: several().with_values([1.0]),
        f"tensors.Sparse.with_values: {SEVERAL}",
    ),
    (
        lambda: cp.als(several(), 1, key=KEY),
        f"cp.als: {SEVERAL}",
    ),
    (
        lambda: Sparse.of(several(), unstored="zero"),
        f"tensors.Sparse.of: {SEVERAL}",
    ),
    (
        lambda: Sparse.of(np.array([["a", "b"]]), unstored="zero"),
        "tensors.Sparse.of: needs an array of numbers, got ndarray of dtype <U1",
    ),
    (
        lambda: Sparse.of(np.ma.masked_array(np.array([[None, 1]]), [[1, 0]]), unstored="missing"),
        "tensors.Sparse.of: needs an array of numbers, got ndarray of dtype object; pass "
        "x.astype(float)",
    ),
    (
        lambda: Sparse.of(jax.experimental.sparse.CSR.fromdense(np.eye(2)), unstored="zero"),
        "tensors.Sparse.of: takes no CSR of JAX: pass scipy.sparse.csr_array((x.data, x.indices, "
        "x.indptr), shape=x.shape)",
    ),
    (
        lambda: cp.standard_errors(model(10**5, 10**5), scattered(10**5, "missing")),
        f"cp.standard_errors: {PAIRS}, got 400000 for shape (100000, 100000) and rank 2",
    ),
    (
        lambda: cp.condition(model(10**5, 10**5), entry_weights=z(1, 1)),
        f"cp.condition: {PAIRS}, got 400000 for shape (100000, 100000) and rank 2",
    ),
    (
        lambda: cp.core_consistency(model(2, 3), z(2, 3) + np.nan),
        f"cp.core_consistency: {BAD}",
    ),
    (
        lambda: plot.residuals(model(2, 3), model(2, 3)),
        "plot.residuals: tensor needs to be Dense, got CPTensor",
    ),
    (
        lambda: plot.missing(scattered(10**5)),
        "plot.missing: draws zeros that are not stored, too, of tensors of up to 6.7e+07 entries, "
        "got 1e+10 of (100000, 100000); make it with unstored='missing' to draw the stored ones "
        "alone",
    ),
    (
        lambda: Sparse.of(batched(), unstored="zero"),
        "tensors.Sparse.of: needs a BCOO whose dimensions are all sparse, got 1 batch and 0 dense "
        "ones",
    ),
    (
        lambda: cp.als(scipy.sparse.csr_array(np.eye(3)), 2, key=KEY),
        "cp.als: a csr_array goes in as jkr.tensors.Sparse.of(x, unstored='zero'), or "
        "unstored='missing' where what is not stored was not observed",
    ),
    (
        lambda: cp.fit(batched(), 2, key=KEY),
        "cp.fit: a BCOO goes in as jkr.tensors.Sparse.of(x, unstored='zero'), or "
        "unstored='missing' where what is not stored was not observed",
    ),
    (
        lambda: cp.als(scattered(10), 2, key=KEY, entry_weights=z(10, 10)),
        "cp.als: entry_weights go with an array, got a Sparse",
    ),
    (
        lambda: cp.loss(model(10**5, 10**5), scattered(10**5), loss=cp.losses.gamma),
        f"cp.loss: gamma {ZEROS}",
    ),
    (
        lambda: cp.gcp(scattered(10**5), 2, key=KEY, loss=cp.losses.bernoulli_logit),
        f"cp.gcp: bernoulli_logit {ZEROS}",
    ),
    (
        lambda: cp.loss(model(2, 3), z(2, 3), loss=cp.losses.Loss(squared, at_zero=(0, 0, 0.5))),
        "cp.loss: at_zero of a loss needs (c0, c1, c2) with f(m, 0) = c0 + c1·m + c2·m², got "
        "(0, 0, 0.5) where f(1, 0) = 1",
    ),
    (
        lambda: model(2, 3).at([0, 1, 1]),
        "cp.CPTensor.at: indices need to be integers, 2 for each entry, one a mode, got int64 (3,)",
    ),
    (
        lambda: model(2, 3).at([[0, 1], [0, 3]]),
        "cp.CPTensor.at: indices need to be within (2, 3), and entry 1 has (0, 3)",
    ),
    # plots
    (lambda: jkr.plot.history(3), "plot.history: results needs to be CPResult, got int"),
    (lambda: jkr.plot.history([]), "plot.history: results needs to be CPResult, got none"),
    (
        lambda: jkr.plot.history(fitted(2, 3), names=["a", "b"]),
        "plot.history: names need one entry for each of the 1 results, got 2",
    ),
    (lambda: jkr.plot.rank_scan(3), "plot.rank_scan: scan needs to be RankScan, got int"),
    (
        lambda: jkr.plot.residuals(model(2, 3), z(3, 2)),
        "plot.residuals: both tensors need the same shape, got (2, 3) and (3, 2)",
    ),
    (
        lambda: jkr.plot.missing(z(2, 3), entry_weights=z(3, 2)),
        f"plot.missing: {WEIGHTS} got (3, 2) for (2, 3)",
    ),
    (
        lambda: jkr.plot.missing(z(2, 3), modes=["a"]),
        "plot.missing: modes need one entry for each of the 2 modes, got 1",
    ),
    (
        lambda: jkr.plot.factors(cp.CPTensor(z(0), (z(2, 0), z(3, 0)))),
        "plot.factors: rank needs to be at least 1, got 0",
    ),
    (
        lambda: jkr.plot.factors(model(2, 3), modes=["a"]),
        "plot.factors: modes need one entry for each of the 2 modes, got 1",
    ),
    (
        lambda: jkr.plot.factors(model(2, 3), labels=[None, ["x"]]),
        "plot.factors: mode 1 has 3 indices and needs as many labels, got 1",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_error(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="module 'jkr' has no attribute 'kahtri_rao'"):
        _ = jkr.kahtri_rao


@pytest.mark.parametrize("length", [2, 3])
def test_arrays_in_the_closure_of_a_loss_are_found(length):
    # One number an entry of the shapes on which a loss is tried, by chance.
    loss = lambda m, x: (m - x) ** 2 * np.ones(length)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"^cp.gcp: loss needs to be a function of \(model, data\)"
    ):
        cp.gcp(z(4, 5), 1, key=KEY, loss=loss)


OPTIMISERS = [
    (
        optimiser(Failing()),
        "optimizer needs to be an optax optimiser of such factors, got an init, which fails with: "
        "no such thing",
    ),
    (
        optimiser(update=lambda slope, state, params=None: Failing()()),
        "optimizer needs to be an optax optimiser of such factors, got an update, which fails "
        "with: no such thing",
    ),
    (
        optimiser(update=lambda slope, state, params=None: (slope[:1], state)),
        "optimizer needs to give updates of the shapes (2, 1) and (3, 1), got (2, 1)",
    ),
    (
        optimiser(update=lambda slope, state, params=None: (slope, (1,))),
        "optimizer needs to be an optax optimiser of such factors, got a state, which fails with: ",
    ),
]


@pytest.mark.parametrize(("optimizer", "message"), OPTIMISERS, ids=[m for _, m in OPTIMISERS])
def test_optimisers_that_fail_are_named(optimizer, message):
    # Traced within a program, so that JAX adds a note of its own.
    with pytest.raises(ValueError, match=f"^cp.GCP: {re.escape(message)}"):
        cp.gcp(z(2, 3), 1, key=KEY, optimizer=optimizer)
