"""Products with a weight matrix: by cuBLAS, with what stands around them in Triton."""

from __future__ import annotations

from bench.kernels.product.stacked import operators
from bench.kernels.product.triton_split import split
from bench.kernels.triton_sums import column_sums

linear, linear_bias = operators("triton", split, column_sums)
