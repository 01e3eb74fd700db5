"""Compile every Triton kernel for a GPU, which need not be there: the interpreter accepts more.

Run by tests/kernels/test_operators.py in a process of its own: Triton either interprets or compiles.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.kernels import triton_sums as sums
from bench.kernels.activation import triton as activation
from bench.kernels.adam import triton as adam
from bench.kernels.attention import triton as attention
from bench.kernels.convolution import triton as convolution
from bench.kernels.decay import triton as decay
from bench.kernels.delta import triton as delta
from bench.kernels.draws import triton as draws
from bench.kernels.dropout import triton as dropout
from bench.kernels.normalization import triton as normalization
from bench.kernels.product import triton_split as split
from bench.kernels.rwkv7 import triton as rwkv7
from bench.kernels.scan import triton as scan
from bench.kernels.scan import triton_forward as scan_forward
from bench.kernels.scan import triton_gradient as scan_gradient
from bench.kernels.ssm import triton as ssm
from bench.kernels.ssm import triton_parameters as ssm_parameters
from bench.kernels.vector_delta import triton as vector_delta
from bench.precision import PRECISIONS

HOPPER = GPUTarget("cuda", 90, 32)
SHARED_MEMORY = 227 * 1024
"""Bytes that a program may use on an H200."""
STRIDED = ("a", "b", "q", "k", "v", "g", "beta", "read", "erase", "write")
"""Inputs of linear attention and of the delta rule, with strides of models, prompts, tokens, heads."""


def compiles(kernel: Any, constants: dict[str, Any], types: dict[str, str], warps: int = 1) -> str:
    """What Triton makes of a kernel for a GPU, before that becomes machine code."""
    return str(compiled(kernel, constants, types, warps).asm["ttgir"])


def compiled(
    kernel: Any,
    constants: dict[str, Any],
    types: dict[str, str],
    warps: int,
    multiples: tuple[str, ...] = (),
    stages: int = 3,
) -> Any:
    """Compile with aligned pointers to floats and 32-bit integers where `types` says nothing else.

    Args:
        kernel: to compile.
        constants: its compile-time arguments.
        types: of its other arguments.
        warps: of a program.
        multiples: integers that are known to be multiples of 16.
        stages: pipeline stages of loops.
    """
    integers = {"rows", "batch", "length", "channels", "tokens", "blocks", "parts", "rounds", "count"}
    integers |= {"columns", "high", "size", "span", "universe", "width"}
    integers |= {f"{name}_{axis}" for name in "xzBC" for axis in "kbt"} | {"dx_t", "dz_t", "BC_t"}
    integers |= {f"{name}_{axis}" for name in STRIDED for axis in "kbth"}
    integers |= {
        f"{name}_{axis}" for name in ("z", "out", "values", "stride") for axis in ("k", "row", "part")
    }
    signature = {
        name: "constexpr" if name in constants else types.get(name, "i32" if name in integers else "*fp32")
        for name in kernel.arg_names
    }
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name in multiples
    }
    source = ASTSource(kernel, signature, constexprs=places, attrs=aligned)
    return triton.compile(source, target=HOPPER, options={"num_warps": warps, "num_stages": stages})


def spilled(made: Any) -> int:
    """Bytes that a thread keeps in memory for want of registers, as NVIDIA's assembler says."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(made.asm["ptx"])
        command = [
            knobs.nvidia.ptxas.path,
            "-v",
            "--gpu-name=sm_90a",
            file,
            "-o",
            Path(folder) / "kernel.cubin",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(int(count) for count in re.findall(r"(\d+) bytes spill", done.stderr))


def fits(kernel: Any, constants: dict[str, Any], types: dict[str, str] | None = None, warps: int = 4) -> None:
    """A kernel compiles for any number of channels, needs no more registers than there are, and reads
    four numbers at once where rows are multiples of 16.
    """
    for multiples in (
        (),
        ("channels", "columns", "z_k", "z_row", "stride_k", "stride_row", "size", "values_k"),
    ):
        if multiples:
            multiples += ("values_row", "out_k", "out_row", "out_part")
        made = compiled(kernel, constants, types or {}, warps, multiples)
        assert spilled(made) == 0, kernel
        assert not multiples or re.search(r"ld\.global\S*\.v4", made.asm["ptx"]), (
            f"{kernel} reads number by number"
        )


def fused() -> None:
    """The kernels of what stands between matrix products."""
    for channels in (32, 512, 1344):  # 2, 4 and 8 warps
        launch = normalization.tile(channels)
        warps = launch.pop("num_warps")
        for flag, rms in ((True, False), (False, False), (True, True)):
            fits(normalization._norm_forward, {**launch, "UPDATE": flag, "RMS": rms}, warps=warps)
            fits(normalization._norm_backward, {**launch, "TOTAL": flag, "RMS": rms}, warps=warps)
    for kernel in (
        activation._bias_gelu,
        activation._bias_gelu_gradient,
        activation._bias_glu,
        activation._bias_glu_gradient,
    ):
        fits(kernel, activation.LAUNCH)
    fits(activation._gelu, activation.FLAT)
    fits(activation._gelu_gradient, activation.FLAT)
    for silu in (True, False):
        fits(activation._gate, {**activation.LAUNCH, "SILU": silu})
        fits(activation._gate_gradient, {**activation.LAUNCH, "SILU": silu})
    for kernel in (rwkv7._keys, rwkv7._keys_gradient, rwkv7._outputs, rwkv7._outputs_gradient):
        constants = rwkv7.constants(4, 32)
        fits(kernel, constants, warps=constants.pop("num_warps"))
    fits(sums._column_sums, sums.LAUNCH)
    compiles(sums._repeat_rows, sums.LAUNCH, {}, warps=4)
    for lines in (1, 2):
        compiled(sums._add_up, {**sums.SUMS, "LINES": lines}, {}, 4)
    for precision in PRECISIONS.values():
        for parts in zip(*precision.pairs, strict=True):
            fits(split._split, {**split.LAUNCH, "PARTS": split.places(parts)}, {"out": "*i16"})


def heads_of_attention() -> None:
    """Every launch of attention at the study's sizes; one product instead of three, which compiles sooner."""
    launches = {}
    for length in (82, 1024):
        for head_dim in (4, 16, 32, 64, 96):
            for dot in ("tf32", "tf32x3"):
                sizes = {**attention.constants(8, head_dim, torch.float32), "DOT": "tf32"}
                size = attention.launch(length, head_dim, dot)
                launches[sizes["WIDTH"], size] = sizes, size
    mask = {"key": "*i64", "site": "*i64"}
    for number, (sizes, size) in enumerate(launches.values()):
        sizes["DROP"] = number % 2 == 0
        blocks = {"OWN": size.forward.own, "STEP": size.forward.step, "STAGES": size.forward.stages}
        compiles(attention._attention_forward, {**sizes, **blocks}, mask, size.forward.warps)
        blocks = {"OWN": size.backward.own, "STEP": size.backward.step, "STAGES": size.backward.stages}
        blocks["WHOLE"] = size.whole
        compiles(attention._attention_backward, {**sizes, **blocks}, mask, size.backward.warps)


def clip_and_adam() -> None:
    tables = {"table": "*i64", "addresses": "*i64"}
    compiles(adam.sum_squares, {"BLOCK": 1024}, tables, 4)
    scalars = dict.fromkeys(("beta2", "rest1", "rest2", "epsilon", "log_beta1", "log_beta2", "decay"), "fp32")
    compiles(adam.adam, {"BLOCK": 1024}, {**tables, **scalars}, 4)
    meters = {"firsts": "*i32", "step": "*i64", "loss_sum": "*fp64", "first_bad": "*i64", "members": "i32"}
    compiles(adam.finish, {"BLOCK": adam.SUMS}, {**meters, **scalars}, 4)


def recurrences() -> None:
    """Linear attention with decay and the delta rule: models of width 128 and 256, and the widest keys.

    A product is three instructions, as in fp32, which needs the most registers.
    """
    heads = {"HEADS": 4, "DOT": "tf32x3"}
    for keys, values in ((32, 64), (64, 128)):
        sizes = {**heads, "KEYS": keys, "VALUES": values}
        for vector in (False, True):
            chunk = {**sizes, "SHARED": 1, "CHUNK": decay.CHUNK[vector], "VECTOR": vector}
            tile = dict(zip(("WIDTH", "BLOCK"), decay.STATE, strict=True))
            fits_program(decay._states, {**chunk, **tile, "REVERSE": vector})
            tile = dict(zip(("WIDTH", "BLOCK"), decay.OUTPUTS, strict=True))
            for reverse in (True, False):
                fits_program(decay._outputs, {**chunk, **tile, "REVERSE": reverse, "STATES": keys > 32})
            tile = dict(zip(("WIDTH", "BLOCK"), decay.GRADIENT, strict=True))
            fits_program(decay._gradient, {**chunk, **tile})
    chunk = {**heads, "KEYS": 64, "CHUNK": decay.CHUNK[False], "WIDTH": delta.BLOCK}
    fits_program(delta._inverses, chunk, warps=1)
    fits_program(delta._gradient, {**chunk, "VALUES": 128, "BLOCK": delta.BLOCK})
    for keys, values, most_spilled in ((64, 128, 64), (delta.LARGEST, 512, 2048)):
        launch = delta.launch(keys, values)
        warps, stages = launch.pop("num_warps"), launch.pop("num_stages")
        sizes = {**chunk, "KEYS": keys, "VALUES": values, "EXACT": "tf32x3", **launch}
        for kernel in (delta._corrections, delta._errors):
            fits_program(kernel, sizes, warps, stages, most_spilled)
    for keys, writes, most_spilled in ((64, True, 64), (vector_delta.LARGEST, False, 2048)):
        launch = vector_delta.launch(keys, keys)
        warps, stages = launch.pop("num_warps"), launch.pop("num_stages")
        chunk = {"HEADS": 4, "KEYS": keys, "CHUNK": decay.CHUNK[True], "WRITES": writes}
        sizes = {**chunk, "VALUES": keys, "DOT": "tf32x3"}
        for kernel in (vector_delta._outputs, vector_delta._errors):
            fits_program(kernel, {**sizes, **launch, "EXACT": "tf32x3"}, warps, stages, most_spilled)
        chunk["WIDTH"] = sizes["WIDTH"] = sizes["BLOCK"] = vector_delta.BLOCK
        fits_program(vector_delta._chunks, chunk, vector_delta.WARPS["chunks"])
        fits_program(vector_delta._gradient, sizes, vector_delta.WARPS["gradient"])


def fits_program(
    kernel: Any, constants: dict[str, Any], warps: int = 4, stages: int = 3, most_spilled: int = 64
) -> None:
    """A kernel has enough shared memory, and almost enough registers. Strides are multiples of 16."""
    multiples = tuple(f"{name}_{axis}" for name in STRIDED for axis in "kbth")
    made = compiled(kernel, constants, {}, warps, multiples, stages)
    assert made.metadata.shared <= SHARED_MEMORY, kernel
    assert spilled(made) <= 2 * most_spilled, (kernel, spilled(made))


def main() -> None:
    recurrences()
    heads_of_attention()
    clip_and_adam()
    for wide in (True, False):
        # The models' state where the layout of its tiles is tested; a smaller one compiles sooner.
        state = 16 if wide else 4
        forward = {"STATE": state, "CHUNK": scan.CHUNK, **scan.FORWARD}
        compiles(scan_forward.forward, {**forward, "WIDE": wide}, {})
        gradient = {"STATE": state, **scan.BACKWARD, "WIDE": wide}
        for segments in (1, scan.SEGMENTS):
            constants = {**gradient, "SEGMENTS": segments}
            made = compiles(scan_gradient.backward, {**constants, **scan.BACKWARD_STAGES}, {})
            if wide:  # what makes it fast: no tile of the state changes hands between threads
                tile = f"tensor<4x{scan.BACKWARD['BLOCK']}xf32"
                assert tile in made
                assert not [line for line in made.splitlines() if "convert_layout" in line and tile in line]
        compiles(scan_gradient.segment_carries, {**constants, **scan.CARRIES_STAGES}, {})
    compiles(scan_gradient.add_up, {"STATE": 16, **scan.SUMS}, {}, warps=4)
    compiles(convolution._convolution_forward, {"TAPS": 4, **convolution.LAUNCH}, {}, warps=4)
    compiles(convolution._convolution_backward, {"TAPS": 4, **convolution.LAUNCH}, {}, warps=4)
    compiles(convolution._convolution_sums, {"TAPS": 4, **convolution.SUMS}, {}, warps=4)
    # All modes and tokens are unrolled alike. Two of each compile ten times sooner than the models' eight.
    modes = {"MODES": 2, **ssm.LAUNCH, "UNROLL": 2}
    for reverse in (True, False):
        compiles(ssm._recurrence, {**modes, "REVERSE": reverse}, {})
    compiles(ssm._parameter_gradients, modes, {})
    compiles(ssm_parameters.add_up, ssm_parameters.SUMS, {}, warps=4)
    compiles(ssm_parameters.to_parameters, {"MODES": 2, "BLOCK": ssm.LAUNCH["BLOCK"]}, {})
    words = {"share": "i32", "step": "*i64", "rows": "*i64", "out_of": "*i64", "within": "*i64"}
    for key, seeds in (("i64", False), ("*i64", True)):
        words |= {"key_1": key, "key_2": key}
        for kind, dtype in draws._KINDS.values():
            out = "*fp32" if dtype.is_floating_point else "*i64"
            for rows in (True, False):
                modes = {"KIND": kind, "ROWS": rows, "WITHIN": rows, "SEEDS": seeds, "BLOCK": draws.BLOCK}
                compiles(draws._draw, modes, {**words, "out": out}, warps=4)
        subset = {"ON_DEVICE": True, "ROWS": False, "SEEDS": seeds, "ELEMENTS": 32}
        compiles(draws._subset, subset, {**words, "out": "*i64"})
    integers = {"key": "*i64", "site": "*i64"}
    for kind in ("*fp32", "*fp64"):
        compiles(dropout._dropout, dropout.LAUNCH, {**integers, "x": kind, "y": kind}, warps=4)
    fused()
    print("all compile")


if __name__ == "__main__":
    main()
