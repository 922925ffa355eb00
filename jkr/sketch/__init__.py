"""Sketching: short random images of long vectors that keep inner products, in expectation.

- `count_sketch`, `CountSketch`: every entry goes, with a random sign, to one of `size` places;
- `tensor_sketch`, `TensorSketch`: the same for the n₁⋯n_p entries of x₁ ⊗ ⋯ ⊗ x_p, which are never
  formed: count sketches of the xₖ, convolved by FFT (I21–I23). `@` with a lazy product of
  `jkr.operators` sketches it by the same laws;
- `polynomial_features`: features whose inner products estimate (γ xᴴy + c)^p.

A sketch is a pytree of integers drawn once from a key, and linear: pure, batched and differentiable
in what it is applied to.
"""

from jkr.sketch._count import CountSketch as CountSketch
from jkr.sketch._count import count_sketch as count_sketch
from jkr.sketch._features import polynomial_features as polynomial_features
from jkr.sketch._tensor import TensorSketch as TensorSketch
from jkr.sketch._tensor import tensor_sketch as tensor_sketch

__all__ = [
    "CountSketch",
    "TensorSketch",
    "count_sketch",
    "polynomial_features",
    "tensor_sketch",
]
