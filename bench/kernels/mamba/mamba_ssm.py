"""Mamba's block and its gated input by the official kernels of mamba-ssm and causal-conv1d."""

from bench.kernels.mamba.parts import block_of, input_of

block, gated_input = block_of("mamba_ssm"), input_of("mamba_ssm")
