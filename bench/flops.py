"""Training FLOPs, counted as in the paper (Appendix B), to compare architectures at equal compute.

The table shows the multiplications of one prompt (batch 1) in one block, for L tokens, width D, expansion E
and N states. Each block of `bench.models.blocks` states its own:

    attention      4LD² + 2L²D                    Table 9: QKV 3LD², outer products 2L²D, output LD²
    mlp            8LD²                           Table 9: feed-forward of width 4D
    mamba          3LED² + 7LEDN + 4LED           Table 10: input 2LED², SSM, output LED²
    s4             2LD² + 3LDN + 2LD              not in the paper; derived below
    s4_mamba       3LED² + 3LEDN + 4LED           not in the paper; derived below
    swiglu         3LDI                           not in the paper; inner width I

Blocks since the paper count every linear map, the convolution (a multiplication per tap and channel) and a
gate (a multiplication per channel). They count one multiplication per entry of the state for each of these:
its decay, a read at a key, a correction or outer product, a read at the query. Mamba does not follow this
rule: it keeps the 7 multiplications per entry of Table 10.

L counts tokens, two per point (A.4: 512 points have a context length of 1,024). As in the paper's tables,
L² is not halved for causality, and read-in, read-out, positions, norms and activations are not counted.

The formulas of S4 and S4-Mamba count the recurrence as Table 10 counts Mamba's. Each of the N/2 complex modes
costs one complex product with the state (4 real multiplications) and the real part of a product with C (2
multiplications): 3N per token and channel. S4 adds its skip and its GLU gate, 2 per channel. Its 1×1
convolution D → 2D costs 2LD² at S4's own width (×1.75). S4-Mamba keeps Mamba's projections and 4LED.

Training FLOPs = 6 × multiplications × batch × steps: a factor of 2 for multiply and add, and of 3 for
forward and backward. FLOPs are counted in two ways. `training_flops` counts each step at the curriculum's
length, or at the mean length of prompts that differ in length. `training_flops_full_length` counts every step
at full length. Reports compare models at `training_flops_full_length`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from bench.errors import raised_in
from bench.models.architecture import Architecture
from bench.models.mixers.block import Block
from bench.tasks.task import Task


@lru_cache(maxsize=4096)  # a suite has few shapes and thousands of runs
def multiplications(architecture: Architecture, layers: int, width: int, length: int) -> int:
    """Multiplications of one prompt of `length` tokens in the forward pass, at nominal `width`."""
    D = architecture.actual_width(width)
    return sum(block.multiplications(length, D) for block in architecture.blocks(layers))


def fault(architecture: Architecture, width: int, length: int) -> str | None:
    """Why an architecture's cost cannot be counted at a nominal width and `length` tokens; None if it can.

    Parameters are checked only if a block states their number, because counting them in a module imports
    torch.
    """
    if misfit := architecture.width_fault(width):
        return misfit
    D = architecture.actual_width(width)
    for block in architecture.pattern:
        counts: dict[str, Callable[[], object]] = {
            "multiplications": partial(block.multiplications, length, D),
            "state_numbers": partial(block.state_numbers, length, D),
        }
        if type(block).parameters is not Block.parameters:
            counts["parameters"] = partial(block.parameters, D)
        for name, count in counts.items():
            if fault := _fault_of_count(block, name, count, f"at {length} tokens and width {D}"):
                return fault
    return None


def _fault_of_count(block: Block, name: str, count: Callable[[], object], where: str) -> str | None:
    what = f"{name} of block '{block.name}'"
    try:
        number = count()
    except Exception as error:  # a plugin's code can raise anything
        return f"{what} {where}: {raised_in(error, type(block).__module__)}"
    if number is None and name == "state_numbers":  # it is not stated
        return None
    if not isinstance(number, int) or number < 0:
        return f"{what} must be a whole number, got {number!r}"
    return None


def training_flops(
    architecture: Architecture, layers: int, width: int, task: Task, batch_size: int, steps: int
) -> int:
    """FLOPs of the first `steps` optimisation steps, each at the curriculum's length at that step."""
    lengths = tuple(_steps_by_length(task, steps).items())
    return 6 * batch_size * _multiplications_of(architecture, layers, width, lengths)


def _steps_by_length(task: Task, steps: int) -> dict[int, int]:
    """How many of the first `steps` steps have prompts of each length, in tokens."""
    if task.curriculum is None:
        return {task.flops_length: steps}
    every = task.curriculum.points.every
    lengths: dict[int, int] = {}
    for begin in range(0, steps, every):
        points, left = task.points_at(begin), steps - begin
        is_full = points == task.n_points  # and stays full until the last step
        length = task.length(points)
        lengths[length] = lengths.get(length, 0) + (left if is_full else min(every, left))
        if is_full:
            break
    return lengths


@lru_cache(maxsize=4096)  # hashing the architecture takes longer than the sum
def _multiplications_of(
    architecture: Architecture, layers: int, width: int, lengths: tuple[tuple[int, int], ...]
) -> int:
    """Multiplications of one prompt per step, summed over steps; `lengths` holds (length, steps) pairs."""
    return sum(count * multiplications(architecture, layers, width, length) for length, count in lengths)


def training_flops_full_length(
    architecture: Architecture, layers: int, width: int, task: Task, batch_size: int, steps: int
) -> int:
    """FLOPs of `steps` steps at full length, which the hardware computes: the curriculum is a mask."""
    length = task.full_length
    return 6 * batch_size * steps * multiplications(architecture, layers, width, length)
