"""Kernels: a folder per operation, and in it a file per backend.

A folder's `__init__.py` is the specification and the declaration. The specification consists of the formula,
the shapes, the order of arguments, and a function that returns a backend by name. The declaration, `KERNELS`,
contains all that the self-test, the timing and the tests need to know (`bench.kernels.kernel.Kernel`).

A backend's file is named after it. `reference.py` computes the formula as written, `sequential.py` computes
it in plain PyTorch on any device, `triton.py` in Triton. `mamba_ssm.py` calls the CUDA kernel of the method's
authors. Only `reference.py` must exist: `backends.py` states which backend replaces one without a file.

A folder's other files belong to one of these: `cuda.py` launches kernels in CUDA C++ in place of those of
`triton.py` (`nvrtc.py` compiles them), and `triton_….py` are parts of a long `triton.py`.

`registry.py` lists the folders, and `backends.py` lists the backends. `operators.py` makes operators of
PyTorch of the functions in `triton.py` and `mamba_ssm.py`; its docstring says how stacks of models run.
`self_test.py` compares backends with the reference, `speed.py` times them, and `foreign.py` tests kernels of
other libraries. Kernels of several folders share `branches.py` (work on a second stream), `running_sum.py`,
`triton_functions.py` and `triton_sums.py`.

`draws/` and `dropout/` are not in the registry: tests compare their words bit by bit, and the self-test of
attention compares masks.
"""
