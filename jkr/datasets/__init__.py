"""Two small real tensors with axis labels, reference and licence text, for trying things out.

The files beside this module are `.npz` archives (`tensor`, then one array of labels a mode, in
the order of the modes) and the licence text of each. Missing entries are NaN.
"""

from importlib.resources import files
from typing import NamedTuple

import numpy as np

__all__ = ["Dataset", "covid19_serology", "il2_response"]


class Dataset(NamedTuple):
    """A real tensor and what its axes mean.

    Attributes:
        tensor: the data, a float64 NumPy array (I_1, …, I_N); NaN where an entry is missing.
        modes: the name of each mode, N strings.
        labels: the label of each index of each mode, N tuples of I_n strings.
        ordered: whether each mode's indices run along a scale (draw lines) or not (draw bars), N
            booleans.
        description: what was measured, and in which units.
        reference: the paper to cite.
        licence: the licence text that comes with the data.

    Example:
        >>> import jkr
        >>> data = jkr.datasets.il2_response()
        >>> data.modes, data.ordered
        (('ligands', 'times', 'doses', 'cells'), (False, True, True, False))
    """

    tensor: np.ndarray
    modes: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    ordered: tuple[bool, ...]
    description: str
    reference: str
    licence: str


def covid19_serology() -> Dataset:
    """COVID-19 systems serology: 438 samples × 6 antigens × 11 receptors, complete.

    Binding of serum antibodies to antigens of SARS-CoV-2 and to Fc receptors, log-transformed and
    centred (no unit); samples carry the patient's state (Negative, Mild, Moderate, Severe,
    Deceased).

    Returns:
        Dataset, its tensor (438, 6, 11).

    Example:
        >>> import jkr
        >>> jkr.datasets.covid19_serology().tensor.shape
        (438, 6, 11)

    Source: [ZLG20]; [TMA21].
    """
    return _load(
        "covid19_serology",
        ordered=(False, False, False),
        description="Binding of serum antibodies to antigens and Fc receptors, log-transformed",
        reference=(
            "Zohar et al., Cell 183 (2020) 1508-1519, doi:10.1016/j.cell.2020.10.052; "
            "Tan et al., Molecular Systems Biology 17 (2021) e10243, doi:10.15252/msb.202110243"
        ),
    )


def il2_response() -> Dataset:
    """IL-2 response: 13 ligands × 4 times × 12 doses × 8 cell types, 3.8 % missing (NaN).

    Signalling response of immune cells to interleukin-2 muteins; times in hours, doses in nM.

    Returns:
        Dataset, its tensor (13, 4, 12, 8).

    Example:
        >>> import jkr, numpy as np
        >>> data = jkr.datasets.il2_response()
        >>> data.tensor.shape, int(np.isnan(data.tensor).sum())
        ((13, 4, 12, 8), 192)

    Source: Orcutt-Jahns et al., bioRxiv (2021), Multivalency enhances the specificity of
    Fc-cytokine fusions.
    """
    return _load(
        "il2_response",
        ordered=(False, True, True, False),
        description="Response of immune cells to IL-2 muteins; times in hours, doses in nM",
        reference=(
            "Orcutt-Jahns et al., Multivalency enhances the specificity of Fc-cytokine fusions, "
            "bioRxiv (2021)"
        ),
    )


def _load(name: str, *, ordered: tuple[bool, ...], description: str, reference: str) -> Dataset:
    folder = files(__name__)
    with (folder / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        modes = tuple(key for key in arrays.files if key != "tensor")
        return Dataset(
            tensor=arrays["tensor"],
            modes=modes,
            labels=tuple(tuple(arrays[mode].tolist()) for mode in modes),
            ordered=ordered,
            description=description,
            reference=reference,
            licence=(folder / f"{name}.LICENSE.txt").read_text(encoding="utf-8"),
        )
