"""jkr: Khatri–Rao products and CP tensor models for JAX.

Pure functions of arrays and pytrees, under any nesting of `jit`, `vmap`, `jvp`, `vjp`,
`linearize`, `hessian`, `scan`, `checkpoint` and sharding. Nothing global is set, no input is
mutated, randomness comes from explicit keys.

Where things live:

- Dense products: `kronecker`, `hadamard`, `khatri_rao`, `face_splitting`, `penetrating_face`; of
  partitioned matrices: `tracy_singh`, `block_khatri_rao`, `block_face_splitting`,
  `block_column_khatri_rao`; beside them `vec`, `unvec`, `unfold`, `fold` and
  `kronecker_permutation`.
- Contractions, which never form the product: `khatri_rao_gram`, `khatri_rao_matmul`,
  `khatri_rao_rmatmul`, `khatri_rao_lstsq`, `face_splitting_matmul`, `mttkrp`, `mttkrps`,
  `weighted_gram`.
- `jkr.tensors`: what `mttkrp`, losses and fits take wherever they take an array.
- `jkr.operators`: the products as lazy operators, whose `@` rewrites by the laws.
- `jkr.cp`: the CP model and its fits.
- `jkr.sketch`: count sketch, tensor sketch, polynomial features.
- `jkr.glam`: generalised linear array models; P-spline smoothing of arrays.
- `jkr.io`: tensors and models in files; `jkr.datasets`: real tensors with axis labels; `jkr.plot`:
  figures (extra `plot`); `python -m jkr`: the command line.

Conventions:

- Order. In Khatri–Rao and Kronecker products the last matrix's index runs fastest (SciPy, NumPy,
  TensorLy). Unfolding is in C order: T₍ₙ₎ = Aₙ diag(λ) (∗_{m≠n} A_m)ᵀ, modes in natural order.
  Kolda's papers, MATLAB and pyttb unfold in Fortran order and take the products in reverse.
- Models. `CPTensor(weights, factors)`; factor n is (I_n, R).
- Arguments. Dense products take matrices one by one, `khatri_rao(a, b, c)`; contractions take the
  matrices of one product as a sequence, `mttkrp(tensor, [a, b, c], mode)`.
- Batches. What dense products, `vec`, `unvec` and `khatri_rao_gram` take may carry leading
  dimensions, which broadcast. Everything else batches by `vmap`.
- Complex data. Nothing is conjugated unless the name or the docs say so; Grams use ᴴ.
- dtypes are kept; integers are exact in products (within their width) and become the default float
  in fits. JAX itself turns 64-bit input into 32 bits unless `jax_enable_x64` is set.
- Laws and rules are cited by their labels: I1–I34 and J1–J6 are written out as code, and tested, in
  `tests/test_laws.py`; R1–R7 are the rules listed in `docs/rules.md`.
- Errors. Shapes that do not fit are a `ValueError` at trace time that names the function, the rule
  and the shapes; so is, everywhere, what is no array of numbers, and a float of 8 bits where
  floating numbers are needed. Trouble at run time is a status in the result.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jkr import tensors as tensors
from jkr._contractions._gram import khatri_rao_gram as khatri_rao_gram
from jkr._contractions._lstsq import khatri_rao_lstsq as khatri_rao_lstsq
from jkr._contractions._matmul import face_splitting_matmul as face_splitting_matmul
from jkr._contractions._matmul import khatri_rao_matmul as khatri_rao_matmul
from jkr._contractions._matmul import khatri_rao_rmatmul as khatri_rao_rmatmul
from jkr._products._blocks import block_column_khatri_rao as block_column_khatri_rao
from jkr._products._blocks import block_face_splitting as block_face_splitting
from jkr._products._blocks import block_khatri_rao as block_khatri_rao
from jkr._products._blocks import tracy_singh as tracy_singh
from jkr._products._hadamard import hadamard as hadamard
from jkr._products._hadamard import penetrating_face as penetrating_face
from jkr._products._khatri_rao import face_splitting as face_splitting
from jkr._products._khatri_rao import khatri_rao as khatri_rao
from jkr._products._kronecker import kronecker as kronecker
from jkr._products._kronecker import kronecker_permutation as kronecker_permutation
from jkr._products._unfold import fold as fold
from jkr._products._unfold import unfold as unfold
from jkr._products._vec import unvec as unvec
from jkr._products._vec import vec as vec
from jkr.tensors._mttkrp import mttkrp as mttkrp
from jkr.tensors._mttkrp import mttkrps as mttkrps
from jkr.tensors._mttkrp import weighted_gram as weighted_gram

if TYPE_CHECKING:
    from jkr import cp as cp
    from jkr import datasets as datasets
    from jkr import glam as glam
    from jkr import io as io
    from jkr import operators as operators
    from jkr import plot as plot
    from jkr import sketch as sketch

__version__ = "0.1.0"

__all__ = [
    "block_column_khatri_rao",
    "block_face_splitting",
    "block_khatri_rao",
    "cp",
    "datasets",
    "face_splitting",
    "face_splitting_matmul",
    "fold",
    "glam",
    "hadamard",
    "khatri_rao",
    "khatri_rao_gram",
    "khatri_rao_lstsq",
    "khatri_rao_matmul",
    "khatri_rao_rmatmul",
    "kronecker",
    "kronecker_permutation",
    "mttkrp",
    "mttkrps",
    "operators",
    "penetrating_face",
    "sketch",
    "tensors",
    "tracy_singh",
    "unfold",
    "unvec",
    "vec",
    "weighted_gram",
]


# Imported when they are used: `import jkr` stays quick, and matplotlib may be missing.
_LATER = ("cp", "datasets", "glam", "io", "operators", "plot", "sketch")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'jkr' has no attribute {name!r}")
    try:
        return importlib.import_module(f"jkr.{name}")
    except ModuleNotFoundError as error:
        if name != "plot":
            raise
        raise ModuleNotFoundError(
            f"jkr.plot needs {error.name}: pip install 'jkr[plot]'", name=error.name
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
