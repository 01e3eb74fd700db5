"""The optimisation step of a stack, eager or captured. All of it runs on the device.

    draw a batch → forward → loss of each member → backward → clip, Adam, meters, step + 1

A stack of one runs its model as it is. For a larger stack, `torch.func.vmap` runs the model over the
parameters of all members at once; the operators of `bench.kernels` take the stack as a leading dimension.
Members with the same task and the same seed share their prompts.

The host never waits within a step: the meters are device tensors, which `bench.train.loop` reads every few
hundred steps. On CUDA the whole step is captured and replayed (`captured_step`). This works because shapes
are static and everything that changes from step to step depends on a step counter on the device. The
exception is the length of a batch: prompts of some tasks differ in length, and a batch is cut to one of a few
lengths (`Task.batch_length`). The host knows the length of every step, and there is a graph for each.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from bench.kernels.branches import Branch, backward_pass
from bench.kernels.operators import mark_final
from bench.models.dropout import DropoutModule, masks
from bench.run import Run
from bench.stack import Stack
from bench.tasks.draws import Draws
from bench.tasks.task import Prompts
from bench.train.predictions import predict_all
from bench.train.state import State

if TYPE_CHECKING:
    from bench.train.parallel import Group

COUNTING = 2
"""The branch of the weights of a batch's points. Operators within the model have others."""


def eager_step(state: State, group: Group | None = None) -> Callable[[], None]:
    """The step as ordinary PyTorch. With a group, this process computes its rows of the batch only."""
    step_of_length, lengths = _step(state, group), _lengths(state)

    def step() -> None:
        step_of_length(next(lengths))

    return step


def _lengths(state: State) -> Iterator[int]:
    """The length of the batch of every step from the current one on: the longest of all streams."""
    streams = [stream.first for stream in _streams(state.stack)]
    if not state.stack.first.architecture.causal:  # such a model sees the padding
        yield from itertools.repeat(streams[0].task.length(streams[0].task.n_points))
    for step in itertools.count(int(state.step)):
        yield max(run.task.batch_length(run.seed, step, run.batch_size) for run in streams)


def _step(state: State, group: Group | None) -> Callable[[int], None]:
    """The step as a function of the length of its batch.

    Raises:
        ValueError: the run carries states from step to step, and there is a group.
    """
    if group is not None and state.carried:  # the states are those of all rows, in one process
        raise ValueError("a model that carries its state from step to step trains in one process")
    streams, mask_keys = _streams(state.stack), _mask_keys(state)

    def step(length: int) -> None:
        if group is not None:
            passed = _spread_pass(state, group, length)
        elif len(state.stack) == 1:
            passed = _single_pass(state, mask_keys(), length)
        else:
            passed = _stacked_pass(state, streams, mask_keys(), length)
        if state.point_losses is not None:
            state.point_losses.add_(torch.stack((passed.sums.detach(), passed.counts)))
        state.optimizer(passed.gradients, passed.losses.detach())

    return step


def _mask_keys(state: State) -> Callable[[], Tensor | None]:
    """A function to the keys of the members' dropout masks at the current step, (K, 3); None without dropout.

    `bench.kernels.dropout` defines the keys.
    """
    if not any(module.p > 0 for module in state.model.modules() if isinstance(module, DropoutModule)):
        return lambda: None
    # On the device before a capture, in which nothing may be copied from the host.
    seeds = torch.tensor(
        [Draws(run.seed, "dropout", state.step).keys("mask") for run in state.stack.members],
        device=state.step.device,
    )
    return lambda: torch.cat((seeds, state.step.expand(len(seeds), 1)), dim=1)


class _Pass(NamedTuple):
    """A pass forward and backward.

    Attributes:
        losses: of the members, (K,).
        sums: sums of the losses of the points that count, (K,).
        counts: numbers of these points, (K,).
        gradients: of the members' losses, one tensor for each of the stack's parameters.
    """

    losses: Tensor
    sums: Tensor
    counts: Tensor
    gradients: list[Tensor]


def _spread_pass(state: State, group: Group, length: int) -> _Pass:
    """A run that is spread over processes: this one's rows, and the mean over all processes."""
    run = state.stack.first
    rows = group.rows(_batch(run, state.step, length))
    total, count = run.task.loss_sum(state.model(rows.tokens), rows, state.step)
    gradients = _gradients(total, state)
    losses = group.average(gradients, total, count).view(1)
    return _Pass(losses, losses, torch.ones_like(losses), gradients)


def _single_pass(state: State, mask_keys: Tensor | None, length: int) -> _Pass:
    """A stack of one."""
    run = state.stack.first
    prompts = _batch(run, state.step, length)
    if state.carried:
        goes_on = state.step % (run.task.windows_per_stream(run.batch_size) or 1) != 0
        for carried in state.carried:
            carried.mul_(goes_on)
    counting = Branch(state.step, COUNTING)
    with counting:  # beside the model: a step of a small model consists of many short kernels
        weights = run.task.loss_weights(prompts, state.step)
    with masks(None if mask_keys is None else mask_keys[0]):
        outputs = state.model(prompts.tokens)
    counting.join()
    sums, counts = (value.view(1) for value in run.task.loss_sum(outputs, prompts, state.step, weights))
    losses = sums / counts.clamp(min=1.0)
    return _Pass(losses, sums, counts, _gradients(losses, state))


