"""Compile every Triton kernel for a GPU, which need not be there: the interpreter accepts more.

Run by tests/test_kernels.py in a process of its own, since Triton either interprets or compiles.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.kernels import (
    fused_scan,
    triton_convolution,
    triton_draws,
    triton_scan,
    triton_scan_gradient,
    triton_ssm,
    triton_ssm_parameters,
)
from bench.kernels.attention import triton as triton_attention

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


def heads_of_attention() -> None:
    """Every launch of attention at the study's sizes; one product instead of three, which compiles sooner."""
    launches = {}
    for length in (82, 1024):
        for head_dim in (4, 16, 32, 64, 96):
            sizes = {**triton_attention.constants(8, head_dim, torch.float32), "DOT": "tf32"}
            size = triton_attention.launch(length, head_dim)
            launches[sizes["WIDTH"], size] = sizes, size
    for sizes, size in launches.values():
        blocks = {"OWN": size.forward.own, "STEP": size.forward.step, "STAGES": size.forward.stages}
        compiles(triton_attention._forward, {**sizes, **blocks}, {}, size.forward.warps)
        blocks = {"OWN": size.backward.own, "STEP": size.backward.step, "STAGES": size.backward.stages}
        blocks["WHOLE"] = size.whole
        compiles(triton_attention._backward, {**sizes, **blocks}, {}, size.backward.warps)
    sizes = triton_attention.constants(8, 16, torch.float32)
    compiles(triton_attention._backward, {**sizes, "OWN": 16, "STEP": 16, "STAGES": 1, "WHOLE": True}, {})


def main() -> None:
    chunk = {"STATE": 16, "CHUNK": fused_scan.CHUNK}
    for wide in (True, False):
        compiles(triton_scan.forward, {**chunk, **fused_scan.FORWARD, "WIDE": wide}, {})
        made = compiles(triton_scan_gradient.backward, {**chunk, **fused_scan.BACKWARD, "WIDE": wide}, {})
        if wide:  # what makes it fast: no tile of the state changes hands between threads
            tile = f"tensor<4x{fused_scan.BACKWARD['BLOCK']}xf32"
            assert tile in made
            assert not [line for line in made.splitlines() if "convert_layout" in line and tile in line]
    compiles(triton_scan_gradient.add_up, {"STATE": 16, **fused_scan.SUMS}, {}, warps=4)
    compiles(triton_convolution._forward, {"TAPS": 4, **triton_convolution.LAUNCH}, {}, warps=4)
    compiles(triton_convolution._backward, {"TAPS": 4, **triton_convolution.LAUNCH}, {}, warps=4)
    compiles(triton_convolution._add_up, {"TAPS": 4, **triton_convolution.SUMS}, {}, warps=4)
    modes = {"MODES": 8, **triton_ssm.LAUNCH}
    for reverse in (True, False):
        compiles(triton_ssm._recurrence, {**modes, "REVERSE": reverse}, {})
    compiles(triton_ssm._parameter_gradients, modes, {})
    compiles(triton_ssm_parameters.add_up, triton_ssm_parameters.SUMS, {}, warps=4)
    compiles(triton_ssm_parameters.to_parameters, {"MODES": 8, "BLOCK": triton_ssm.LAUNCH["BLOCK"]}, {})
    words = {
        "step": "*i64",
        "rows": "*i64",
        "out_of": "*i64",
        "within": "*i64",
        "key_1": "i64",
        "key_2": "i64",
    }
    for kind, dtype in triton_draws._KINDS.values():
        out = "*fp32" if dtype.is_floating_point else "*i64"
        for rows in (True, False):
            constants = {"KIND": kind, "ROWS": rows, "WITHIN": rows, "BLOCK": triton_draws.BLOCK}
            compiles(triton_draws._draw, constants, {**words, "out": out}, warps=4)
    subset = {"ON_DEVICE": True, "ROWS": False, "ELEMENTS": 32}
    compiles(triton_draws._subset, subset, {**words, "out": "*i64"})
    heads_of_attention()
    print("all compile")


if __name__ == "__main__":
    main()
