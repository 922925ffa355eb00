"""CP (CANDECOMP/PARAFAC) models and fits.

- `CPTensor`: the model, a pytree that unpacks as `weights, factors = cp`;
- `random`: a random model;
- `loss`: its least-squares distance to a tensor, with or without entry weights;
- `als`: least-squares fit of a dense tensor, one factor at a time;
- `CPResult`: what a fit returns.
"""

from jkr.cp._als import als as als
from jkr.cp._loss import loss as loss
from jkr.cp._model import CPTensor as CPTensor
from jkr.cp._result import CPResult as CPResult
from jkr.cp._start import random as random

__all__ = ["CPResult", "CPTensor", "als", "loss", "random"]
