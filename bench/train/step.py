"""The optimisation step of a stack, eager or captured. All of it runs on the device.

    draw a batch → forward → loss of each member → backward → clip, Adam, meters, step + 1

A stack of one runs its model as it is. For a larger stack, `torch.func.vmap` runs the model over the
parameters of all members at once; the operators of `bench.kernels` take the stack as a leading dimension.
Members with the same task and the same seed share their prompts. Those of all seeds of a task are drawn
together.

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
    first = state.stack.first
    if not first.architecture.causal:  # such a model sees the padding
        yield from itertools.repeat(first.task.full_length)
    streams = {(run.task_id, run.seed): run for run in state.stack.members}.values()
    for step in itertools.count(int(state.step)):
        yield max(run.task.batch_length(run.seed, step, run.batch_size) for run in streams)


def _step(state: State, group: Group | None) -> Callable[[int], None]:
    """The step as a function of the length of its batch.

    Raises:
        ValueError: the run carries states from step to step, and there is a group.
    """
    if group is not None and state.carried:  # the states are those of all rows, in one process
        raise ValueError("a model that carries its state from step to step trains in one process")
    by_task, mask_keys = _members_by_task(state), _mask_keys(state)

    def step(length: int) -> None:
        if group is not None:
            passed = _spread_pass(state, group, length)
        elif len(state.stack) == 1:
            passed = _single_pass(state, mask_keys(), length)
        else:
            passed = _stacked_pass(state, by_task, mask_keys(), length)
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
    """A run that is spread over processes: this one's rows, then sums and means over all processes."""
    run = state.stack.first
    rows = group.rows(_batch(run, Draws(run.seed, "train", state.step), length))
    total, count = run.task.loss_sum(state.model(rows.tokens), rows, state.step)
    gradients = _gradients(total, state)
    sums, counts = (value.view(1) for value in group.average(gradients, total, count))
    return _Pass(sums / counts.clamp(min=1.0), sums, counts, gradients)


def _single_pass(state: State, mask_keys: Tensor | None, length: int) -> _Pass:
    """A stack of one."""
    run = state.stack.first
    prompts = _batch(run, Draws(run.seed, "train", state.step), length)
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


def _stacked_pass(state: State, by_task: list[_Members], mask_keys: Tensor | None, length: int) -> _Pass:
    """All members of a larger stack at once."""
    sums, counts = _stacked_losses(state, by_task, length, mask_keys)
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


def _batch(run: Run, draws: Draws, length: int) -> Prompts:
    """The training batch of a run's task and of every seed of `draws`, cut to `length` tokens."""
    if run.architecture.carries:
        return run.task.windows(draws, run.batch_size)
    return run.task.cut(run.task.batch(draws, len(draws.seeds) * run.batch_size), length)


@dataclass(frozen=True)
class _Members:
    """The members of a stack that have one task. Those that have one seed as well have the same prompts.

    Attributes:
        run: one of them.
        count: number of them.
        draws: the random numbers of their S seeds: all in one pass, or of one seed after the other.
        places: (count,) int64, the number of each member's seed among the S; None if no two have one seed.
    """

    run: Run
    count: int
    draws: list[Draws]
    places: Tensor | None

    @classmethod
    def of(cls, runs: list[Run], step: Tensor) -> _Members:
        """The members `runs`, before a capture, in which nothing may be copied from the host."""
        run, seeds = runs[0], tuple(dict.fromkeys(run.seed for run in runs))
        if len(seeds) > 1 and run.task.joins_seeds and not run.architecture.carries:
            draws = [Draws(seeds, "train", step, batch=run.batch_size)]
        else:
            draws = [Draws(seed, "train", step) for seed in seeds]
        places = [seeds.index(run.seed) for run in runs]
        is_own = len(seeds) == len(runs)
        return cls(run, len(runs), draws, None if is_own else torch.tensor(places, device=step.device))

    @property
    def seeds(self) -> int:
        """S, the number of different seeds."""
        return sum(len(draws.seeds) for draws in self.draws)

    @property
    def share_prompts(self) -> bool:
        """Whether all members have the same prompts."""
        return self.seeds == 1

    def prompts(self, length: int) -> Prompts:
        """The batches of all members, with a dimension of members in front; without it, if they share one."""
        batches = [_batch(self.run, draws, length) for draws in self.draws]
        return batches[0] if self.share_prompts else batches[0].combined(self._by_member, *batches[1:])

    def _by_member(self, *values: Tensor) -> Tensor:
        """A tensor of all batches, with S·B rows in total → its rows by member, (count, B, …)."""
        rows = values[0] if len(values) == 1 else torch.cat(values)
        by_seed = torch.unflatten(rows, 0, (self.seeds, -1))
        # Contiguous either way: a product with a matrix of another layout can have other bits.
        return by_seed.contiguous() if self.places is None else by_seed.index_select(0, self.places)


def _members_by_task(state: State) -> list[_Members]:
    # `groupby` joins neighbours only; a stack orders its members by task and seed.
    by_task = groupby(state.stack.members, key=lambda run: run.task_id)
    return [_Members.of(list(runs), state.step) for _, runs in by_task]


def _stacked_losses(
    state: State, by_task: list[_Members], length: int, mask_keys: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums and numbers of the losses of every member (`Task.loss_sum`), (K,), in the order of the stack."""
    batches = [members.prompts(length) for members in by_task]
    if len(by_task) == 1:
        # Prompts of a single seed are not copied for every member: vmap broadcasts them.
        outputs = predict_all(state, batches[0].tokens, None if by_task[0].share_prompts else 0, mask_keys)
    else:
        tokens = [
            prompts.tokens.expand(members.count, *prompts.tokens.shape)
            if members.share_prompts
            else prompts.tokens
            for members, prompts in zip(by_task, batches, strict=True)
        ]
        outputs = predict_all(state, torch.cat(tokens), 0, mask_keys)
    losses, begin = [], 0
    for members, prompts in zip(by_task, batches, strict=True):
        of_task = outputs[begin : begin + members.count]
        losses.append(_losses(members.run, of_task, prompts, members.share_prompts, state.step))
        begin += members.count
    sums, counts = (torch.cat(values) for values in zip(*losses, strict=True))
    return sums, counts


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
