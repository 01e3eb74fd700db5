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

How to read a Triton kernel. A launch, `kernel[grid](…)`, runs the function once for each point of the grid.
Such a *program* is a few warps that compute with blocks of numbers in registers::

    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)               the channels of this program
    inside = e < channels                                            the last block may reach beyond the end
    v = tl.load(x + row * channels + e, mask=inside, other=0.0)      BLOCK numbers, from a pointer per number

- A tensor arrives as a pointer. `x_k`, `x_b`, `x_t` and `x_h` are its strides of models, prompts, tokens and
  heads. `x += …` moves the pointer to the program's own part. Places are int64 where a stack can have more
  than 2³¹ numbers.
- Names in capitals are constants of the compilation: flags, numbers of heads and states, and sides of tiles,
  which are powers of two. Loops of `tl.static_range` are unrolled, and a tuple, as in `h += (…,)`, is a row
  of registers. Triton compiles again where another number is 1 or a multiple of 16, but not for numbers in
  `do_not_specialize`, such as the length of a prompt.
- The gradient of a weight sums over tokens of many programs. Floating-point sums depend on their order, and
  atomic additions come in the order in which programs happen to end. So every program writes a partial sum,
  and a second launch adds these in a fixed order: two runs agree to the bit.
- `tl.dot` multiplies matrices in the precision DOT of the run. `num_stages` is the number of a loop's rounds
  whose loads are under way at once.
"""
