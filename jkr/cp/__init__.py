"""CP (CANDECOMP/PARAFAC) models and fits.

- `CPTensor`: the model, a pytree that unpacks as `weights, factors = cp`;
- `random`: a random model;
- `loss`: its least-squares distance to a tensor, or any other of `losses`;
- `als`: least-squares fit, one factor at a time: missing entries, `constraints`, fixed factors;
- `gcp`: fit of any elementwise loss (`losses`), by gradient, with any optax optimiser;
- `ALS`, `GCP`: the same as objects that bind their options once, with `init` and `step`, and their
  states `ALSState`, `GCPState`;
- `Solver`, `Algorithm`, `Objective`, `Start`: a solver of your own;
- `CPResult`: what a fit returns; derivatives go through it;
- `pullback`, `Pullback`: the same derivatives, with what their linear system says of itself;
- `condition`, `Condition`, `standard_errors`: how well a model is determined;
- `core_consistency`, `degeneracy`: whether to believe it;
- `rank_scan`, `RankScan`: how many components;
- `align`, `congruence`, `factor_match_score`: comparing models;
- `save`, `load`: models in `.npz` files.
"""

from jkr.cp import constraints as constraints
from jkr.cp import losses as losses
from jkr.cp._fit._als import ALS as ALS
from jkr.cp._fit._als import als as als
from jkr.cp._fit._gcp import GCP as GCP
from jkr.cp._fit._gcp import gcp as gcp
from jkr.cp._fit._pullback import Pullback as Pullback
from jkr.cp._fit._pullback import pullback as pullback
from jkr.cp._fit._result import CPResult as CPResult
from jkr.cp._fit._solver import Solver as Solver
from jkr.cp._model._compare import align as align
from jkr.cp._model._compare import congruence as congruence
from jkr.cp._model._compare import factor_match_score as factor_match_score
from jkr.cp._model._cptensor import CPTensor as CPTensor
from jkr.cp._model._files import load as load
from jkr.cp._model._files import save as save
from jkr.cp._model._random import random as random
from jkr.cp._objective._loss import loss as loss
from jkr.cp._objective._objective import Objective as Objective
from jkr.cp._solvers._algorithm import Algorithm as Algorithm
from jkr.cp._solvers._algorithm import Start as Start
from jkr.cp._solvers._als import ALSState as ALSState
from jkr.cp._solvers._gcp import GCPState as GCPState
from jkr.cp._study._diagnostics import core_consistency as core_consistency
from jkr.cp._study._diagnostics import degeneracy as degeneracy
from jkr.cp._study._rank_scan import RankScan as RankScan
from jkr.cp._study._rank_scan import rank_scan as rank_scan
from jkr.cp._study._uncertainty import Condition as Condition
from jkr.cp._study._uncertainty import condition as condition
from jkr.cp._study._uncertainty import standard_errors as standard_errors

__all__ = [
    "ALS",
    "GCP",
    "ALSState",
    "Algorithm",
    "CPResult",
    "CPTensor",
    "Condition",
    "GCPState",
    "Objective",
    "Pullback",
    "RankScan",
    "Solver",
    "Start",
    "align",
    "als",
    "condition",
    "congruence",
    "constraints",
    "core_consistency",
    "degeneracy",
    "factor_match_score",
    "gcp",
    "load",
    "loss",
    "losses",
    "pullback",
    "random",
    "rank_scan",
    "save",
    "standard_errors",
]
