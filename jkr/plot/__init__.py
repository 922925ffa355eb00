"""Figures of CP models and fits; needs matplotlib (extra `plot`).

- `factors`: the components of a model, mode by mode;
- `history`: how fits went;
- `residuals`: what a model leaves unexplained, and where;
- `missing`: which entries of a tensor are not observed;
- `rank_scan`: how many components.

Every function returns a `matplotlib.figure.Figure` made without pyplot, so nothing is shown, no
display is needed and nothing global changes: `figure.savefig(...)`, or leave it as the last line
of a notebook cell.
"""

from matplotlib.figure import Figure as Figure

from jkr.plot._entries import missing as missing
from jkr.plot._entries import residuals as residuals
from jkr.plot._factors import factors as factors
from jkr.plot._fits import history as history
from jkr.plot._fits import rank_scan as rank_scan

__all__ = ["Figure", "factors", "history", "missing", "rank_scan", "residuals"]
