"""Tensors and models in files: read whatever is common, write it back; no pickle.

====================  ===========================================  ==========================
file                  holds                                        `read` gives
====================  ===========================================  ==========================
`.tns`, `.tns.gz`     FROSTT: lines of indices from 1 and a value  `jkr.tensors.Sparse`
`.txt`, or any other  Tensor Toolbox and pyttb: `sptensor`,        `jkr.tensors.Sparse`,
                      `tensor`, `matrix`, `ktensor`                NumPy array, `cp.CPTensor`
`.npz`                `indices` or `coords`, `values` or `data`,   `jkr.tensors.Sparse`
                      `shape`, and `entry_weights` if there
                      are any; indices from 0
`.npz`                `weights`, `factor_0`, …                     `cp.CPTensor`
`.npy`, `.npz`        an array, NaN where entries are missing      NumPy array
====================  ===========================================  ==========================

- `read` tells them apart by what is in them; only FROSTT, which has no header, by its suffix;
- `write` by the suffix, and by what it is given.

A sparse file does not say whether entries that it does not store are zero or missing: you do, with
`unstored`. Nothing is allocated because a header promises it, and a file that breaks a rule is a
`ValueError` of one line, with the number of the first line at fault where the file is text.

`_lines` parses numbers by blocks of lines, `_tns`, `_toolbox`, `_coo` and `_arrays` the formats, to
and from NumPy arrays; `_read` and `_write` choose between them.
"""

from jkr.io._read import read as read
from jkr.io._write import write as write

__all__ = ["read", "write"]
