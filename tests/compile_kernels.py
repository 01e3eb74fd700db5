"""Compile every Triton kernel for a GPU, which need not be there: the interpreter accepts more.

Run by tests/test_kernels.py in a process of its own, since Triton either interprets or compiles.
"""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.kernels.convolution import triton as convolution
from bench.kernels.draws import triton as draws
from bench.kernels.scan import triton as scan
from bench.kernels.scan import triton_forward as scan_forward
from bench.kernels.scan import triton_gradient as scan_gradient
from bench.kernels.ssm import triton as ssm
from bench.kernels.ssm import triton_parameters as ssm_parameters

HOPPER = GPUTarget("cuda", 90, 32)


def compiles(kernel: Any, constants: dict[str, Any], types: dict[str, str], warps: int = 1) -> str:
    """Compile with aligned pointers to floats and 32-bit integers where `types` says nothing else.

    Returns what Triton made of it for a GPU, before that becomes machine code.
    """
    integers = {"rows", "batch", "length", "channels", "tokens", "blocks", "parts", "rounds", "count"}
    integers |= {"columns", "high", "size", "universe", "width"}
    integers |= {f"{name}_{axis}" for name in "xzBC" for axis in "kbt"}
    signature = {
        name: "constexpr" if name in constants else types.get(name, "i32" if name in integers else "*fp32")
        for name in kernel.arg_names
    }
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    source = ASTSource(kernel, signature, constexprs=places, attrs=aligned)
    return str(triton.compile(source, target=HOPPER, options={"num_warps": warps}).asm["ttgir"])


def main() -> None:
    chunk = {"STATE": 16, "CHUNK": scan.CHUNK}
    for wide in (True, False):
        compiles(scan_forward.forward, {**chunk, **scan.FORWARD, "WIDE": wide}, {})
        made = compiles(scan_gradient.backward, {**chunk, **scan.BACKWARD, "WIDE": wide}, {})
        if wide:  # what makes it fast: no tile of the state changes hands between threads
            tile = f"tensor<4x{scan.BACKWARD['BLOCK']}xf32"
            assert tile in made
            assert not [line for line in made.splitlines() if "convert_layout" in line and tile in line]
    compiles(scan_gradient.add_up, {"STATE": 16, **scan.SUMS}, {}, warps=4)
    compiles(convolution._forward, {"TAPS": 4, **convolution.LAUNCH}, {}, warps=4)
    compiles(convolution._backward, {"TAPS": 4, **convolution.LAUNCH}, {}, warps=4)
    compiles(convolution._add_up, {"TAPS": 4, **convolution.SUMS}, {}, warps=4)
    modes = {"MODES": 8, **ssm.LAUNCH}
    for reverse in (True, False):
        compiles(ssm._recurrence, {**modes, "REVERSE": reverse}, {})
    compiles(ssm._parameter_gradients, modes, {})
    compiles(ssm_parameters.add_up, ssm_parameters.SUMS, {}, warps=4)
    compiles(ssm_parameters.to_parameters, {"MODES": 8, "BLOCK": ssm.LAUNCH["BLOCK"]}, {})
    words = {
        "step": "*i64",
        "rows": "*i64",
        "out_of": "*i64",
        "within": "*i64",
        "key_1": "i64",
        "key_2": "i64",
    }
    for kind, dtype in draws._KINDS.values():
        out = "*fp32" if dtype.is_floating_point else "*i64"
        for rows in (True, False):
            constants = {"KIND": kind, "ROWS": rows, "WITHIN": rows, "BLOCK": draws.BLOCK}
            compiles(draws._draw, constants, {**words, "out": out}, warps=4)
    subset = {"ON_DEVICE": True, "ROWS": False, "ELEMENTS": 32}
    compiles(draws._subset, subset, {**words, "out": "*i64"})
    print("all compile")


if __name__ == "__main__":
    main()
