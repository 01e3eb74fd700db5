"""The optimisation step as captured CUDA graphs.

Shapes are static, and everything that changes from step to step depends on a step counter on the device. The
exception is the length of a batch: prompts of some tasks differ in length, and a batch is cut to one of a few
lengths (`Task.batch_length`). The host knows the length of every step, and there is a graph for each.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from bench.train.batches import batch_lengths
from bench.train.state import State
from bench.train.step import step_by_length

if TYPE_CHECKING:
    from bench.train.parallel import Group


def captured_step(state: State, group: Group | None = None) -> Callable[[], None]:
    """The step as a CUDA graph for each length of a batch; returns the function that replays the next one.

    The graph of the first step is captured now, any other when a step first needs it. The graphs share their
    memory: none reads what another left there.
    """
    step, lengths = step_by_length(state, group), batch_lengths(state)
    pool = torch.cuda.graph_pool_handle()
    first = next(lengths)
    graphs = {first: _captured(state, lambda: step(first), group, pool)}
    ahead = itertools.chain((first,), lengths)

    def replay() -> None:
        length = next(ahead)
        if length not in graphs:
            graphs[length] = _captured(state, lambda: step(length), group, pool)
        graphs[length].replay()

    return replay


def _captured(state: State, step: Callable[[], None], group: Group | None, pool: Any) -> torch.cuda.CUDAGraph:
    """A graph of one step.

    Capture needs a few warm-up steps, in which libraries choose kernels and allocate workspaces. These steps
    train, so the state and the device's random generator are restored afterwards.
    """
    device = state.step.device
    # Copies of the values: the graph reads and writes the tensors at their addresses, which must not change.
    before = {name: tensor.detach().clone() for name, tensor in state.tensors().items()}
    generator = torch.cuda.get_rng_state(device)
    side = _side_stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # NCCL's threads query the device during capture, which "global" forbids to all threads.
    mode = "global" if group is None else "thread_local"
    with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode=mode):
        step()
    # After the capture, because the addresses of the graph's gradients are unknown before it.
    state.optimizer.update.bind()
    with torch.no_grad():
        for name, tensor in state.tensors().items():
            tensor.copy_(before[name])
    torch.cuda.set_rng_state(generator, device)
    return graph


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream for captures, one per process: cuBLAS keeps a workspace for every stream it used.

    Its kernels go before those of branches (`bench.kernels.branches`), because only the end of the step
    waits for branches. A graph keeps the priorities of the streams that it was captured from.
    """
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
