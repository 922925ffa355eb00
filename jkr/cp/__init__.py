"""CP (CANDECOMP/PARAFAC) models and fits.

- `CPTensor`: the model, a pytree that unpacks as `weights, factors = cp`;
- `random`: a random model;
- `loss`: its least-squares distance to a tensor, or any other of `losses`;
- `fit`: the call to begin with, which chooses among the following:
- `als`: least-squares fit, one factor at a time: missing entries, `constraints`, fixed factors;
- `gcp`: fit of any elementwise loss (`losses`), by gradient, with any optax optimiser;
- `nls`: fit to a stationary point by damped Gauss–Newton, of any loss;
- `ALS`, `GCP`, `NLS`: the same as objects that bind their options once, with `init` and `step`, and
  their states `ALSState`, `GCPState`, `NLSState`;
- `Solver`, `Algorithm`, `Objective`, `Start`: a solver of your own;
- `compress`, `Compressed`: a tensor's core and bases, in which models of it are small;
- `CPResult`: what a fit returns; derivatives go through it; `Stage`, of what `fit` did;
- `project`: scores of new samples for a fitted model;
- `pullback`, `Pullback`: the same derivatives, with what their linear system says of itself;
- `condition`, `Condition`, `standard_errors`: how well a model is determined;
- `core_consistency`, `degeneracy`: whether to believe it;
- `rank_scan`, `RankScan`: how many components;
- `align`, `congruence`, `factor_match_score`: comparing models;
- `save`, `load`: models in `.npz` files.
"""

from jkr.cp import constraints, losses
from jkr.cp._fit._als import ALS, als
from jkr.cp._fit._compress import Compressed, compress
from jkr.cp._fit._fit import fit
from jkr.cp._fit._gcp import GCP, gcp
from jkr.cp._fit._nls import NLS, nls
from jkr.cp._fit._project import project
from jkr.cp._fit._pullback import Pullback, pullback
from jkr.cp._fit._result import CPResult, Stage
from jkr.cp._fit._solver import Solver
from jkr.cp._model._compare import align, congruence, factor_match_score
from jkr.cp._model._cptensor import CPTensor
from jkr.cp._model._files import load, save
from jkr.cp._model._random import random
from jkr.cp._objective._loss import loss
from jkr.cp._objective._objective import Objective
from jkr.cp._solvers._algorithm import Algorithm, Start
from jkr.cp._solvers._als import ALSState
from jkr.cp._solvers._gcp import GCPState
from jkr.cp._solvers._nls import NLSState
from jkr.cp._study._diagnostics import core_consistency, degeneracy
from jkr.cp._study._rank_scan import RankScan, rank_scan
from jkr.cp._study._uncertainty import Condition, condition, standard_errors

__all__ = [
    "ALS",
    "GCP",
    "NLS",
    "ALSState",
    "Algorithm",
    "CPResult",
    "CPTensor",
    "Compressed",
    "Condition",
    "GCPState",
    "NLSState",
    "Objective",
    "Pullback",
    "RankScan",
    "Solver",
    "Stage",
    "Start",
    "align",
    "als",
    "compress",
    "condition",
    "congruence",
    "constraints",
    "core_consistency",
    "degeneracy",
    "factor_match_score",
    "fit",
    "gcp",
    "load",
    "loss",
    "losses",
    "nls",
    "project",
    "pullback",
    "random",
    "rank_scan",
    "save",
    "standard_errors",
]
