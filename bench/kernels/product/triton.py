"""Matrix products with weights by cuBLAS. Splitting, the bias and its gradient are Triton kernels."""

from __future__ import annotations

from bench.kernels.product.stacked import operators
from bench.kernels.product.triton_split import split
from bench.kernels.triton_sums import column_sums, repeat_rows

linear, linear_bias = operators("triton", split, column_sums, repeat_rows)
