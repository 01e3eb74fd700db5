"""Mamba's block and its gated input by the kernels of `sequential`."""

from bench.kernels.mamba.parts import block_of, input_of

block, gated_input = block_of("sequential"), input_of("sequential")
