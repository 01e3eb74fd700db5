"""Kernels: a folder per operation, and in it a file per backend.

A folder's `__init__.py` is the specification: formula, shapes, order of arguments, and a function that
returns a backend by name. `reference.py` computes the formula as written, `sequential.py` computes it in
plain PyTorch on any device, `triton.py` in Triton. `official.py` calls the CUDA kernel of the method's
authors. `registry.py` and `backends.py` list all of them.
"""
