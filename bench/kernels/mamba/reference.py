"""Mamba's block and its gated input by the kernels of `reference`. They are the specification."""

from bench.kernels.mamba.parts import block_of, input_of

block, gated_input = block_of("reference"), input_of("reference")
