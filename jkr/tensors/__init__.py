"""Tensors: the data that `mttkrp`, losses and fits accept, wherever they take an array.

- `Dense`: an array, with entry weights if there are any; an array is one without saying so;
- `Sparse`: stored entries, all others zero, or missing;
- a `jkr.cp.CPTensor` is one too: its MTTKRPs and norms come from Grams, and it is never formed;
- `Tensor`: the class to derive from for a tensor of your own (`docs/extending.md`), with `Pass`,
  `Scale` and `AtZero`, which its methods return.

A tensor T carries its entry weights W (0 = unobserved). A pass over it returns *normal equations*,
so that no solver ever sees weights, and `entrywise` visits its entries beside those of a model,
block by block, so that nothing ever forms a model as a whole.
"""

from jkr.tensors._dense import Dense as Dense
from jkr.tensors._sparse import Sparse as Sparse
from jkr.tensors._tensor import AtZero as AtZero
from jkr.tensors._tensor import Pass as Pass
from jkr.tensors._tensor import Scale as Scale
from jkr.tensors._tensor import Tensor as Tensor

__all__ = ["AtZero", "Dense", "Pass", "Scale", "Sparse", "Tensor"]
