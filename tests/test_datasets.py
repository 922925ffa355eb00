"""The bundled tensors are those that were published, with labels, reference and licence."""

import numpy as np
import tensorly.datasets
from numpy.testing import assert_array_equal

from jkr import datasets


def test_covid19_serology():
    data, source = datasets.covid19_serology(), tensorly.datasets.load_covid19_serology()
    assert_array_equal(data.tensor, source.tensor)
    assert data.modes == tuple(source.dims)
    assert [list(names) for names in data.labels] == [list(ticks) for ticks in source.ticks]
    assert "10.1016/j.cell.2020.10.052" in data.reference
    assert "Permission is hereby granted" in data.licence


def test_il2_response():
    data, source = datasets.il2_response(), tensorly.datasets.load_IL2data()
    assert_array_equal(data.tensor, source.tensor)
    assert data.modes == tuple(source.dims)
    assert data.ordered == (False, True, True, False)
    doses = np.array([float(dose) for dose in data.labels[2]])
    np.testing.assert_allclose(doses, source.ticks[2], rtol=5e-3)
    assert [len(names) for names in data.labels] == list(data.tensor.shape)
    assert "Permission is hereby granted" in data.licence
