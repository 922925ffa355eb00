"""Argument checking: the only room where shapes are judged and shape errors are worded.

Every check takes the public function's name first, raises `ValueError` at trace time as
`name: rule, got shapes`, and returns what it learned (arrays, dimensions, ranks), so that no
caller reads a shape twice.

- `_arrays`: arrays and scalars; `_options`: counts, sizes, keys, functions;
- `_matrices`: the matrices of products, and what they are multiplied with; `_operators`: lazy ones;
- `_tensors`: tensors, entry weights, array models; `_sparse`: scattered entries;
  `_models`: CP models; `_fits`: their fits.
"""

from jkr._check._arrays import Sizes as Sizes
from jkr._check._arrays import array as array
from jkr._check._arrays import at_least_zero as at_least_zero
from jkr._check._arrays import concrete as concrete
from jkr._check._arrays import inexact as inexact
from jkr._check._arrays import inexact_dtype as inexact_dtype
from jkr._check._arrays import nonnegative_scalar as nonnegative_scalar
from jkr._check._arrays import not_negative as not_negative
from jkr._check._arrays import positive as positive
from jkr._check._arrays import real as real
from jkr._check._arrays import real_dtype as real_dtype
from jkr._check._arrays import real_scalar as real_scalar
from jkr._check._arrays import real_vector as real_vector
from jkr._check._arrays import scalar as scalar
from jkr._check._fits import constraints as constraints
from jkr._check._fits import differentiable as differentiable
from jkr._check._fits import fixed_modes as fixed_modes
from jkr._check._fits import good_data as good_data
from jkr._check._fits import held_factors as held_factors
from jkr._check._fits import least_squares as least_squares
from jkr._check._fits import mapping as mapping
from jkr._check._fits import nonnegative_constraints as nonnegative_constraints
from jkr._check._fits import one_a_mode as one_a_mode
from jkr._check._fits import optimizer as optimizer
from jkr._check._fits import real_factors as real_factors
from jkr._check._fits import result as result
from jkr._check._fits import smooth_constraints as smooth_constraints
from jkr._check._fits import start as start
from jkr._check._fits import state as state
from jkr._check._fits import weights_that_are_arrays as weights_that_are_arrays
from jkr._check._matrices import Partition as Partition
from jkr._check._matrices import factors as factors
from jkr._check._matrices import matching as matching
from jkr._check._matrices import matrices as matrices
from jkr._check._matrices import one_matrix as one_matrix
from jkr._check._matrices import partition as partition
from jkr._check._matrices import penetrating as penetrating
from jkr._check._matrices import right_hand_side as right_hand_side
from jkr._check._matrices import rows_matched as rows_matched
from jkr._check._matrices import vector_to_matrix as vector_to_matrix
from jkr._check._models import all_but as all_but
from jkr._check._models import along_mode as along_mode
from jkr._check._models import axes as axes
from jkr._check._models import compared_modes as compared_modes
from jkr._check._models import goes_with as goes_with
from jkr._check._models import indices as indices
from jkr._check._models import model as model
from jkr._check._models import multiplier as multiplier
from jkr._check._models import parts as parts
from jkr._check._models import rank as rank
from jkr._check._models import ranks as ranks
from jkr._check._models import several_modes as several_modes
from jkr._check._models import weights as weights
from jkr._check._operators import axis_weights as axis_weights
from jkr._check._operators import broadcast_weights as broadcast_weights
from jkr._check._operators import features as features
from jkr._check._operators import inner as inner
from jkr._check._operators import lazy as lazy
from jkr._check._operators import operands as operands
from jkr._check._operators import same_rows as same_rows
from jkr._check._operators import sketched as sketched
from jkr._check._options import as_many as as_many
from jkr._check._options import at_least as at_least
from jkr._check._options import counts as counts
from jkr._check._options import elementwise as elementwise
from jkr._check._options import function as function
from jkr._check._options import key as key
from jkr._check._options import kinds as kinds
from jkr._check._options import loss as loss
from jkr._check._options import number as number
from jkr._check._options import one_number as one_number
from jkr._check._options import one_of as one_of
from jkr._check._options import sizes as sizes
from jkr._check._options import value_of_penalty as value_of_penalty
from jkr._check._sparse import few_enough as few_enough
from jkr._check._sparse import finite_values as finite_values
from jkr._check._sparse import indices_of_entries as indices_of_entries
from jkr._check._sparse import sparse_shape as sparse_shape
from jkr._check._sparse import stored as stored
from jkr._check._sparse import stored_entries as stored_entries
from jkr._check._sparse import stored_indices as stored_indices
from jkr._check._sparse import unstored as unstored
from jkr._check._sparse import weights_of_stored as weights_of_stored
from jkr._check._sparse import without_duplicates as without_duplicates
from jkr._check._tensors import array_of as array_of
from jkr._check._tensors import bases as bases
from jkr._check._tensors import data as data
from jkr._check._tensors import data_and_weights as data_and_weights
from jkr._check._tensors import entry_constants as entry_constants
from jkr._check._tensors import entry_weights as entry_weights
from jkr._check._tensors import in_range as in_range
from jkr._check._tensors import mode as mode
from jkr._check._tensors import modes as modes
from jkr._check._tensors import of_array as of_array
from jkr._check._tensors import once as once
from jkr._check._tensors import penalties as penalties
from jkr._check._tensors import same_shape as same_shape
from jkr._check._tensors import smoothing as smoothing
from jkr._check._tensors import tensor as tensor
from jkr._check._tensors import tensor_shape as tensor_shape
from jkr._check._tensors import unfolding as unfolding
from jkr._check._tensors import weights_if_any as weights_if_any
from jkr._check._tensors import without_entry_weights as without_entry_weights
