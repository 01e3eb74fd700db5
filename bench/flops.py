"""Training FLOPs, as the paper counts them (Appendix B), so that architectures meet at equal compute.

Multiplications of one prompt through one block (batch 1), as each block of `bench.models.blocks` states
them; L tokens, D width, E expansion, N state:

    attention      4LD² + 2L²D                    Table 9: QKV 3LD², outer products 2L²D, output LD²
    mlp            8LD²                           Table 9: feed-forward of width 4D
    mamba          3LED² + 7LEDN + 4LED           Table 10: input 2LED², SSM, output LED²
    s4             2LD² + 3LDN + 2LD              not in the paper; derived below
    s4_mamba       3LED² + 3LEDN + 4LED           not in the paper; derived below

L counts tokens, two a point (A.4 calls 1 024 the context length of 512 points); L² is not halved for
causality; read-in, read-out, positions, norms and activations are left out, as in the tables.

The S4 forms count the recurrence the way Table 10 counts Mamba's. Each of N/2 complex modes costs
one complex product with the state (4 real multiplications) and the real part of one with C (2): 3N
a token and channel. S4 adds its skip and its GLU gate, 2 a channel; its 1×1 convolution D → 2D is
2LD², at S4's own (×1.75) width. S4-Mamba keeps Mamba's projections and Mamba's 4LED.

Training FLOPs = 6 × multiplications × batch × steps: 2 for multiply and add, 3 for forward and
backward. With a curriculum, a step costs what its current length costs.
"""

from __future__ import annotations

from functools import lru_cache

from bench.errors import raised_in
from bench.models.architectures import Architecture
from bench.tasks.task import Task


@lru_cache(maxsize=4096)  # a suite asks for few shapes, thousands of times
def multiplications(architecture: Architecture, layers: int, width: int, length: int) -> int:
    """Forward multiplications of one prompt of `length` tokens, at nominal `width`."""
    D = architecture.actual_width(width)
    return sum(block.multiplications(length, D) for block in architecture.blocks(layers))


def fault(architecture: Architecture, width: int, length: int) -> str | None:
    """Why an architecture's cost cannot be counted at a nominal width and `length` tokens, or None."""
    D = architecture.actual_width(width)
    for block in architecture.pattern:
        try:
            found = block.multiplications(length, D)
        except Exception as error:  # whatever its author's code raises
            told = raised_in(error, type(block).__module__)
            return f"multiplications of block '{block.name}' at {length} tokens and width {D}: {told}"
        if not isinstance(found, int) or found < 0:
            return f"multiplications of block '{block.name}' must be a whole number, got {found!r}"
    return None


def training_flops(
    architecture: Architecture, layers: int, width: int, task: Task, batch_size: int, steps: int
) -> int:
    """FLOPs of the first `steps` optimisation steps, each at its curriculum's length."""
    if task.curriculum is None:
        lengths = {task.length(task.n_points): steps}
    else:
        every = task.curriculum.points.every
        lengths = {}
        for begin in range(0, steps, every):
            if (points := task.points_at(begin)) == task.n_points:
                length, count = task.length(points), steps - begin
            else:
                length, count = task.length(points), min(every, steps - begin)
            lengths[length] = lengths.get(length, 0) + count
            if points == task.n_points:
                break
    return 6 * batch_size * _multiplications_of(architecture, layers, width, tuple(lengths.items()))


@lru_cache(maxsize=4096)  # telling architectures apart takes longer than the sum
def _multiplications_of(
    architecture: Architecture, layers: int, width: int, lengths: tuple[tuple[int, int], ...]
) -> int:
    """Multiplications of one prompt at every step, from the number of steps at each length."""
    return sum(count * multiplications(architecture, layers, width, length) for length, count in lengths)


def training_flops_full_length(
    architecture: Architecture, layers: int, width: int, task: Task, batch_size: int, steps: int
) -> int:
    """FLOPs of `steps` steps on prompts of full length: what the hardware is asked to do."""
    mults = multiplications(architecture, layers, width, task.length(task.n_points))
    return 6 * batch_size * steps * mults
