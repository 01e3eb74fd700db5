"""Kernels: a folder per operation, and in it a file per backend.

A folder's `__init__.py` is the specification and the declaration. The specification consists of the formula,
the shapes, the order of arguments, and a function that returns a backend by name. The declaration, `KERNELS`,
contains all that the self-test, the timing and the tests need to know (`bench.kernels.kernel.Kernel`).

A backend's file is named after it. `reference.py` computes the formula as written, `sequential.py` computes
it in plain PyTorch on any device, `triton.py` in Triton. `mamba_ssm.py` calls the CUDA kernel of the method's
authors. Only `reference.py` must exist: `backends.py` states which backend replaces one without a file.

`registry.py` lists the folders, and `backends.py` lists the backends. `operators.py` makes operators of
PyTorch of the functions in `triton.py` and `mamba_ssm.py`; its docstring says how stacks of models run.
"""
