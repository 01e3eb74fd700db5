"""Kernels, a folder for each thing that is computed, and in it a file for each way to compute it.

A folder's `__init__.py` is the specification: formula, shapes, order of arguments, and a function that
returns a backend by name. `reference.py` computes it as written; `sequential.py` in plain PyTorch on any
device; `triton.py` in Triton; `official.py` calls its authors' CUDA kernel. `registry.py` lists them all.
"""
