"""Kernels: a folder per operation, and in it a file per backend.

A folder's `__init__.py` contains the specification and the declaration. The specification consists of the
formula, the shapes, the order of arguments, and a function that returns a backend by name. The declaration is
`KERNELS`. It contains what the self-test, the timing and the tests need (`bench.kernels.kernel.Kernel`).

A backend's file is named after it. `reference.py` computes the formula as written, `sequential.py` computes
it in plain PyTorch on any device, `triton.py` in Triton. `mamba_ssm.py` calls the CUDA kernel of the method's
authors. Only `reference.py` must exist. `backends.py` states which backend replaces a backend without a file.

A folder's other files belong to `triton.py`. `cuda.py` launches kernels in CUDA C++ instead of Triton kernels
(`nvrtc.py` compiles them), and `triton_….py` are parts of a long `triton.py`.

`registry.py` lists the folders, and `backends.py` lists the backends. `operators.py` turns the functions of
`triton.py` and `mamba_ssm.py` into PyTorch operators; its docstring states how stacks of models run.
`self_test.py` compares backends with the reference, `speed.py` times them, and `foreign.py` tests kernels of
other libraries. Kernels of several folders share `branches.py` (work on a second stream), `running_sum.py`,
`triton_functions.py` and `triton_sums.py`.

`draws/` and `dropout/` are not in the registry. Tests compare their random words bit by bit, and the
self-test of attention compares masks.

How to read a Triton kernel. A launch, `kernel[grid](…)`, runs the function once for each point of the grid.
Such a *program* is a few warps that compute with blocks of numbers in registers::

    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)               the channels of this program
    inside = e < channels                                            the last block may reach beyond the end
    v = tl.load(x + row * channels + e, mask=inside, other=0.0)      BLOCK numbers, from a pointer per number

- A tensor is passed as a pointer. `x_k`, `x_b`, `x_t` and `x_h` are its strides of models, prompts, tokens
  and heads. `x += …` moves the pointer to the program's part. Offsets are int64 where a stack can have more
  than 2³¹ numbers.
- Names in capitals are compile-time constants: flags, numbers of heads and states, and sides of tiles, which
  are powers of two. Loops of `tl.static_range` are unrolled, and a tuple, as in `h += (…,)`, is a row of
  registers. Triton compiles again if another argument becomes 1 or a multiple of 16. It does not do so for
  arguments in `do_not_specialize`, such as the length of a prompt.
- The gradient of a weight is a sum over tokens of many programs. Floating-point sums depend on their order,
  and the order of atomic additions changes from run to run. So every program writes a partial sum, and a
  second launch adds the partial sums in a fixed order. Two runs then have the same bits.
- `tl.dot` multiplies matrices in the precision DOT of the run. `num_stages` is the number of iterations of a
  loop whose loads are in flight at once.
"""