def _stacked_pass(state: State, streams: list[_Stream], mask_keys: Tensor | None, length: int) -> _Pass:
    """All members of a larger stack at once."""
    sums, counts = _stacked_losses(state, streams, length, mask_keys)
    losses = sums / counts.clamp(min=1.0)
    # ∂(Σ losses)/∂θ_k = ∂ loss_k/∂θ_k, because no loss depends on another member's parameters.
    return _Pass(losses, sums, counts, _gradients(losses.sum(), state))


def _gradients(loss: Tensor, state: State) -> list[Tensor]:
    """Gradients of a loss by the parameters of all members."""
    leaves = state.parameters.leaves
    if loss.is_cuda and len(state.stack) == 1:  # a larger stack fills the GPU; `vmap` hides its operators
        mark_final(loss)
    with backward_pass():
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    # A user's block may have parameters that no output depends on. Their gradient is zero.
    pairs = zip(gradients, leaves, strict=True)
    return [torch.zeros_like(leaf) if gradient is None else gradient for gradient, leaf in pairs]


def _batch(run: Run, step: Tensor, length: int) -> Prompts:
    """The training batch of a run at `step`, cut to `length` tokens."""
    task, draws = run.task, Draws(run.seed, "train", step)
    if run.architecture.carries:
        return task.windows(draws, run.batch_size)
    return task.cut(task.batch(draws, run.batch_size), length)


@dataclass(frozen=True)
class _Stream:
    """Members with the same prompts, because they have the same task and the same seed."""

    first: Run
    members: int


def _streams(stack: Stack) -> list[_Stream]:
    # `groupby` joins neighbours only; a stack orders its members by task and seed.
    together = groupby(stack.members, key=lambda run: (run.task_id, run.seed))
    runs = [list(members) for _, members in together]
    return [_Stream(members[0], len(members)) for members in runs]


def _stacked_losses(
    state: State, streams: list[_Stream], length: int, mask_keys: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums and numbers of the losses of every member (`Task.loss_sum`), (K,), in the order of the stack."""
    batches = [_batch(stream.first, state.step, length) for stream in streams]
    # Prompts of a single stream are not copied for every member: vmap broadcasts them.
    shared = len(streams) == 1
    tokens = batches[0].tokens if shared else _for_members([b.tokens for b in batches], streams)
    outputs = predict_all(state, tokens, None if shared else 0, mask_keys)
    losses, begin = [], 0
    # Streams of a task differ in their seed only, so one call computes the losses of all of them.
    for _, group in groupby(range(len(streams)), key=lambda index: streams[index].first.task_id):
        indices = list(group)
        of_task = [streams[index] for index in indices]
        end = begin + sum(stream.members for stream in of_task)
        prompts = _joined([batches[index] for index in indices], of_task)
        losses.append(_losses(of_task[0].first, outputs[begin:end], prompts, len(of_task) == 1, state.step))
        begin = end
    sums, counts = (torch.cat(values) for values in zip(*losses, strict=True))
    return sums, counts


def _for_members(values: list[Tensor], streams: list[_Stream]) -> Tensor:
    """Stack tensors of streams, each repeated for every member of its stream."""
    return torch.stack(
        [value for value, stream in zip(values, streams, strict=True) for _ in range(stream.members)]
    )


def _joined(batches: list[Prompts], streams: list[_Stream]) -> Prompts:
    """The prompts of all members, stacked; those of a single stream without a dimension of members."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    return Prompts(
        _for_members([b.tokens for b in batches], streams),
        _for_members([b.targets for b in batches], streams),
        _for_members([b.inputs for b in batches], streams),
        None
        if first.counted is None
        else _for_members([b.counted for b in batches if b.counted is not None], streams),
        {name: _for_members([b.more[name] for b in batches], streams) for name in first.more},
    )


def _losses(run: Run, outputs: Tensor, prompts: Prompts, shared: bool, step: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and numbers of losses (members,) of outputs (members, B, L, n_outputs).

    Prompts are shared or stacked by member.
    """
    dim = None if shared else 0

    def loss(
        outputs: Tensor, tokens: Tensor, targets: Tensor, inputs: Tensor, counted: Any, more: Any
    ) -> tuple[Tensor, Tensor]:
        return run.task.loss_sum(outputs, Prompts(tokens, targets, inputs, counted, more), step)

    more = dict(prompts.more)
    dims = (0, dim, dim, dim, None if prompts.counted is None else dim, dict.fromkeys(more, dim))
    sums, counts = vmap(loss, in_dims=dims)(
        outputs, prompts.tokens, prompts.targets, prompts.inputs, prompts.counted, more
    )
    return sums, counts


def captured_step(state: State, group: Group | None = None) -> Callable[[], None]:
    """The step as a CUDA graph for each length of a batch; returns the function that replays the next one.

    The graph of the first step is captured now, any other when a step first needs it. The graphs share their
    memory: none reads what another left there.
    """
    step_of_length, lengths = _step(state, group), _lengths(state)
    pool = torch.cuda.graph_pool_handle()
    first = next(lengths)
    graphs = {first: _captured(state, lambda: step_of_length(first), group, pool)}
    ahead = itertools.chain((first,), lengths)

    def step() -> None:
        length = next(ahead)
        if length not in graphs:
            graphs[length] = _captured(state, lambda: step_of_length(length), group, pool)
        graphs[length].replay()

    return step


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
    # After the capture, because only now the addresses of the graph's gradients are known.
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
