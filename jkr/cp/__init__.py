"""CP (CANDECOMP/PARAFAC) models and fits.

- `CPTensor`: the model, a pytree that unpacks as `weights, factors = cp`;
- `random`: a random model;
- `loss`: its least-squares distance to a tensor, or any other of `losses`;
- `als`: least-squares fit, one factor at a time: missing entries, nonnegative and fixed factors;
- `gcp`: fit of any elementwise loss (`losses`), by gradient, with any optax optimiser;
- `als_init`, `als_step`, `ALSState`, `gcp_init`, `gcp_step`, `GCPState`: the same, step by step;
- `CPResult`: what a fit returns; derivatives go through it;
- `pullback`, `Pullback`: the same derivatives, with what their linear system says of itself;
- `condition`, `Condition`, `standard_errors`: how well a model is determined;
- `core_consistency`, `degeneracy`: whether to believe it;
- `rank_scan`, `RankScan`: how many components;
- `align`, `congruence`, `factor_match_score`: comparing models;
- `save`, `load`: models in `.npz` files.
"""

from jkr.cp import losses as losses
from jkr.cp._als import als as als
from jkr.cp._als import als_init as als_init
from jkr.cp._als import als_step as als_step
from jkr.cp._descent import GCPState as GCPState
from jkr.cp._diagnostics import core_consistency as core_consistency
from jkr.cp._diagnostics import degeneracy as degeneracy
from jkr.cp._files import load as load
from jkr.cp._files import save as save
from jkr.cp._gcp import gcp as gcp
from jkr.cp._gcp import gcp_init as gcp_init
from jkr.cp._gcp import gcp_step as gcp_step
from jkr.cp._loss import loss as loss
from jkr.cp._metrics import align as align
from jkr.cp._metrics import congruence as congruence
from jkr.cp._metrics import factor_match_score as factor_match_score
from jkr.cp._model import CPTensor as CPTensor
from jkr.cp._pullback import Pullback as Pullback
from jkr.cp._pullback import pullback as pullback
from jkr.cp._rank_scan import RankScan as RankScan
from jkr.cp._rank_scan import rank_scan as rank_scan
from jkr.cp._result import CPResult as CPResult
from jkr.cp._start import random as random
from jkr.cp._sweep import ALSState as ALSState
from jkr.cp._uncertainty import Condition as Condition
from jkr.cp._uncertainty import condition as condition
from jkr.cp._uncertainty import standard_errors as standard_errors

__all__ = [
    "ALSState",
    "CPResult",
    "CPTensor",
    "Condition",
    "GCPState",
    "Pullback",
    "RankScan",
    "align",
    "als",
    "als_init",
    "als_step",
    "condition",
    "congruence",
    "core_consistency",
    "degeneracy",
    "factor_match_score",
    "gcp",
    "gcp_init",
    "gcp_step",
    "load",
    "loss",
    "losses",
    "pullback",
    "random",
    "rank_scan",
    "save",
    "standard_errors",
]
